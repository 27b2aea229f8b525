"""A data frame to R: the package's conversion beside rpy2's own pandas converter.

1,000,000 rows: two doubles, a text column of 1,000 values, an integer column.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from measure import SPREAD, asked, cpu_seconds, report, spread, table, times

from mlmreport.engine.session import session

GROUPS = 1_000


def frame(rows: int) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    names = np.array([f"school {i}" for i in range(GROUPS)])
    return pd.DataFrame(
        {
            "x": rng.normal(size=rows),
            "y": rng.normal(size=rows),
            "school": pd.Series(names[rng.integers(0, GROUPS, rows)], dtype="str"),
            "count": rng.integers(0, 100, rows),
        }
    )


def stock(data: pd.DataFrame) -> object:
    from rpy2.robjects import default_converter, pandas2ri

    with (default_converter + pandas2ri.converter).context() as converter:
        return converter.py2rpy(data)


def main() -> None:
    wanted = asked(__doc__)
    session()
    from mlmreport.engine.convert import frame_to_r

    data = frame(10_000 if wanted.smoke else 1_000_000)
    ours = cpu_seconds(lambda: frame_to_r(data), wanted.runs)
    theirs = cpu_seconds(lambda: stock(data), wanted.runs)
    rows = [
        ["rpy2's pandas converter", *spread(theirs), ""],
        ["mlmreport", *spread(ours), times(theirs, ours)],
    ]
    text = table([f"CPU seconds, {len(data):,} rows", *SPREAD, "times faster"], rows)
    report("conversion", text, wanted.smoke)


if __name__ == "__main__":
    main()
