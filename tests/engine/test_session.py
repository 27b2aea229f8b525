"""The embedded R: its errors are mapped, Ctrl-C reaches it, nothing is left in its workspace."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mlmreport.engine import session as module
from mlmreport.engine.fits import Engine
from mlmreport.engine.session import Session, _Memory, package_dataset, session, versions
from mlmreport.errors import AnalysisError, EnvironmentFault, InputError
from mlmreport.quantities import Missing, Quantity, Series

pytestmark = pytest.mark.r

STEP = """
test_step <- function(n) {
  statistic("t/n", nrow(d), "Rows", "count")
  object("centre", {warning("first"); message("second"); warning("third"); mean(d$x)})
  statistic("t/centre", centre + extra, "Centre", bind = list(extra = n))
  statistic("t/log", log(-1), "A logarithm")
  statistic("t/many", d$x, "Not one number")
  statistic("t/error", stop("no such thing"), "An error")
  series("t/x", d$x, "Values")
  list(found = "yes", nothing = character(0))
}
test_outdated <- function() {
  says <- c(
    "'oldNames' is deprecated. Please use 'signames' instead.",
    "the \u2018findbars\u2019 function has moved to the reformulas package. Please"
  )
  object("by_class", .Deprecated("fixef", msg = "use something else"))
  object("by_words", for (text in says) warning(text, call. = FALSE), bind = list(says = says))
  object("of_a_worker", said_again(observed(.Deprecated("fixef", msg = "use something else"))))
  object("of_the_data", warning("the column deprecated is constant"))
  list()
}
test_stop <- function() stop("the step failed")
test_quit <- function(x) x + "a"
test_twice <- function() {
  statistic("same", 1, "One")
  statistic("same", 2, "Two")
}
test_slow <- function() {
  x <- 0
  for (i in 1:2000000000) x <- x + sin(i)
  x
}
"""


@pytest.fixture(scope="module")
def r() -> Session:
    """The session with a few functions for tests."""
    import rpy2.rinterface as ri

    found = session()
    environment = found._home
    ri.baseenv["eval"](ri.baseenv["parse"](text=ri.StrSexpVector([STEP])), environment)
    return found


@pytest.fixture
def engine(r: Session) -> Engine:
    found = Engine(r)
    found.begin(pd.DataFrame({"x": [1.0, 2.0, 6.0], "g": ["a", "a", "b"]}))
    return found


def workspace() -> tuple[str, ...]:
    import rpy2.rinterface as ri

    # R itself keeps the state of its generator there, once anything has drawn from it.
    return tuple(ri.evalr("setdiff(ls(globalenv(), all.names = TRUE), '.Random.seed')"))


def test_a_step_gives_items_trace_and_facts(engine: Engine) -> None:
    facts = engine.run("fit", "test_step", n=10.0)
    centre = engine.items["t/centre"]
    assert isinstance(centre, Quantity)
    assert (centre.value, centre.source.expression) == (13.0, "centre + 10")
    assert facts == {"found": ("yes",), "nothing": ()}
    assert isinstance(engine.items["t/x"], Series)
    assert [(e.kind, e.name) for e in engine.trace] == [
        ("quantity", "t/n"),
        ("object", "centre"),
        ("quantity", "t/centre"),
        ("series", "t/x"),
    ]


def test_what_cannot_be_had_is_missing_with_its_reason(engine: Engine) -> None:
    engine.run("fit", "test_step", n=1.0)
    reasons = {i.id: i.reason for i in engine.items.values() if isinstance(i, Missing)}
    assert set(reasons) == {"t/log", "t/many", "t/error"}
    assert all(reasons.values())
    assert ("t/error", "no such thing") in {(c["where"], c["text"]) for c in engine.conditions}


def test_conditions_are_recorded_in_order(engine: Engine) -> None:
    engine.run("fit", "test_step", n=1.0)
    said = [(c["where"], c["kind"], c["text"]) for c in engine.conditions]
    assert said[:3] == [
        ("centre", "warning", "first"),
        ("centre", "message", "second"),
        ("centre", "warning", "third"),
    ]
    assert said[3] == ("t/log", "warning", "NaNs produced")


def test_what_goes_out_of_use_is_said_of_the_software(engine: Engine) -> None:
    """Also after a worker or the cache; and words about data are left as they are."""
    engine.run("fit", "test_outdated")
    said = [(c["where"], c["kind"]) for c in engine.conditions]
    assert said == [
        ("by_class", "deprecation"),
        ("by_words", "deprecation"),
        ("by_words", "deprecation"),
        ("of_a_worker", "deprecation"),
        ("of_the_data", "warning"),
    ]


@pytest.mark.parametrize("function", ["find_bars", "without_bars", "bars_as_sums", "single_bars"])
def test_formulas_are_taken_apart_without_a_warning(function: str, r: Session) -> None:
    import rpy2.rinterface as ri

    call = f"length(observed({function}(y ~ x + (x || g)))$said)"
    (said,) = ri.baseenv["eval"](ri.baseenv["parse"](text=ri.StrSexpVector([call])), r._home)
    assert said == 0


def test_the_workspace_of_r_stays_empty(engine: Engine) -> None:
    engine.run("fit", "test_step", n=1.0)
    assert workspace() == ()


def test_an_analysis_starts_afresh(engine: Engine, r: Session) -> None:
    engine.run("fit", "test_step", n=1.0)
    again = Engine(r)
    again.begin(pd.DataFrame({"x": [0.0, 4.0]}))
    again.run("fit", "test_step", n=0.0)
    centre = again.items["t/centre"]
    assert isinstance(centre, Quantity)
    assert centre.value == 2.0


@pytest.mark.parametrize(
    ("function", "arguments", "message"),
    [
        ("test_stop", {}, "the step failed"),
        ("test_quit", {"x": 1.0}, "non-numeric argument"),
        ("no_such_function", {}, "no_such_function"),
    ],
)
def test_an_error_in_a_step_is_an_analysis_error(
    engine: Engine, function: str, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(AnalysisError, match=message) as caught:
        engine.run("fit", function, **arguments)
    assert caught.value.exit_code == 1
    assert "Traceback" not in str(caught.value)


def test_r_works_on_after_an_error(engine: Engine) -> None:
    with pytest.raises(AnalysisError):
        engine.run("fit", "test_stop")
    engine.run("fit", "test_step", n=1.0)
    assert "t/n" in engine.items


def test_an_id_given_twice_is_refused(engine: Engine) -> None:
    with pytest.raises(AnalysisError, match="'same' was given twice"):
        engine.run("fit", "test_twice")


def test_a_model_that_cannot_be_fitted(engine: Engine) -> None:
    with pytest.raises(AnalysisError, match="nosuch"):
        engine.fit("bad", "x ~ 1 + (1 | nosuch)", reml=True, optimizer="nloptwrap")


def test_a_package_dataset_keeps_its_types() -> None:
    frame = package_dataset("lme4", "sleepstudy")
    assert list(frame.dtypes[["Reaction", "Days"]]) == ["float64", "float64"]
    assert list(frame["Subject"].cat.categories[:2]) == ["308", "309"]
    assert len(frame) == 180


@pytest.mark.parametrize(
    ("package", "dataset", "message"),
    [
        ("nosuchpackage", "x", "'nosuchpackage' is not installed"),
        ("lme4", "nosuchdata", "no data set 'nosuchdata'"),
        ("lme4", "lmer", "not a data frame"),
    ],
)
def test_a_dataset_that_is_not_there(package: str, dataset: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        package_dataset(package, dataset)


def test_versions_are_told() -> None:
    found = versions()
    assert {"R", "lme4", "BLAS", "platform"} <= set(found)
    assert found["R"].count(".") == 2


def test_ctrl_c_stops_r_and_r_works_on(r: Session) -> None:
    before = signal.getsignal(signal.SIGINT)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    began = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        r.call("test_slow")
    assert time.monotonic() - began < 10
    assert signal.getsignal(signal.SIGINT) is before
    assert r.call("session_versions")["R"]


def test_a_missing_package_is_a_fault_of_the_environment(
    r: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "REQUIRED", ("lme4", "nosuchpackage"))
    session.cache_clear()
    with pytest.raises(EnvironmentFault, match=r"'nosuchpackage' is not installed[\s\S]*doctor"):
        session()
    session.cache_clear()


def elsewhere(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    return subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def test_without_r_it_says_so() -> None:
    code = "from mlmreport.engine.session import session\nsession()"
    done = elsewhere(code, PATH="/nowhere", R_HOME="")
    assert "EnvironmentFault: R is not installed, or not on the PATH" in done.stderr


def test_letters_survive_a_locale_without_utf8() -> None:
    code = (
        "import pandas as pd\n"
        "from mlmreport.engine.fits import Engine\n"
        "from mlmreport.engine.session import session\n"
        "Engine(session()).begin(pd.DataFrame({'é': [1.0]}))\n"
        "import rpy2.rinterface as ri\n"
        "print(ascii(ri.evalr('deparse(quote(`é` + 1))')[0]))"
    )
    assert elsewhere(code, LC_ALL="C", PYTHONUTF8="1").stdout.strip() == r"'\xe9 + 1'"


def test_programs_started_later_do_not_get_the_libraries_of_r() -> None:
    code = (
        "import os\n"
        "before = os.environ.get('LD_LIBRARY_PATH')\n"
        "from mlmreport.engine.session import session\n"
        "session()\n"
        "print(os.environ.get('LD_LIBRARY_PATH') == before)"
    )
    assert elsewhere(code).stdout.strip() == "True"


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="Linux tells the memory in use")
def test_memory_that_has_grown_is_seen() -> None:
    memory = _Memory()
    memory.trim()
    assert not memory.grown()
    held = np.ones(25_000_000)  # 200 MB, all of it written
    assert memory.grown()
    del held
    memory.trim()
    assert not memory.grown()


def test_what_was_lent_before_stays() -> None:
    """Functions lent later, the workers', do not take the place of earlier ones."""
    Engine(session()).begin(pd.DataFrame({"x": [1.0, 2.0]}))
    gc.collect()
    assert session().call("clear_memory") == (True,)
