"""One R in this process: started once, `--vanilla`, with our R code in a private environment."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mlmreport.errors import ENDING, AnalysisError, EnvironmentFault, InputError

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "R_FOLDER",
    "Session",
    "definitions",
    "installation",
    "package_dataset",
    "session",
    "versions",
]

R_FOLDER = Path(__file__).parents[1] / "r"
T = TypeVar("T")
REQUIRED = ("lme4", "lmerTest", "pbkrtest")


class Session:
    """The embedded R.

    Calls are made to functions of ``r/*.R`` by name, with plain values, a data frame or what is R's
    already as arguments; what comes back is plain again. The global environment of R stays empty.
    """

    def __init__(self) -> None:
        ri = _start()
        self._ri = ri
        self._lent: dict[str, Mapping[str, object]] = {}
        self._home = ri.baseenv["new.env"](parent=ri.globalenv)
        self._load()
        memory = _Memory()
        self.lend("use_memory", {"trim": memory.trim, "grown": memory.grown})

    def _load(self) -> None:
        source = self._ri.baseenv["sys.source"]
        keep = self._ri.BoolSexpVector([True])
        for file in sorted(R_FOLDER.glob("*.R")):
            path = self._ri.StrSexpVector([str(file)])
            self._guarded(partial(source, path, envir=self._home, **{"keep.source": keep}))
        self.call("attach_packages", packages=list(REQUIRED))

    def call(self, function: str, **arguments: object) -> Any:
        """Call a function of ``r/*.R``.

        Raises
        ------
        AnalysisError
            With R's own message.
        """
        from mlmreport.engine.convert import from_r

        return self._guarded(lambda: from_r(self._evaluated(function, arguments)))

    def lend(self, function: str, functions: Mapping[str, Callable[..., object]]) -> None:
        """Call a function of ``r/*.R`` with Python functions that R may call later.

        They get bytes or numbers, and return one of these or a truth value.
        """
        lent = {name: self._ri.rternalize(_speaking(act)) for name, act in functions.items()}
        self._lent[function] = lent  # R does not keep them alive
        self._guarded(lambda: self._home[function](**lent))

    def frame(self, function: str, **arguments: object) -> pd.DataFrame:
        """Call a function that returns a data frame."""
        from mlmreport.engine.convert import frame_from_r

        return self._guarded(lambda: frame_from_r(self._evaluated(function, arguments)))

    def _evaluated(self, function: str, arguments: Mapping[str, object]) -> Any:
        from mlmreport.engine.convert import to_r

        return self._home[function](**{name: to_r(value) for name, value in arguments.items()})

    def _guarded(self, act: Callable[[], T]) -> T:
        from rpy2.rinterface_lib.embedded import RRuntimeError

        with _interruptible():
            try:
                return act()
            except RRuntimeError as error:
                said = str(error).strip().removeprefix("Error in ").strip()
                raise AnalysisError(f"R stopped: {said}") from None


def _speaking(act: Callable[..., object]) -> Callable[..., object]:
    """A Python function as R calls it."""
    from mlmreport.engine.convert import from_r, to_r

    def called(*arguments: Any) -> object:
        plain = [from_r(value) for value in arguments]
        return to_r(act(*(value if isinstance(value, bytes) else value[0] for value in plain)))

    return called


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C, and other signals that end the program, stop R.

    While R computes, Python's own handlers would raise within a callback from R, where the
    exception is lost; these tell R, which stops at its next check, and the former ones are called
    when R has returned.
    """
    from rpy2.rinterface_lib import openrlib

    if threading.current_thread() is not threading.main_thread():
        yield  # signals are the main thread's
        return
    came: list[int] = []

    def tell_r(number: int, __: object) -> None:
        came.append(number)
        openrlib.rlib.R_interrupts_pending = 1

    former = {number: signal.getsignal(number) for number in ENDING}
    before = {number: handler for number, handler in former.items() if callable(handler)}
    for number in before:
        signal.signal(number, tell_r)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            openrlib.rlib.R_interrupts_pending = 0
            before[came[0]](came[0], None)


def _start() -> Any:
    """Start R quietly, or say what is missing."""
    os.environ.setdefault("RPY2_CFFI_MODE", "ABI")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if not os.environ.get("R_HOME") and shutil.which("R") is None:
        raise EnvironmentFault(
            "R is not installed, or not on the PATH\n  hint: `mlmreport doctor` says how to get it"
        )
    libraries = os.environ.get("LD_LIBRARY_PATH")
    try:
        import rpy2.rinterface as ri
        from rpy2.rinterface_lib import callbacks, embedded
    except (ImportError, OSError, ValueError) as error:
        raise EnvironmentFault(
            f"rpy2 cannot reach R: {error}\n  hint: `mlmreport doctor` says how to mend it"
        ) from None
    _give_memory_back()
    if not embedded.isinitialized():
        embedded.set_initoptions(("mlmreport", "--vanilla", "--quiet", "--no-save", _HEAP))
        ri.initr()
    _restore("LD_LIBRARY_PATH", libraries)
    _speak_utf8(ri)
    for name in ("consolewrite_print", "consolewrite_warnerror"):
        setattr(callbacks, name, _silent)  # conditions come back as data, see r/conditions.R
    return ri


_HEAP = "--min-vsize=256M"
"""So much R allocates before it first looks for what is no longer in use.

Its own 64 MB are soon used up by refits, of which little stays: half of their time would go there.
"""
_MMAP_THRESHOLD = -3
"""M_MMAP_THRESHOLD of malloc.h."""


def _give_memory_back() -> None:
    """Let glibc return blocks of a megabyte when R frees them.

    By itself it raises the size from which on blocks are returned when one is freed, and columns of
    many rows stay with the process in pieces.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):  # another C library
        ctypes.CDLL(None).mallopt(_MMAP_THRESHOLD, 1 << 20)


class _Memory:
    """The resident memory of the process, which R does not see."""

    _MUCH = 40 * 2**20

    def __init__(self) -> None:
        self._least = self._resident()

    def trim(self) -> bool:
        """Give pages back that R has freed between others in use, which glibc by itself keeps."""
        with contextlib.suppress(AttributeError, OSError):  # another C library
            ctypes.CDLL(None).malloc_trim(0)
        self._least = self._resident()
        return True

    def grown(self) -> bool:
        """Whether it is 40 MB more than after the last trim; never where Linux does not tell."""
        return self._resident() > self._least + self._MUCH

    @staticmethod
    def _resident() -> int:
        with contextlib.suppress(OSError):
            pages = Path("/proc/self/statm").read_text(encoding="ascii").split()[1]
            return int(pages) * os.sysconf("SC_PAGE_SIZE")
        return 0


def _restore(name: str, value: str | None) -> None:
    """Undo what rpy2 set: with R's libraries first, programs started later can break."""
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value


def _speak_utf8(ri: Any) -> None:
    """In a locale without UTF-8 R would write a letter such as é as <U+00E9> into its calls."""
    if not ri.evalr("l10n_info()[['UTF-8']]")[0]:
        ri.evalr("suppressWarnings(Sys.setlocale('LC_CTYPE', 'C.UTF-8'))")


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


def installation() -> tuple[str, ...]:
    """Files that change when R or a package that was used is installed anew."""
    found: tuple[str, ...] = session().call("installed_files")
    return found


COMPRESSION = ("compression", "resampling", "profiling", "ratios", "robust")
"""Files with the functions for compressed data."""


def definitions() -> str:
    """The R code of the statistics that no single call gives, for ``reproduce.R``."""
    files = sorted(R_FOLDER.glob("definitions*.R"), key=lambda file: file.stem)
    files += [R_FOLDER / f"{name}.R" for name in COMPRESSION]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)
