"""A data frame to R: the package's conversion beside rpy2's own pandas converter.

1,000,000 rows: two doubles, a text column of 1,000 values, an integer column.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import process_time

import numpy as np
import pandas as pd

from mlmreport.engine.session import session

ROWS, GROUPS, RUNS = 1_000_000, 1_000, 5


def frame() -> pd.DataFrame:
    rng = np.random.default_rng(1)
    names = np.array([f"school {i}" for i in range(GROUPS)])
    return pd.DataFrame(
        {
            "x": rng.normal(size=ROWS),
            "y": rng.normal(size=ROWS),
            "school": pd.Series(names[rng.integers(0, GROUPS, ROWS)], dtype="str"),
            "count": rng.integers(0, 100, ROWS),
        }
    )


def seconds(act: Callable[[], object]) -> list[float]:
    """CPU seconds of each run."""
    found = []
    for _ in range(RUNS):
        began = process_time()
        act()
        found.append(process_time() - began)
    return found


def stock(data: pd.DataFrame) -> object:
    from rpy2.robjects import default_converter, pandas2ri

    with (default_converter + pandas2ri.converter).context() as converter:
        return converter.py2rpy(data)


def line(name: str, found: list[float]) -> str:
    figures = (min(found), statistics.median(found), max(found))
    return f"{name:<28}" + "".join(f"{figure:9.3f}" for figure in figures)


def main() -> None:
    session()
    from mlmreport.engine.convert import frame_to_r

    data = frame()
    ours = seconds(lambda: frame_to_r(data))
    theirs = seconds(lambda: stock(data))
    print(f"{ROWS:,} x {data.shape[1]}, CPU seconds        min   median      max  of {RUNS}")
    print(line("mlmreport", ours))
    print(line("rpy2's pandas converter", theirs))
    print(f"ratio of the medians: {statistics.median(theirs) / statistics.median(ours):.0f}")


if __name__ == "__main__":
    main()
