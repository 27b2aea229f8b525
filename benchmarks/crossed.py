"""Three models of 73,421 ratings by students of lecturers: what mlmreport adds to lme4's time.

Both fit in the same R and by turns; mlmreport's time is that of handing over the data, of the fits
and of what it asks each model.
"""

from __future__ import annotations

from measure import HERE, SPREAD, asked, cpu_seconds, report, spread, table, times

from mlmreport.analysis import check
from mlmreport.engine.fits import Engine
from mlmreport.engine.session import session
from mlmreport.spec.reader import load
from mlmreport.spec.sequence import plan

SPEC = HERE.parent / "analyses" / "course-evaluations" / "analysis.yml"


def main() -> None:
    wanted = asked(__doc__)
    document = load(SPEC)
    data = check(document).frame
    if wanted.smoke:
        data = data.iloc[:3000].reset_index(drop=True)
    formulas = {model.id: model.r for model in plan(document).models}
    engine = Engine(session())
    import rpy2.rinterface as ri

    from mlmreport.engine.convert import frame_to_r

    alone = [ri.evalr(f"function(d) lme4::lmer({r}, data = d)") for r in formulas.values()]
    held = frame_to_r(data)

    def ours() -> None:
        engine.items.clear()
        engine.begin(data)
        for name, formula in formulas.items():
            engine.fit(name, formula, reml=True, optimizer="nloptwrap")

    def theirs() -> None:
        for lmer in alone:
            lmer(held)

    seconds: dict[str, list[float]] = {"lme4": [], "mlmreport": []}
    for _ in range(wanted.runs):
        seconds["lme4"] += cpu_seconds(theirs, 1)
        seconds["mlmreport"] += cpu_seconds(ours, 1)
    rows = [[who, *spread(found), times(seconds["lme4"], found)] for who, found in seconds.items()]
    heads = [f"CPU seconds, {len(formulas)} models, {len(data):,} rows", *SPREAD, "times faster"]
    report("crossed", table(heads, rows), wanted.smoke)


if __name__ == "__main__":
    main()
