from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from mlmreport.errors import EnvironmentFault, InputError, VerificationError
from mlmreport.quantities import Quantity, Results, Source
from mlmreport.verify import clean_room
from mlmreport.verify.clean_room import CLOSED_FORM, FROM_A_MODEL, rederive, summary, verify
from mlmreport.verify.displayed import PageCheck

Copy = Callable[[], Path]


def _change(folder: Path, change: Callable[[dict], None]) -> None:
    document = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    change(document)
    (folder / "results.json").write_text(json.dumps(document), encoding="utf-8")


def _set(name: str, factor: float) -> Callable[[dict], None]:
    def change(document: dict) -> None:
        (found,) = (entry for entry in document["quantities"] if entry["id"] == name)
        found["value"] *= factor

    return change


@pytest.mark.r
def test_a_report_left_alone_is_verified(report: Path, results: Results) -> None:
    found = verify(report)
    assert found.ok
    assert found.rederived.largest < FROM_A_MODEL
    of_r = [item for item in results.quantities if item.source.engine == "R"]
    assert found.rederived.compared > len(of_r) > 100
    assert set(found.rederived.not_derived) == {
        item.id for item in results.quantities if item.source.engine == "pandas"
    }
    assert found.page.compared == len(results.quantities) + len(results.missing)
    assert "0 differ" in summary(found)
    assert found.untraced == ()


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
    assert [difference.id for difference in found.rederived.differences] == [
        "settings/level",
        "growth/fixef/Days/estimate",  # models are fitted before step 1 describes their data
        "structure/variable/Reaction/mean",
        "assumptions/groups/names",
        "inference/shrinkage/Subject/raw",
    ]
    by_id = {difference.id: difference for difference in found.rederived.differences}
    assert by_id["settings/level"].derived == 0.95
    assert by_id["inference/shrinkage/Subject/raw"].where.endswith("element 3; 1 of 18 differ")
    assert by_id["assumptions/groups/names"].stored == "someone"
    slope = by_id["growth/fixef/Days/estimate"]
    assert f"{slope.id} ({slope.label}): stored {slope.stored!r}" in summary(found)
    # The page still shows what was stored before.
    assert {"growth/fixef/Days/estimate", "settings/level"} <= {m.id for m in found.page.mismatches}


@pytest.mark.r
def test_a_changed_row_is_told_and_its_consequences_named(copy: Copy) -> None:
    folder = copy()
    lines = (folder / "data.csv").read_text(encoding="utf-8").splitlines()
    group, value, *others = lines[7].split(",")
    lines[7] = ",".join([group, str(float(value) + 1), *others])
    (folder / "data.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    found = rederive(folder)
    assert found.data_changed
    assert not found.ok
    changed = {difference.id for difference in found.differences}
    assert "structure/variable/Reaction/mean" in changed
    assert "structure/n" not in changed


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
    assert "another expression" in found["structure/n"].where
    assert "m_null" in str(found["null/sigma"].derived)
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
    found = {difference.id: difference.derived for difference in rederive(folder).differences}
    assert found["structure/n"] == "error: |/packages"


@pytest.mark.parametrize("name", ["results.json", "report.html"])
def test_a_missing_file_is_an_input_error_with_a_hint(tmp_path: Path, name: str) -> None:
    for other in {"results.json", "report.html"} - {name}:
        (tmp_path / other).write_text("{}", encoding="utf-8")
    with pytest.raises(InputError, match=rf"{name}: there is no such file[\s\S]*hint"):
        verify(tmp_path)


def test_no_rscript_is_a_fault_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("R_HOME", raising=False)
    with pytest.raises(EnvironmentFault, match="doctor"):
        clean_room._rscript()


# --- scales and tolerances, without R ---------------------------------------------------------


def _check(*items: Quantity, **derived: float) -> tuple[str, ...]:
    results = Results({}, {item.id: item for item in items}, {}, (), (), (), ())
    script = "\n".join(f'report("{item.id}", {item.source.expression})' for item in items)
    rows = {
        item.id: [("number", repr(derived.get(item.id.rpartition("/")[2], item.value)))]
        for item in items
    }
    check = clean_room._Check(results, rows, script)
    return tuple(difference.id for difference in check.differences())


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


def test_a_page_without_numbers_is_not_ok() -> None:
    assert not PageCheck(0, ()).ok


@pytest.mark.r
def test_untraced_numerals_are_told_but_do_not_fail(report: Path) -> None:
    found = clean_room.Verification(
        report, clean_room.Rederived(1, 0.0, (), (), False, "4"), PageCheck(1, ()), ("about 12 of",)
    )
    assert found.ok
    assert "about 12 of" in summary(found)
    assert not replace(found, rederived=replace(found.rederived, data_changed=True)).ok
