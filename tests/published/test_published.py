"""Models that others have fitted and printed, fitted again by the engine of the reports.

A case is a YAML file: source, data, formula, criterion, and the numbers as printed. A number has to
agree to its printed precision, that is within half a unit of its last digit; a case whose source
stopped short of the optimum names a relative tolerance, and why.
"""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from mlmreport.engine.fits import Engine
from mlmreport.engine.session import package_dataset, session
from mlmreport.errors import InputError
from mlmreport.quantities import Quantity

pytestmark = pytest.mark.r

CASES = sorted(Path(__file__).parent.glob("*.yml"))


def table(data: dict[str, Any]) -> pd.DataFrame:
    frame = package_dataset(data["package"], data["dataset"])
    if join := data.get("join"):
        other = package_dataset(join["package"], join["dataset"])
        keys = other[join["by"]].astype(str)
        for column in join["take"]:
            frame[column] = (
                frame[join["by"]].astype(str).map(dict(zip(keys, other[column], strict=True)))
            )
            frame[column] = frame[column].astype(other[column].dtype)
    for name, expression in data.get("columns", {}).items():
        frame[name] = frame.eval(expression)
    return frame


def fitted(case: dict[str, Any]) -> Engine:
    engine = Engine(session())
    engine.begin(table(case["data"]))
    engine.fit("m", case["formula"], case["reml"], "nloptwrap")
    large = bool(case.get("large"))  # fitted once, without numerical derivatives
    engine.run("models", "model_quantities", id="m", labels={}, unit="", level=0.95, limits=True,
               ddf="asymptotic" if large else "Satterthwaite")  # fmt: skip
    if not large:
        engine.run("models", "fit_by_ml", id="m")
        engine.run("fit", "fit_of_model", id="m")
    asked = {name.partition("/")[0] for name in case["printed"]}
    if "icc" in asked:
        engine.run("icc", "step_icc", null="m_m", blocks=[case["null_of"]], level=0.95, reason="no")
    if "kr" in asked:
        engine.run("inference", "other_df", id="m", ddf="Kenward-Roger")
    return engine


def item(engine: Engine, name: str) -> float:
    if name.startswith("var/") and f"m/{name}" not in engine.items:
        name = next(i for i in engine.items if i.endswith(name.split("/", 2)[2]))[2:]
    if name == "reml/loglik":
        return -item(engine, "criterion") / 2
    if name == "reml/aic":
        return item(engine, "criterion") + 2 * item(engine, "parameters")
    if name.startswith(("icc/", "kr/")):
        found = engine.items[name.replace("kr/", "inference/otherdf/")]
        assert isinstance(found, Quantity), found
        return found.value
    path = f"fit/m/{name.removeprefix('ml/')}" if name.startswith("ml/") else f"m/{name}"
    found = engine.items[path]
    assert isinstance(found, Quantity), found
    return found.value


def half_a_unit(printed: str) -> float:
    exponent = Decimal(printed).as_tuple().exponent
    assert isinstance(exponent, int)
    return 0.5 * 10.0**exponent


LONG = {"insteval-reml"}
"""Cases that take more than ten seconds."""


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.long] if path.stem in LONG else [], id=path.stem)
        for path in CASES
    ],
)
def test_printed_numbers(path: Path) -> None:
    case = yaml.safe_load(path.read_text(encoding="utf-8"))
    try:
        engine = fitted(case)
    except InputError as error:  # mlmRev is not needed otherwise
        pytest.skip(str(error))
    relative = float(case.get("tolerance", 0))
    wrong = {}
    for name, printed in case["printed"].items():
        value = item(engine, name)
        allowed = half_a_unit(printed) * (1 + 1e-6) + relative * abs(float(printed))
        if abs(value - float(printed)) > allowed:
            wrong[name] = (printed, value)
    assert not wrong


def test_every_case_names_its_source() -> None:
    assert len(CASES) >= 18
    for path in CASES:
        case = yaml.safe_load(path.read_text(encoding="utf-8"))
        assert len(case["source"]) > 20, path.name
        assert all(isinstance(printed, str) for printed in case["printed"].values()), path.name


def test_sleepstudy_likelihood_ratios() -> None:
    """Bates, Mächler, Bolker & Walker (2015): 42.08 for the slopes, 0.06 for their correlation."""
    names = ("sleepstudy-intercepts-ml", "sleepstudy-uncorrelated-ml", "sleepstudy-ml")
    cases = [yaml.safe_load((Path(__file__).parent / f"{n}.yml").read_text("utf-8")) for n in names]
    plain, apart, full = (item(fitted(case), "criterion") for case in cases)
    assert plain - apart == pytest.approx(42.08, abs=0.005)
    assert apart - full == pytest.approx(0.06, abs=0.005)
    p = session().call("boundary_p", lr=plain - apart, df=1.0)[0]
    assert 2 * p == pytest.approx(8.8e-11, abs=0.05e-11)  # printed without the boundary's halving
