"""What a user waits for before anything happens: the import, and the help of the command line."""

from __future__ import annotations

import sys

from measure import MLMREPORT, SPREAD, asked, report, run, spread, table

CASES = {
    "`python -c pass`": [sys.executable, "-c", "pass"],
    "`import mlmreport`": [sys.executable, "-c", "import mlmreport"],
    "`mlmreport --help`": [*MLMREPORT, "--help"],
}


def main() -> None:
    wanted = asked(__doc__)
    rows = []
    for name, command in CASES.items():
        costs = [run(command) for _ in range(wanted.runs)]
        rows.append([name, *spread([cost.wall for cost in costs])])
    report("startup", table(["Seconds on the clock", *SPREAD], rows), wanted.smoke)


if __name__ == "__main__":
    main()
