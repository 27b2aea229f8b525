"""One R in this process: started once, `--vanilla`, with our R code in a private environment."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from mlmreport.errors import AnalysisError, EnvironmentFault, InputError

__all__ = ["R_FOLDER", "Session", "package_dataset", "session"]

R_FOLDER = Path(__file__).parents[1] / "r"
REQUIRED = ("lme4", "lmerTest", "pbkrtest")


class Session:
    """The embedded R.

    Calls are made to functions of ``r/*.R`` by name, with plain values or a data frame as
    arguments; what comes back is plain again. The global environment of R stays empty.
    """

    def __init__(self) -> None:
        ri = _start()
        self._ri = ri
        self._home = ri.baseenv["new.env"](parent=ri.globalenv)
        self._load()

    def _load(self) -> None:
        source = self._ri.baseenv["sys.source"]
        for file in sorted(R_FOLDER.glob("*.R")):
            self._guarded(
                lambda path=str(file): source(
                    self._ri.StrSexpVector([path]),
                    envir=self._home,
                    **{"keep.source": self._ri.BoolSexpVector([True])},
                )
            )
        self.call("attach_packages", packages=list(REQUIRED))

    def call(self, function: str, **arguments: object) -> Any:
        """Call a function of ``r/*.R``.

        Raises
        ------
        AnalysisError
            With R's own message.
        """
        from mlmreport.engine.convert import from_r, to_r

        converted = {name: to_r(value) for name, value in arguments.items()}
        return self._guarded(lambda: from_r(self._home[function](**converted)))

    def frame(self, function: str, **arguments: object) -> pd.DataFrame:
        """Call a function that returns a data frame."""
        from mlmreport.engine.convert import frame_from_r, to_r

        converted = {name: to_r(value) for name, value in arguments.items()}
        return self._guarded(lambda: frame_from_r(self._home[function](**converted)))

    def _guarded(self, act: Any) -> Any:
        from rpy2.rinterface_lib.embedded import RRuntimeError

        try:
            return act()
        except RRuntimeError as error:
            said = str(error).strip().removeprefix("Error in ").strip()
            raise AnalysisError(f"R stopped: {said}") from None


def _start() -> Any:
    """Start R quietly, or say what is missing."""
    os.environ.setdefault("RPY2_CFFI_MODE", "ABI")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if not os.environ.get("R_HOME") and shutil.which("R") is None:
        raise EnvironmentFault(
            "R is not installed, or not on the PATH\n  hint: `mlmreport doctor` says how to get it"
        )
    try:
        import rpy2.rinterface as ri
        from rpy2.rinterface_lib import callbacks, embedded
    except (ImportError, OSError, ValueError) as error:
        raise EnvironmentFault(
            f"rpy2 cannot reach R: {error}\n  hint: `mlmreport doctor` says how to mend it"
        ) from None
    if not embedded.isinitialized():
        embedded.set_initoptions(("mlmreport", "--vanilla", "--quiet", "--no-save"))
        ri.initr()
    for name in ("consolewrite_print", "consolewrite_warnerror"):
        setattr(callbacks, name, _silent)  # conditions come back as data, see r/conditions.R
    return ri


def _silent(_: str) -> None:
    """R's console output is not the user's."""


@cache
def session() -> Session:
    """The R of this process, started at the first call.

    Raises
    ------
    EnvironmentFault
        When R, or a package that the analysis needs, is missing.
    """
    try:
        return Session()
    except AnalysisError as error:
        raise EnvironmentFault(
            f"{error}\n  hint: `mlmreport doctor` says what is missing and how to get it"
        ) from None


def package_dataset(package: str, dataset: str) -> pd.DataFrame:
    """A data set of an installed R package.

    Raises
    ------
    InputError
        When there is no such package or data set.
    """
    try:
        return session().frame("package_dataset", package=package, dataset=dataset)
    except AnalysisError as error:
        raise InputError.of(
            str(error), "name an installed R package and one of its data sets"
        ) from None


def versions() -> Mapping[str, str]:
    """R, its packages and BLAS, as they run."""
    found: Mapping[str, tuple[str, ...]] = session().call("session_versions")
    return {name: values[0] for name, values in found.items()}
