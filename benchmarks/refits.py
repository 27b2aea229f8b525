"""Refits on compressed data beside lme4: bootstrap, profile, leaving out schools, large data.

``refits.R`` runs both in one R process by turns, and says how far their results lie apart.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

from measure import HERE, SPREAD, asked, report, rscript, run, spread, table, times

from mlmreport.analysis import check
from mlmreport.engine.session import R_FOLDER
from mlmreport.spec.reader import load

SPEC = HERE.parent / "analyses" / "school-achievement" / "analysis.yml"
WORK = {
    "bootstrap": "1,000 parametric bootstrap refits (`bootMer`)",
    "profile": "profile limits of all parameters (`confint`)",
    "leave out": "leave out each of 160 schools (`influence`)",
    "million rows": "1,000,000 rows, 1,000 groups, random slope (`lmer`)",
}
WHO = {"mlmreport": "mlmreport", "estimate": "mlmreport, the estimate alone", "lme4": "lme4"}


def main() -> None:
    wanted = asked(__doc__)
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data.csv"
        check(load(SPEC)).frame.to_csv(data, index=False)
        script = HERE / "refits.R"
        smoke = str(wanted.smoke).upper()
        said = run(rscript(script, R_FOLDER, data, wanted.runs, smoke)).said
    lines = [line.rstrip("\t").split("\t") for line in said.splitlines() if "\t" in line]
    seconds: dict[tuple[str, str], list[float]] = defaultdict(list)
    for work, who, figure in (line for line in lines if line[0] != "check"):
        seconds[work, who].append(float(figure))
    rows = [
        [f"{WORK[work]}: {WHO[who]}", *spread(found), times(seconds[work, "lme4"], found)]
        for (work, who), found in seconds.items()
    ]
    text = table(["CPU seconds", *SPREAD, "times faster"], rows)
    checks = [f"- {what}: {value}" for kind, what, value in lines if kind == "check"]
    report(
        "refits",
        "\n".join([text, "", "How far the results of both lie apart:", "", *checks]),
        wanted.smoke,
    )


if __name__ == "__main__":
    main()
