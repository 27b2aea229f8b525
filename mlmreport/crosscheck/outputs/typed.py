"""Tables typed from a paper: csv, tab-separated or in columns, with headings as papers have them.

A row is a term and its numbers: an estimate, and what stands with it in one cell, behind it or
below it (standard error in parentheses, interval in brackets, stars). Several models stand beside
each other under headings such as "Model 1 B", or under two rows of them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from mlmreport.crosscheck.claims import Claim, Note, Printed, Table
from mlmreport.crosscheck.outputs.numbers import is_missing, is_value, settled
from mlmreport.crosscheck.outputs.text import Line
from mlmreport.errors import InputError, Location, Problem, did_you_mean

__all__ = ["read"]

_SPELLINGS = {
    "term": """term terms predictor predictors variable variables effect effects parameter
        parameters name fixedeffect fixedeffects covariate covariates coefficientname""",
    "estimate": """estimate estimates est b coef coefs coefficient coefficients value gamma γ
        unstandardizedb unstandardisedb unstandardizedestimate unstdb estimateb bestimate
        estimatese bse coefse estse""",
    "beta": "beta β standardizedbeta standardisedbeta stdbeta βstd standardizedestimate",
    "se": "se stderror standarderror stderr sterr stdestimateerror standarderrors seb",
    "t": "t z tvalue zvalue tratio tstatistic zstatistic statistic tstat wald waldz torz",
    "df": "df ddf dendf degreesoffreedom",
    "p": "p pvalue pval prt prz sig significance pr ppvalue",
    "ci": "ci 95ci 95confidenceinterval confidenceinterval ci95 confint95 confint 95confint",
    "lower": """lower ll lcl llci lowerci cilower lowerbound lowerlimit conflow 95cilower 95cill
        25 cil lowercl lower95 lower95ci cilow loci""",
    "upper": """upper ul ucl ulci upperci ciupper upperbound upperlimit confhigh 95ciupper 95ciul
        975 ciu uppercl upper95 upper95ci cihigh hici""",
    "model": "model models",
}
HEADINGS: Mapping[str, str] = {
    word: what for what, words in _SPELLINGS.items() for word in words.split()
}
"""What a column holds, by its heading without blanks and marks."""

_CSV = (
    "write a csv table with the columns term, estimate and, where printed, se, df, t, p, lower, "
    "upper"
)


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a line, and where it begins."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Column:
    """A column of numbers: what it holds, of which model."""

    what: str
    model: str
    index: int


@dataclass
class _Reading:
    """What has been read of a table so far."""

    columns: tuple[Column, ...]
    term: int
    model: int | None
    claims: list[Claim] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    seen: dict[tuple[str, str, str], int] = field(default_factory=dict)
    part: str = ""
    last: tuple[str, Line, tuple[Cell, ...]] | None = None


def read(path: str, lines: Sequence[Line], programs: str) -> Printed:
    """Read a table.

    Parameters
    ----------
    path
        The file, as the user wrote it.
    lines
        Its lines.
    programs
        The programs whose outputs are read, for the error where this is no table.

    Raises
    ------
    InputError
        With every fault, located.
    """
    filled = [line for line in lines if line.text.strip(" \t,;|")]
    if not filled:
        raise InputError.of(f"{path}: the file is empty")
    apart = _separator(filled)
    header, used = _header(path, filled, apart, programs)
    for line in filled[used:]:
        _line(line, cells(line, apart), header)
    if not header.claims and not header.problems:
        header.problems.append(Problem(f"{path}: the table has no rows"))
    if header.problems:
        raise InputError(tuple(header.problems))
    table = Table("the table", filled[0].place, "", len(header.claims))
    return Printed(settled(header.claims), "csv", (table,), tuple(header.notes))


# --- cells ----------------------------------------------------------------------------------------

_WIDE = "  "
"""Two blanks or more."""


def _separator(lines: Sequence[Line]) -> str:
    """What is between the cells: what the first lines have most alike."""
    first = [line for line in lines if not re.fullmatch(r"[-|:+=\s]+", line.text)][:40]
    for mark in "\t|;,":
        counts = Counter(len(cells(line, mark)) for line in first)
        alike = sum(count for number, count in counts.items() if number > 1)
        if alike >= max(2, 0.6 * len(first)) or (alike and len(first) == 1):
            return mark
    return _WIDE


def cells(line: Line, apart: str) -> tuple[Cell, ...]:
    """The cells of a line: what is in quotes or brackets is not divided."""
    if apart == _WIDE:
        return tuple(Cell(m[0], m.start()) for m in re.finditer(r"\S+(?: \S+)*", line.text))
    text = line.text.rstrip()
    begin = 0
    if apart == "|":
        begin = len(text) - len(text.lstrip(" |"))
        text = text.rstrip(" |")
    bounds = list(_bounds(text, begin, apart))
    return tuple(_cell(text, start, end) for start, end in bounds)


def _bounds(text: str, begin: int, apart: str) -> Iterator[tuple[int, int]]:
    """Where each cell begins and ends."""
    shut = text.count("(") == text.count(")") and text.count("[") == text.count("]")
    quoted, depth, start = False, 0, begin
    for at in range(begin, len(text)):
        char = text[at]
        if char == '"' and (quoted or not text[start:at].strip()):
            quoted = not quoted
        elif quoted:
            continue
        elif char in "([" and shut and apart != "\t":
            depth += 1
        elif char in ")]" and depth:
            depth -= 1
        elif char == apart and not depth:
            yield start, at
            start = at + 1
    yield start, len(text)


def _cell(text: str, start: int, end: int) -> Cell:
    inner = text[start:end]
    plain = inner.strip()
    shift = len(inner) - len(inner.lstrip())
    if len(plain) > 1 and plain[0] == plain[-1] == '"':
        return Cell(plain[1:-1].replace('""', '"').strip(), start + shift + 1)
    return Cell(plain, start + shift)


# --- the header -----------------------------------------------------------------------------------


def _key(text: str) -> str:
    return re.sub(r"[^0-9a-zβγ]", "", text.casefold().replace("±", ""))


def _what(text: str) -> str | None:
    return HEADINGS.get(_key(text)) if text else None


def _divided(text: str) -> tuple[str, str] | None:
    """A model and what of it: "Model 1 B", "SE (Model 2)", "Model 1: Est."."""
    words = [word for word in re.split(r"[\s:_|/,()]+", text) if word]
    for cut in range(1, len(words)):
        for known, model in ((words[cut:], words[:cut]), (words[:cut], words[cut:])):
            what = _what(" ".join(known))
            if what and what not in {"term", "model"} and not all(map(_what, model)):
                return " ".join(model), what
    return None


def _header(path: str, lines: Sequence[Line], apart: str, programs: str) -> tuple[_Reading, int]:
    """The columns, and how many lines the header has."""
    for number, line in enumerate(lines[:8]):
        own = cells(line, apart)
        whats = [_what(cell.text) for cell in own]
        above = cells(lines[number - 1], apart) if number else ()
        if len(own) > 1 and {"estimate", "beta"} & set(whats):
            return _columns(line, own, _spread(above, len(own))), number + 1
        if sum(_divided(cell.text) is not None for cell in own[1:]) > 0 and len(own) > 1:
            return _columns(line, own, ()), number + 1
    made = _models_alone(lines, apart)
    if made is not None:
        return made
    first = cells(lines[0], apart)
    known = [what for what in (_what(cell.text) for cell in first) if what]
    if len(first) > 1 and known:
        wanted = "estimate" if "term" in known or "estimate" not in known else "term"
        names = [cell.text.casefold() for cell in first]
        hint = did_you_mean(wanted, names) if wanted not in names else ""
        raise InputError.of(f"there is no column '{wanted}'", hint, lines[0].place)
    hint = f"read are {programs}; else {_CSV} (docs/crosscheck.md)"
    message = f"{path}: neither the output of a program that is read nor a table of estimates"
    raise InputError((Problem(message, hint, lines[0].place),))


def _spread(above: Sequence[Cell], width: int) -> tuple[str, ...]:
    """The names of models of a row of headings, each over the columns up to the next."""
    named = [cell.text for cell in above]
    if len(named) > width or not any(named) or any(is_value(text) for text in named):
        return ()
    if len([text for text in named if text]) < 2 and "model" not in " ".join(named).casefold():
        return ()
    spread, last = [], ""
    for text in [*named, *[""] * (width - len(named))]:
        last = text or last
        spread.append(last)
    return tuple(spread)


def _columns(line: Line, own: Sequence[Cell], models: Sequence[str]) -> _Reading:
    """The columns that a line of headings names."""
    whats = [_what(cell.text) for cell in own]
    term = next((k for k, what in enumerate(whats) if what == "term"), None)
    if term is None and whats[0] is None and _divided(own[0].text) is None:
        term = 0
    model = next((k for k, what in enumerate(whats) if what == "model"), None)
    found, notes = list[Column](), list[Note]()
    for index, cell in enumerate(own):
        if index in {term, model} or not cell.text:
            continue
        column = _column(cell.text, index, models[index] if models else "", whats)
        if isinstance(column, Column):
            found.append(column)
        else:
            notes.append(Note(cell.text, column, line.place))
    problems = [*_twice(found, line), *_without_estimate(found, line)]
    if term is None:
        problems.append(Problem("there is no column 'term'", "", line.place))
    if problems:
        raise InputError(tuple(problems))
    return _Reading(tuple(found), term or 0, model, notes=notes)


def _column(text: str, index: int, model: str, whats: Sequence[str | None]) -> Column | str:
    """What a column holds, or why it is left out."""
    what = whats[index]
    divided = None if what else _divided(text)
    if divided:
        return Column(divided[1], divided[0], index)
    if what == "beta" and "estimate" in whats:
        return "standardized"
    if what is None or what in {"term", "model"}:
        return "no column that is known"
    return Column("estimate" if what == "beta" else what, model, index)


def _twice(found: Sequence[Column], line: Line) -> Iterator[Problem]:
    counts = Counter((column.what, column.model) for column in found)
    for (what, model), count in counts.items():
        if count > 1:
            of = f" of '{model}'" if model else ""
            hint = "name the models: `Model 1 B,Model 1 SE,Model 2 B`, or in a row above"
            yield Problem(f"the column '{what}'{of} stands twice", hint, line.place)


def _without_estimate(found: Sequence[Column], line: Line) -> Iterator[Problem]:
    models = dict.fromkeys(column.model for column in found)
    for model in models:
        if not any(c.what == "estimate" and c.model == model for c in found):
            of = f" of '{model}'" if model else ""
            yield Problem(f"there is no column 'estimate'{of}", "", line.place)


def _models_alone(lines: Sequence[Line], apart: str) -> tuple[_Reading, int] | None:
    """A table whose columns are models, each cell an estimate with its standard error."""
    for number, line in enumerate(lines[:4]):
        own = cells(line, apart)
        below = [cells(other, apart) for other in lines[number + 1 : number + 12]]
        if len(own) < 2 or any(is_value(cell.text) for cell in own):
            continue
        if own[0].text and _what(own[0].text) != "term":
            continue
        named = [index for index, cell in enumerate(own) if index and cell.text]
        with_errors = any(
            _Both.match(row[index].text) for row in below for index in named if index < len(row)
        ) or any(
            not row[0].text and all(_in_brackets(c.text) for c in row[1:] if c.text)
            for row in below
            if len(row) > 1
        )
        if named and with_errors:
            columns = tuple(Column("estimate", own[index].text, index) for index in named)
            return _Reading(columns, 0, None), number + 1
    return None


# --- rows -----------------------------------------------------------------------------------------

_STARS = re.compile(r"(?:\s*(?:\*+|[†‡§#+]+|\^?[a-e]\b))+\Z")
_SIGNED = re.compile(r"(?<![\w.,])[\N{EN DASH}\N{EM DASH}](?=\s?[\d.,])")
_Both = re.compile(
    r"(?P<first>[-+]?[\d.,]+(?:[eE][-+]?\d+)?)\s*(?:\*+|[†‡]+|[a-e](?=\W))?\s*"
    r"(?:[(\[](?P<in>[^()\[\]]{1,60})[)\]]|±\s*(?P<se>[\d.,]+))\s*(?:\*+|[†‡]+)?\Z"
)
_EMPTY = frozenset({"", "n/a", "na", "none", "ref", "ref.", "reference", "(ref)", "(reference)"})
_NOT_SHOWN = frozenset({"ns", "n.s.", "n. s."})
_PARTS = re.compile(
    r"\W*(?:fixed|random)?\W*(?:effects?|part|components?|variance|parameters?|fit|model)\b",
    re.IGNORECASE,
)


def _line(line: Line, own: Sequence[Cell], to: _Reading) -> None:
    if re.fullmatch(r"[-|:+=\s]+", line.text):
        return
    width = max([to.term, to.model or 0, *(column.index for column in to.columns)]) + 1
    extra = [cell for cell in own[width:] if cell.text]
    head = own[to.term] if to.term < len(own) else Cell("", 0)
    rest = [cell for index, cell in enumerate(own) if index != to.term and cell.text]
    if not rest:
        _alone(line, head, to)
    elif extra and len(own) > width + len(to.notes):
        hint = "put a cell that holds the separator, such as 2,000, in quotes"
        message = f"{len(own)} cells, the head has {width}"
        to.problems.append(Problem(message, hint, line.place))
    elif not head.text and all(_in_brackets(cell.text) for cell in rest):
        _below(line, own, to)
    elif not head.text:
        to.problems.append(Problem("the row names no term", "", line.place))
    else:
        _row(line, head, own, to)


def _alone(line: Line, head: Cell, to: _Reading) -> None:
    """A label without numbers: a heading of rows, a note, or a row whose cells are empty."""
    text = head.text
    if _PARTS.match(text) or re.search(r"\b(?:level|effects|components)\b", text, re.IGNORECASE):
        random = re.search(r"random|varian|component|\bSDs?\b", text, re.IGNORECASE)
        sd = re.search(r"\bSDs?\b|standard dev", text, re.IGNORECASE)
        to.part = ("sd" if sd else "var") if random else ""
        to.notes.append(Note(text, "a heading", line.place))
    elif re.match(r"\W*(?:Note|\*|p\s*<|[a-e]\W)", text):
        to.notes.append(Note(text[:60], "a note", line.place))
    else:
        hint = "leave the row out"
        to.problems.append(Problem(f"the row of '{text[:60]}' has no number", hint, line.place))


def _row(line: Line, head: Cell, own: Sequence[Cell], to: _Reading) -> None:
    term = _term(head.text, to.part)
    place = line.at(head.start, len(head.text))
    of_row = own[to.model].text if to.model is not None and to.model < len(own) else ""
    filled = empty = False
    for column in to.columns:
        cell = own[column.index] if column.index < len(own) else Cell("", 0)
        text = _plain(cell.text)
        model = of_row or column.model
        if text.casefold() in _EMPTY or is_missing(text):
            empty = empty or bool(text)
            continue
        filled = True
        for what, number, start in _numbers(column.what, text):
            where = line.at(cell.start + start, len(number))
            claim = Claim(term, what, _bound(number), where, place, model)
            _keep(claim, line, to)
        if not any(True for _ in _numbers(column.what, text)):
            _refused(column.what, text, line.at(cell.start, len(cell.text)), to)
    to.last = (term, line, tuple(own))
    if not filled and not empty:
        hint = "leave the row out"
        to.problems.append(Problem(f"the row of '{head.text}' has no number", hint, place))
    elif not filled:
        to.notes.append(Note(term, "nothing printed", line.place))


def _keep(claim: Claim, line: Line, to: _Reading) -> None:
    key = (claim.model, claim.term, claim.what)
    if key not in to.seen:
        to.seen[key] = line.number
        to.claims.append(claim)
        return
    message = f"'{claim.term}' stands in line {to.seen[key]} already"
    known = [problem.message for problem in to.problems]
    if message not in known:
        to.problems.append(Problem(message, "", claim.term_at))


def _below(line: Line, own: Sequence[Cell], to: _Reading) -> None:
    """Standard errors or intervals in brackets under their estimates."""
    if to.last is None:
        to.problems.append(Problem("the row names no term", "", line.place))
        return
    term, above, _ = to.last
    for column in to.columns:
        cell = own[column.index] if column.index < len(own) else Cell("", 0)
        if column.what != "estimate" or not cell.text:
            continue
        found = list(_bracketed(_plain(cell.text)))
        if not found:
            _refused("se", cell.text, line.at(cell.start, len(cell.text)), to)
        for what, number, start in found:
            where = line.at(cell.start + start, len(number))
            _keep(Claim(term, what, _bound(number), where, above.place, column.model), line, to)


def _in_brackets(text: str) -> bool:
    return bool(re.fullmatch(r"[(\[][^()\[\]]{1,80}[)\]]\s*\**", text))


# --- what a cell holds ----------------------------------------------------------------------------

Number = tuple[str, str, int]
"""What it is, the number, and where in the cell it begins."""


def _plain(text: str) -> str:
    return _SIGNED.sub("-", text)


def _bound(number: str) -> str:
    return re.sub(r"\s+", "", number)


def _numbers(what: str, text: str) -> Iterator[Number]:
    if what == "ci":
        yield from _interval(text, 0)
        return
    lead = re.match(r"[pP]?\s*=?\s*", text) if what == "p" else None
    start = lead.end() if lead else 0
    rest = _STARS.sub("", text[start:])
    if is_value(rest) and not re.search(r"[a-z)]\Z", rest):
        yield what, rest, start
    elif what == "estimate":
        yield from _together(text)
    elif what == "se" and _in_brackets(text):
        yield from (found for found in _bracketed(text) if found[0] == "se")


def _together(text: str) -> Iterator[Number]:
    """An estimate with its standard error or interval in one cell."""
    both = _Both.match(text) if len(text) < 200 else None
    if both is None or not is_value(both["first"]):
        return
    group = "se" if both["se"] else "in"
    behind = (
        [("se", both["se"], both.start("se"))]
        if both["se"]
        else list(_inside(both["in"], both.start("in")))
    )
    if behind and group:
        yield "estimate", both["first"], both.start("first")
        yield from behind


def _bracketed(text: str) -> Iterator[Number]:
    inner = re.match(r"[(\[](.*)[)\]]", text)
    if inner:
        yield from _inside(inner[1], 1)


def _inside(text: str, at: int) -> Iterator[Number]:
    """What stands in brackets: one number is a standard error, two are limits."""
    plain = text.strip()
    named = re.match(r"(?:se|s\.e\.)\s*=?\s*", plain, re.IGNORECASE)
    shift = at + len(text) - len(text.lstrip()) + (named.end() if named else 0)
    number = plain[named.end() :] if named else plain
    if is_value(number):
        yield "se", number, shift
    else:
        yield from _interval(text, at)


_BETWEEN = (
    r"\s*;\s*", r"\s+to\s+", r"\s*[\N{EN DASH}\N{EM DASH}]\s*", r"\s*,\s+", r"\s+-\s+",
    r"(?<=\d)-", r"\s*,\s*", r"\s+",
)  # fmt: skip


def _interval(text: str, at: int) -> Iterator[Number]:
    if len(text) > 100:
        return
    shift = len(text) - len(text.lstrip("([ "))
    inner = text[shift:].rstrip(")] *")
    for between in _BETWEEN:
        for found in re.finditer(between, inner):
            first, second = inner[: found.start()], inner[found.end() :]
            if is_value(first) and is_value(second) and second[-1] != ")":
                yield "lower", first, at + shift
                yield "upper", second, at + shift + found.end()
                return


def _refused(what: str, text: str, place: Location, to: _Reading) -> None:
    if text.casefold() in _NOT_SHOWN or (what == "p" and not text.strip("*†‡+")):
        to.notes.append(Note(f"p '{text}'", "no number", place))
        return
    if what == "ci":
        hint = "write the limits as [0.10, 0.30], or in columns lower and upper"
        to.problems.append(Problem(f"'{text}' is no interval", hint, place))
        return
    hint = "leave the cell empty where nothing is printed"
    if any(char.isdigit() for char in text):
        hint = "write the number alone, as 0.45, 0.45***, 0.45 (0.02) or 0.45 [0.41, 0.49]"
        hint = hint if what == "estimate" else "write the number alone, as 0.02 or (0.02)"
    to.problems.append(Problem(f"'{text}' is no number", hint, place))


# --- terms ----------------------------------------------------------------------------------------

_WHOLE = re.compile(
    r"\W*(?:n\b|n[_ ]|no\.|number|obs|icc|vpc|aic|bic|dic|dev|-?2|log|ll\b|r2|r²|marginal"
    r"|conditional|pseudo|groups|clusters|total|χ|chi|wald|lr\b)",
    re.IGNORECASE,
)
_OWN = re.compile(r"\s*(?:var|sd|cov|corr?|icc|groups|variance)\s*\(", re.IGNORECASE)


def _term(text: str, part: str) -> str:
    """A row of a random part as a component; of the only grouping where it names none."""
    if not part or _WHOLE.match(text) or _OWN.match(text):
        return text
    if re.search(r"\bcorr?|\bcov|[τ](?:01|10|12|21)|ρ", text, re.IGNORECASE):
        return text
    return f"{part}(: {text})"
