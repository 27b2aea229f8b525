"""R's own files: each kind of column whole, or refused where it is used."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from mlmreport.data.sources import DataSource, RawTable, read
from mlmreport.errors import InputError, Location
from mlmreport.spec.quoting import r_string

pytestmark = [
    pytest.mark.r,
    pytest.mark.skipif(shutil.which("Rscript") is None, reason="needs Rscript"),
]
SPEC = Location("analysis.yml", 3, 9, 4, "  file: d.rds")

# 64-bit whole numbers stand in the room of doubles: 2^53 + 1, NA and 2^53, bit by bit.
CODE = """
d <- data.frame(
  i = c(1L, NA, 3L), l = c(TRUE, NA, FALSE), x = c(1.5, NA, NaN), run = 1:3,
  t = c("a", NA, "NA"), day = as.Date(c("2020-01-31", NA, "2021-02-28")),
  when = as.POSIXct(c(0, 0.5, NA), origin = "1970-01-01", tz = "Europe/Berlin"),
  took = as.difftime(c(1, 2, NA), units = "hours"),
  o = factor(c("b", "a", NA), levels = c("b", "a"))
)
d$gap <- addNA(factor(c("u", NA, "v")))
d$ordered <- factor(c("lo", "hi", "lo"), levels = c("lo", "hi"), ordered = TRUE)
d$z <- complex(real = 1:3, imaginary = 1)
d$list <- list(1, 2:3, "a")
d$lt <- as.POSIXlt(d$when)
d$frame <- data.frame(a = 1:3, b = 4:6)
d$matrix <- matrix(1:6, 3)
d$scaled <- scale(c(1, 2, 3))
d$big <- structure(readBin(as.raw(c(
  1, 0, 0, 0, 0, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0x20, 0
)), "double", 3L, endian = "little"), class = "integer64")
d$labelled <- structure(
  c(1, 2, 1), labels = c(no = 1, yes = 2), class = c("haven_labelled", "vctrs_vctr", "double")
)
d$latin <- c("\\xe9", "b", "c")
Encoding(d$latin) <- "latin1"
d$utf8 <- c("\\u00e9", "e\\u0301", "\\u65e5")
d$bytes <- c("\\xff", "b", "c")
Encoding(d$bytes) <- "bytes"
d$words <- as.character(c(5L, NA, 7L))
d$decimals <- as.character(c(0.1 + 0.2, NA, 1e15))
d$money <- structure(c(1, 2, 3), class = "money")
"""


@pytest.fixture(scope="module")
def frame(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., RawTable]:
    path = tmp_path_factory.mktemp("rds") / "d.rds"
    code = f"{CODE}\nsaveRDS(d, {r_string(str(path))})"
    done = subprocess.run(
        ["Rscript", "--vanilla", "-e", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr

    def load(name: str, written: bool = False) -> RawTable:
        return read(DataSource(path, shown="d.rds"), [name], SPEC, None, [name] * written)

    return load


def cells(table: RawTable) -> list[object]:
    (name,) = table.frame
    column = table.frame[name]
    return [None if gap else value for value, gap in zip(column, column.isna(), strict=True)]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("i", [1, None, 3]),
        ("l", [True, None, False]),
        ("x", [1.5, None, None]),
        ("run", [1, 2, 3]),
        ("t", ["a", None, "NA"]),
        ("o", ["b", "a", None]),
        ("ordered", ["lo", "hi", "lo"]),
        ("took", [1, 2, None]),
        ("gap", ["u", None, "v"]),
        ("scaled", [-1, 0, 1]),
        ("labelled", [1, 2, 1]),
        ("latin", ["é", "b", "c"]),
        ("utf8", ["\u00e9", "e\u0301", "\u65e5"]),
        ("words", ["5", None, "7"]),
        ("decimals", ["0.3", None, "1e+15"]),
        ("money", [1, 2, 3]),
    ],
)
def test_the_values_are_those_of_r(
    name: str, values: list[object], frame: Callable[..., RawTable]
) -> None:
    assert cells(frame(name)) == values


def test_days_and_moments(frame: Callable[..., RawTable]) -> None:
    assert [str(day)[:10] for day in cells(frame("day"))] == ["2020-01-31", "None", "2021-02-28"]
    assert [str(when) for when in cells(frame("when"))] == [
        "1970-01-01 00:00:00+00:00",
        "1970-01-01 00:00:00.500000+00:00",
        "None",
    ]


def test_64_bit_numbers(frame: Callable[..., RawTable]) -> None:
    assert cells(frame("big", written=True)) == ["9007199254740993", None, "9007199254740992"]
    assert cells(frame("big"))[2] == 9007199254740992


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("took", "is a time difference, read as a number of hours"),
        ("labelled", "keeps its codes: its value labels are not applied"),
        ("gap", "has NA as a level, which is taken as missing"),
        ("money", "is of the R class 'money', read as plain values"),
    ],
)
def test_what_is_left_out_is_told(name: str, said: str, frame: Callable[..., RawTable]) -> None:
    (note,) = frame(name).notes
    assert said in note


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("z", "holds complex numbers"),
        ("list", "is a list"),
        ("lt", "is of the class POSIXlt"),
        ("frame", "is a data frame itself"),
        ("matrix", "is a matrix"),
        ("bytes", "holds bytes that are no text"),
    ],
)
def test_what_has_no_single_values_is_refused_where_it_is_used(
    name: str, said: str, frame: Callable[..., RawTable]
) -> None:
    with pytest.raises(InputError, match=f"d.rds: the column '{name}' {said}") as caught:
        frame(name)
    assert caught.value.problems[0].location == SPEC
    assert caught.value.problems[0].hint


PACKAGED = """
d <- data.frame(id = as.Date("2020-01-01") + 0:2, y = 1:3)
d$when <- as.POSIXct(c(0, 0.5, NA), origin = "1970-01-01")
d$z <- complex(real = 1:3, imaginary = 1)
d$list <- list(1, 2:3, "a")
d$matrix <- matrix(1:6, 3)
"""


def test_a_data_set_of_a_package_keeps_days_and_refuses_what_has_no_values(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("rpy2")
    import rpy2.rinterface as ri

    from mlmreport.engine.convert import frame_from_r
    from mlmreport.engine.session import session

    session()
    ri.evalr(PACKAGED)
    plain = ri.evalr(
        "e <- new.env(); sys.source(" + r_string(str(R_FILE)) + ", e); "
        "as.data.frame(lapply(d, e$plain_column), check.names = FALSE, optional = TRUE)"
    )
    ri.evalr("rm(d, e)")
    source = DataSource(package="p", dataset="d", shown="p::d")

    def load(*names: str) -> RawTable:
        return read(source, list(names), SPEC, lambda *_: frame_from_r(plain))

    found = load("id", "when", "y").frame
    assert found["id"].tolist() == ["2020-01-01", "2020-01-02", "2020-01-03"]
    assert found["when"].tolist()[:2] == [
        "1970-01-01 00:00:00+00:00",
        "1970-01-01 00:00:00.500000+00:00",
    ]
    assert found["when"].isna().tolist() == [False, False, True]
    for name in ("z", "list", "matrix"):
        with pytest.raises(InputError, match=f"the column '{name}' is a list, a matrix"):
            load(name)


R_FILE = Path(__file__).parents[2] / "mlmreport" / "r" / "conditions.R"
