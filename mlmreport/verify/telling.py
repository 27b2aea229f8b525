"""What cross-checks found, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from mlmreport.crosscheck.claims import Printed
from mlmreport.crosscheck.matching import Lined
from mlmreport.display import number
from mlmreport.verify.against import BY_DEFINITION, DIFFERS, ROUNDING, Judged
from mlmreport.verify.bench import Fit
from mlmreport.verify.engines import EXPLAINED, NOT_IDENTIFIED, OTHERS, ModelCheck, Row
from mlmreport.verify.published import AGREES, KNOWN, Outcome

__all__ = ["against", "engines", "published"]

COLOURS = {
    "substantive": "red",
    "true failure": "red",
    "better optimum": "red",
    "failed": "yellow",
    "stopped short": "yellow",
    "singular": "yellow",
    NOT_IDENTIFIED: "yellow",
    EXPLAINED: "yellow",
    DIFFERS: "red",
    BY_DEFINITION: "yellow",
    ROUNDING: "yellow",
    KNOWN: "yellow",
}


def engines(models: Sequence[ModelCheck]) -> RenderableType:
    """Per model the estimates of every engine, how the fits stand, and what is explained."""
    return Group(*(part for model in models for part in _model(model)), _conclusion(models))


def _model(model: ModelCheck) -> Iterator[RenderableType]:
    yield Text(f"\n{model.label}", style="bold")
    yield Text(f"{model.formula}  ({model.method})")
    yield _estimates(model)
    yield _fits(model)
    verdict = model.convergence
    yield Text.assemble(
        "Convergence: ",
        (verdict.verdict, COLOURS.get(verdict.verdict, "green")),
        f": {verdict.text}",
    )
    for name, (shift, ratio) in verdict.effects.items():
        yield Text(
            f"  {name}: there moved by {number(shift, 3)} SE, its SE times {number(ratio, 3)}"
        )
    explained = [found for found in model.criteria if found.verdict == EXPLAINED]
    for found in explained:
        yield Text(
            f"{found.name} by {found.engine} is {number(found.found, 3)}, not "
            f"{number(found.expected, 3)}: {found.explanation}"
        )
    for row in model.rows:
        if row.explanation:
            yield Text(f"{row.name} by {row.farthest}: {row.explanation}")
    for fit in model.others:
        if fit.df:
            yield Text(f"df by {fit.engine}, from the levels of the terms: {_df(fit)}")


def _df(fit: Fit) -> str:
    return ", ".join(f"{name.removeprefix('fixef/')} {df:,.0f}" for name, df in fit.df.items())


def _estimates(model: ModelCheck) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Estimate (SE)", no_wrap=True)
    for engine in (f"lme4, {model.reported.engine}", *OTHERS):
        table.add_column(engine, justify="right")
    table.add_column("largest difference, SE", justify="right")
    table.add_column("verdict")
    for row in model.rows:
        cells = [_cell(fit, row) for fit in (model.reported, *model.others)]
        verdict = Text(row.verdict, style=COLOURS.get(row.verdict, "green"))
        table.add_row(Text(row.name), *cells, f"{row.difference:.1e} ({row.farthest})", verdict)
    return table


def _cell(fit: Fit, row: Row) -> str:
    if row.name not in fit.estimates:
        return "-"
    shown = number(fit.estimates[row.name], row.decimals + 2)
    error = fit.errors.get(row.name)
    return shown if error is None else f"{shown} ({number(error, row.decimals + 2)})"


def _fits(model: ModelCheck) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for head in ("Fit", "log-likelihood, difference", "what became of it"):
        table.add_column(head)
    for fit in (*model.optimizers, *model.others):
        standing = model.standing(fit)
        gain = f"{fit.loglik - model.reported.loglik:+.5f}" if fit.fitted else ""
        name = fit.engine if fit in model.others else f"lme4, {fit.engine}"
        said = "; ".join([*([fit.reason] if fit.reason else []), *fit.said])
        mine = " (reported)" if fit.engine == model.reported.engine else ""
        words = Text(f"{standing}{mine}", style=COLOURS.get(standing, ""))
        table.add_row(name, gain, words + Text(f": {said}" if said else ""))
    return table


def _conclusion(models: Sequence[ModelCheck]) -> Text:
    verdicts = [row.verdict for model in models for row in model.rows]
    counts = {name: verdicts.count(name) for name in dict.fromkeys(verdicts)}
    told = ", ".join(f"{count} {name}" for name, count in counts.items())
    failing = [model.label for model in models if not model.ok]
    end = f"; substantive in: {', '.join(failing)}" if failing else ""
    return Text(
        f"\n{len(models)} models, {len(verdicts)} parameters: {told}{end}. The reported fit of "
        "each model is the one with the highest log-likelihood."
    )


# --- someone else's numbers -------------------------------------------------------------------


def against(judged: Sequence[Judged], printed: Printed, lined: Lined) -> RenderableType:
    """Each number as printed beside lme4's, and what gives it where they differ.

    Then what was read of the source, what was not, and why.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    several = len(lined.matches) > 1
    for head in ("model",) * several + ("term", "what"):
        table.add_column(head, no_wrap=head == "term")
    table.add_column("printed", justify="right")
    table.add_column("lme4", justify="right")
    table.add_column("verdict")
    for found in judged:
        claim = found.claim
        verdict = Text(found.verdict, style=COLOURS.get(found.verdict, "green"))
        words = verdict + Text(f": {found.cause}" if found.cause else "")
        own = (found.model,) * several
        table.add_row(*own, Text(claim.term), claim.what, claim.text, _beside(found), words)
    counts = {name: sum(found.verdict == name for found in judged) for name in _VERDICTS}
    told = ", ".join(f"{count} {_VERDICTS[name]}" for name, count in counts.items() if count)
    total = Text(f"\n{len(judged)} numbers of {printed.program}: {told}.")
    return Group(table, *_read(printed, lined), total)


def _read(printed: Printed, lined: Lined) -> Iterator[Text]:
    """What was read of a source, and what was not."""
    yield Text("")
    for match in lined.matches:
        source = match.source or "the numbers"
        yield Text(f"{source} compared with the model '{match.model}': {match.why}")
    for found in printed.tables:
        yield Text(str(found), style="yellow" if found.reason else "")
    for note in (*printed.notes, *lined.notes):
        yield Text(f"not compared: {note}")


_VERDICTS = {
    "agrees": "agree",
    ROUNDING: "differ by rounding only",
    BY_DEFINITION: "agree by another definition",
    DIFFERS: "differ",
}


def _beside(found: Judged) -> str:
    """lme4's value with two digits more than the printed number."""
    if found.found is None:
        return "none"
    exponent = found.claim.number.as_tuple().exponent
    return number(found.found, max(0, 2 - int(exponent)))


# --- published tables -------------------------------------------------------------------------


def published(outcomes: Sequence[Outcome]) -> RenderableType:
    """Each table with how many of its numbers agree, and every number that does not."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("table", no_wrap=True)
    table.add_column("printed", justify="right")
    table.add_column("reproduced", justify="right")
    table.add_column("verdict")
    for outcome in outcomes:
        agreeing = sum(number.verdict == AGREES for number in outcome.numbers)
        told = f"{agreeing} of {len(outcome.numbers)} agree" if outcome.numbers else "not run"
        table.add_row(Text(outcome.id, style="bold"), "", "", f"{told} {outcome.reason}".rstrip())
        for number_ in outcome.numbers:
            if number_.verdict != AGREES:
                verdict = Text(number_.verdict, style=COLOURS.get(number_.verdict, "red"))
                words = verdict + Text(f": {number_.why}" if number_.why else "")
                found = f"{number_.found:.9g}"
                table.add_row(Text(f"  {number_.name}"), number_.printed, found, words)
    total = [number_ for outcome in outcomes for number_ in outcome.numbers]
    wrong = sum(number_.verdict == DIFFERS for number_ in total)
    return Group(
        table, Text(f"\n{len(outcomes)} tables, {len(total)} numbers: {wrong} differ unexplained.")
    )
