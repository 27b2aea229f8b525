from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from mlmreport.errors import EnvironmentFault, InputError, VerificationError
from mlmreport.quantities import Quantity, Results, Series, Source
from mlmreport.verify import clean_room
from mlmreport.verify.checks import Check
from mlmreport.verify.clean_room import CLOSED_FORM, FROM_A_MODEL, rederive
from mlmreport.verify.verification import summary, verify

Copy = Callable[[], Path]
Checks = Iterator[Check]


def _change(folder: Path, change: Callable[[dict], None]) -> None:
    document = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    change(document)
    (folder / "results.json").write_text(json.dumps(document), encoding="utf-8")


def _set(name: str, factor: float) -> Callable[[dict], None]:
    def change(document: dict) -> None:
        (found,) = (entry for entry in document["quantities"] if entry["id"] == name)
        found["value"] *= factor

    return change


def _of(checks: Sequence[Check], *kinds: str) -> dict[str, Check]:
    return {check.id: check for check in checks if check.kind in kinds}


@pytest.mark.r
def test_every_number_is_derived_again(report: Path, results: Results) -> None:
    found = rederive(report)
    assert not found.differences
    items = [item for item in results.items.values() if isinstance(item, Quantity | Series)]
    asked = [item for item in items if item.source.engine != "pandas"]
    assert [check.id for check in found.checks] == [item.id for item in asked]
    by_kind = {kind: _of(found.checks, kind) for kind in clean_room.KINDS}
    assert set(by_kind["setting"]) == {"settings/level", "settings/alpha"}
    assert "structure/variable/Reaction/mean" in by_kind["closed form"]
    assert "growth/fixef/Days/estimate" in by_kind["optimizer"]
    assert "icc/exact/p" in by_kind["simulation"]
    assert all(check.tolerance == CLOSED_FORM for check in by_kind["closed form"].values())
    assert all(check.tolerance == FROM_A_MODEL for check in by_kind["optimizer"].values())


@pytest.mark.r
def test_changed_results_are_named(copy: Copy) -> None:
    folder = copy()

    def change(document: dict) -> None:
        _set("structure/variable/Reaction/mean", 1 + 1e-10)(document)
        _set("growth/fixef/Days/estimate", 1 + 1e-4)(document)
        _set("settings/level", 0.9)(document)
        (series,) = (e for e in document["series"] if e["id"] == "inference/shrinkage/Subject/raw")
        series["values"][2] += 0.01
        (names,) = (e for e in document["series"] if e["id"] == "assumptions/groups/names")
        names["values"][0] = "someone"

    _change(folder, change)
    found = verify(folder)
    assert not found.ok
    derived = [check for check in found.checks if not check.ok and check.kind in clean_room.KINDS]
    assert [check.id for check in derived] == [
        "settings/level",
        "growth/fixef/Days/estimate",  # models are fitted before step 1 describes their data
        "structure/variable/Reaction/mean",
        "assumptions/groups/names",
        "inference/shrinkage/Subject/raw",
    ]
    by_id = {check.id: check for check in derived}
    assert by_id["settings/level"].found == 0.95
    assert "element 3 of 18" in by_id["inference/shrinkage/Subject/raw"].what
    assert by_id["assumptions/groups/names"].expected == "someone"
    slope = by_id["growth/fixef/Days/estimate"]
    assert f"{slope.id} ({slope.what}): expected {slope.expected!r}" in summary(found)
    # The files still show what was stored before.
    for form in ("html", "docx", "pdf"):
        wrong = {check.id for check in found.checks if check.kind == form and not check.ok}
        assert "settings/level" in wrong
    assert "growth/fixef/Days/estimate" in {m.id for m in found.pages["html"].mismatches}


@pytest.mark.r
def test_a_changed_row_is_told_and_its_consequences_named(copy: Copy) -> None:
    folder = copy()
    lines = (folder / "data.csv").read_text(encoding="utf-8").splitlines()
    group, value, *others = lines[7].split(",")
    lines[7] = ",".join([group, str(float(value) + 1), *others])
    (folder / "data.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = verify(folder)
    assert not found.ok
    changed = {check.id for check in found.checks if not check.ok}
    assert {"data.csv", "structure/variable/Reaction/mean"} <= changed
    assert "structure/n" not in changed
    (column,) = (check for check in found.checks if check.id == "preparation/column/Reaction")
    assert str(column.found).startswith("row 7: ")


@pytest.mark.r
def test_another_expression_in_the_script_is_named(copy: Copy) -> None:
    folder = copy()
    script = (folder / "reproduce.R").read_text(encoding="utf-8")
    assert 'report("structure/n", nrow(d))' in script
    script = script.replace('report("structure/n", nrow(d))', 'report("structure/n", 180)')
    # Without its models the rest of the script is quick, and must still be run to its end.
    script = script.replace("m_null <- lmer(", "m_null <- no_such_function(")
    (folder / "reproduce.R").write_text(script, encoding="utf-8")
    found = {difference.id: difference for difference in rederive(folder).differences}
    assert "another expression" in str(found["structure/n"].found)
    assert "m_null" in str(found["null/sigma"].found)
    assert "growth/sigma" not in found


@pytest.mark.r
def test_a_script_that_stops_is_an_error_with_what_r_said(copy: Copy) -> None:
    folder = copy()
    (folder / "reproduce.R").write_text('stop("enough")', encoding="utf-8")
    with pytest.raises(VerificationError, match="enough"):
        rederive(folder)
    (folder / "reproduce.R").write_text("Sys.sleep(60)", encoding="utf-8")
    with pytest.raises(VerificationError, match="did not end within"):
        rederive(folder, timeout=0.5)


@pytest.mark.r
def test_a_missing_package_is_a_fault_of_the_environment(copy: Copy) -> None:
    folder = copy()
    script = (folder / "reproduce.R").read_text(encoding="utf-8")
    script = script.replace("packages <- c(", 'packages <- c("no.such.package", ')
    (folder / "reproduce.R").write_text(script, encoding="utf-8")
    with pytest.raises(EnvironmentFault, match=r"no\.such\.package[\s\S]*doctor"):
        rederive(folder)


@pytest.mark.r
def test_the_clean_r_sees_no_profile(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy()
    (folder / "profile.R").write_text('stop("read")', encoding="utf-8")
    monkeypatch.setenv("R_PROFILE_USER", str(folder / "profile.R"))
    monkeypatch.setenv("R_LIBS_USER", "/packages")
    names = 'c("R_PROFILE_USER", "R_LIBS_USER")'
    line = f'paste0("structure/n,0,error,", paste(Sys.getenv({names}), collapse = "|"))'
    script = (folder / "reproduce.R").read_text(encoding="utf-8")
    kept = [row for row in script.splitlines() if "structure/n" in row]
    seen = f'writeLines(c("id,element,type,value", {line}), "values.csv")\nif (FALSE) {kept[0]}'
    (folder / "reproduce.R").write_text(seen, encoding="utf-8")
    found = {difference.id: difference.found for difference in rederive(folder).differences}
    assert found["structure/n"] == "error: |/packages"


@pytest.mark.r
@pytest.mark.parametrize(
    "name", ["results.json", "report.qmd", "reproduce.R", "definitions.R", "prepare.R", "data.csv"]
)
def test_a_missing_file_is_an_input_error_with_a_hint(copy: Copy, name: str) -> None:
    folder = copy()
    (folder / "reproduce.R").write_text('file.create("values.csv")', encoding="utf-8")
    (folder / name).unlink()
    with pytest.raises(InputError, match=rf"{name}: there is no such file[\s\S]*hint"):
        verify(folder)


@pytest.mark.r
def test_a_folder_without_a_finished_file_is_an_input_error(copy: Copy) -> None:
    folder = copy()
    for form in ("html", "docx", "pdf"):
        (folder / f"report.{form}").unlink()
    with pytest.raises(InputError, match=r"no finished report[\s\S]*render"):
        verify(folder)


def test_no_rscript_is_a_fault_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("R_HOME", raising=False)
    with pytest.raises(EnvironmentFault, match="doctor"):
        clean_room._rscript()


# --- scales and tolerances, without R ---------------------------------------------------------


def _checked(
    *items: Quantity, versions: Mapping[str, str] | None = None, **derived: float
) -> Checks:
    session = {"r": {"R": "4.2.2", "lme4": "1.1.31"}}
    results = Results({}, {item.id: item for item in items}, {}, (), (), (), (), session)
    script = "\n".join(f'report("{item.id}", {item.source.expression})' for item in items)
    rows = {
        item.id: [("number", repr(derived.get(item.id.rpartition("/")[2], item.value)))]
        for item in items
    }
    return clean_room._Comparison(results, rows, script, versions or session["r"]).checks()


def _check(*items: Quantity, **derived: float) -> tuple[str, ...]:
    return tuple(check.id for check in _checked(*items, **derived) if not check.ok)


def _quantity(name: str, value: float, kind: str = "estimate", model: str = "m") -> Quantity:
    return Quantity(name, value, kind, "", "", Source("f(d)", model=model))


def test_closed_forms_are_held_closer_than_models() -> None:
    between = 1.0 + (CLOSED_FORM * FROM_A_MODEL) ** 0.5
    assert _check(_quantity("a/x", 1.0, model=""), x=between) == ("a/x",)
    assert _check(_quantity("a/x", 1.0), x=between) == ()
    assert _check(_quantity("a/x", 1.0), x=1.0 + 2 * FROM_A_MODEL) == ("a/x",)


def test_an_estimate_near_zero_is_measured_by_its_standard_error() -> None:
    kin = (_quantity("b/x", 1e-12), _quantity("b/se", 0.5, "se"))
    assert _check(*kin, x=3e-8) == ()
    assert _check(*kin, x=3e-6) == ("b/x",)


def test_a_variance_near_zero_is_measured_by_the_models_largest() -> None:
    kin = (_quantity("m/var/g/1/variance", 1e-13, "variance"), _quantity("m/s", 4.0, "variance"))
    assert _check(*kin, variance=1e-7) == ()
    assert _check(*kin, variance=1e-5) == ("m/var/g/1/variance",)


def test_small_p_values_may_move_with_their_statistic_but_no_further() -> None:
    assert _check(_quantity("t/p", 1e-40, "p"), p=1e-40 * (1 + 1e-4)) == ()
    assert _check(_quantity("t/p", 1e-40, "p"), p=1e-38) == ("t/p",)


def _drawn(name: str, value: float, kind: str, method: str) -> Quantity:
    return replace(_quantity(name, value, kind), method=method)


def test_simulations_repeat_with_the_same_r_and_are_held_to_their_error_with_another() -> None:
    p = _drawn("t/p", 0.2, "p", "exact test, 10,000 simulated values")
    other = {"R": "4.5.0", "lme4": "1.1.37"}
    near, far = {"p": 0.2 + 0.007}, {"p": 0.2 + 0.009}  # two standard errors are .008
    assert [check.ok for check in _checked(p, **near)] == [False]
    assert [check.ok for check in _checked(p, versions=other, **near)] == [True]
    assert [check.ok for check in _checked(p, versions=other, **far)] == [False]
    assert [check.kind for check in _checked(p)] == ["simulation"]


def test_limits_of_simulated_intervals_are_held_to_the_error_of_a_quantile() -> None:
    method = "95 % interval, 200 samples"
    level = replace(_quantity("settings/level", 0.95, "level", ""), source=Source("1"))
    limits = [_drawn(f"i/{end}", value, "proportion", method) for end, value in
              (("lower", 0.0), ("upper", 3.92))]  # fmt: skip
    other = {"R": "4.5.0", "lme4": "1.1.37"}
    # The SD is 1, so the error of a quantile is root(.025 * .975 / 200) / .0584 = .189.
    near, far = {"lower": 0.37}, {"lower": 0.39}
    assert all(check.ok for check in _checked(level, *limits, versions=other, **near))
    wrong = [c.id for c in _checked(level, *limits, versions=other, **far) if not c.ok]
    assert wrong == ["i/lower"]
