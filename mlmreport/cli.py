"""The command line: ``mlmreport new | check | run | render | verify | crosscheck | ...``."""

from __future__ import annotations

import atexit
import functools
import gc
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec

import typer

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mlmreport.cache import Cache
    from mlmreport.verify.bench import Workbench
    from mlmreport.verify.checks import Check

__all__ = ["app", "main"]

app = typer.Typer(
    name="mlmreport",
    help="From one YAML analysis spec to a multilevel-model report, fitted by lme4.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

VERIFICATION_FAILED = 4
INTERRUPTED = 130
PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or another program."""
LOOP_LINES = 10
"""Seconds between two lines on how far a long loop has come."""
DEBUG = "MLMREPORT_DEBUG"
"""The environment variable that asks for the traceback of an internal error."""

P = ParamSpec("P")


def _command(example: str) -> Callable[[Callable[P, None]], Callable[P, None]]:
    """A command whose errors are told without a traceback."""

    def register(act: Callable[P, None]) -> Callable[P, None]:
        @functools.wraps(act)
        def told(*args: P.args, **kwargs: P.kwargs) -> None:
            try:
                act(*args, **kwargs)
            except (Exception, KeyboardInterrupt) as error:
                raise typer.Exit(_tell(error)) from None

        app.command(epilog=f"Example: {example}")(told)
        return act

    return register


class FormatName(StrEnum):
    """Formats that can be rendered."""

    html = "html"
    docx = "docx"
    pdf = "pdf"


class EngineName(StrEnum):
    """Who renders."""

    auto = "auto"
    quarto = "quarto"
    embedded = "embedded"


class ProgramName(StrEnum):
    """Programs that models can be written for."""

    stata = "stata"
    spss = "spss"
    sas = "sas"
    nlme = "nlme"
    statsmodels = "statsmodels"


Spec = Annotated[Path, typer.Argument(help="The analysis spec, a YAML file.", show_default=False)]
Folder = Annotated[
    Path, typer.Argument(help="A folder that `mlmreport run` wrote.", show_default=False)
]
Formats = Annotated[
    list[FormatName] | None,
    typer.Option("--to", "-t", help="html, docx or pdf; may be repeated. The spec's if not given."),
]
Renderer = Annotated[
    EngineName,
    typer.Option(help="Who renders: quarto, embedded, or auto for Quarto where it is installed."),
]
Roots = Annotated[
    list[Path] | None,
    typer.Option(
        "--data-root",
        help="A folder in which data files are looked for that are not beside the spec; may be "
        "repeated.",
    ),
]
Specs = Annotated[
    list[Path], typer.Argument(help="Analysis specs, YAML files.", show_default=False)
]
Jobs = Annotated[
    int,
    typer.Option(
        "--jobs", "-j", min=1, help="How many processes: for parts of one analysis, or for several."
    ),
]
Scheduler = Annotated[
    str,
    typer.Option(
        help="Send the parts of one analysis, or several analyses, to the Dask cluster of this "
        "scheduler, for example tcp://head:8786.",
        show_default=False,
    ),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing of the progress.")]
Fresh = Annotated[
    bool,
    typer.Option("--fresh", help="Compute all anew; what earlier runs kept is not read."),
]


@_command("mlmreport run analyses/*/analysis.yml --jobs 2 --to html --to pdf")
def run(
    specs: Specs,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write; report/ beside the spec."),
    ] = None,
    to: Formats = None,
    renderer: Renderer = EngineName.auto,
    data_root: Roots = None,
    fresh: Fresh = False,
    jobs: Jobs = 1,
    scheduler: Scheduler = "",
    quiet: Quiet = False,
) -> None:
    """Read specs, prepare the data, fit the models, write a report for each."""
    from mlmreport import workflow
    from mlmreport.cache import Cache
    from mlmreport.parallel import helpers

    cache = Cache.of_user(fresh=fresh)
    if len(specs) > 1:
        _run_all(specs, output, to, renderer, data_root, cache, jobs, scheduler, quiet)
        return
    (spec,) = specs
    with helpers(jobs, scheduler) as workers, _progress(quiet) as progress:
        folder = workflow.run(
            spec,
            output,
            [entry.value for entry in to or ()],
            progress,
            engine=renderer.value,
            roots=data_root or (),
            cache=cache,
            workers=workers,
        )
    _say_faults(cache)
    _say_where(folder)


def _run_all(
    specs: Sequence[Path],
    output: Path | None,
    to: Formats,
    renderer: EngineName,
    data_root: Roots,
    cache: Cache,
    workers: int,
    scheduler: str,
    quiet: bool,
) -> None:
    """Several analyses, here or on a cluster; the exit code is the worst of theirs."""
    from mlmreport.errors import InputError
    from mlmreport.parallel import Job, run_all

    if output is not None and len(specs) > 1:
        raise InputError.of("--output names one folder, but there are several specs")
    formats = tuple(entry.value for entry in to or ())
    todo = [
        Job(spec, output, formats, renderer.value, tuple(data_root or ()), cache) for spec in specs
    ]
    with _progress(quiet) as progress:
        outcomes = run_all(todo, workers, progress, scheduler)
    for message in dict.fromkeys(outcome.message for outcome in outcomes if outcome.message):
        sys.stderr.write(f"{message}\n")
    for outcome in outcomes:
        if outcome.folder:
            _say_where(outcome.folder)
    worst = max(outcome.code for outcome in outcomes)
    if worst:
        raise typer.Exit(worst)


@_command("mlmreport render analyses/school-achievement/report --to docx")
def render(
    folder: Folder,
    to: Formats = None,
    house: Annotated[str | None, typer.Option(help="Another house than the spec's.")] = None,
    renderer: Renderer = EngineName.auto,
) -> None:
    """Write the report anew from stored results; needs no R."""
    from mlmreport import workflow
    from mlmreport.cache import Cache

    formats = [entry.value for entry in to or ()]
    cache = Cache.of_user()
    with _progress() as progress:
        workflow.render_again(
            folder,
            formats,
            progress,
            engine=renderer.value,
            house=house,
            cache=cache,
        )
    _say_faults(cache)
    _say_where(folder)


@_command("mlmreport check my-analysis.yml")
def check(spec: Spec, data_root: Roots = None) -> None:
    """Report all problems of a spec and its data, without fitting anything."""
    from dataclasses import replace

    from mlmreport import analysis
    from mlmreport.errors import printable
    from mlmreport.report import houses
    from mlmreport.report.document import require_templates
    from mlmreport.spec import reader

    document = replace(reader.load(spec), roots=(spec.parent, *(data_root or ())))
    require_templates(houses.find(document.spec.house, spec.parent))
    data = analysis.check(document)
    for text, dropped in data.filtered:
        _print(printable(f"filter `{text}`: {dropped:,} rows left out"))
    if incomplete := data.rows_read - len(data.frame):
        _print(f"incomplete in a variable of the models: {incomplete:,} rows left out")
    _print(f"{spec}: no problems; {len(data.frame):,} rows are ready to be analysed")
    for note in data.notes:
        _print(f"  note: {printable(note)}")


@_command("mlmreport verify analyses/school-achievement/report")
def verify(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print all checks as JSON.")] = False,
) -> None:
    """Derive all numbers and data again in a clean R, read the files back; exit 4 on a difference.

    All checks are written to checks.json in the folder.
    """
    from mlmreport.folder import settle
    from mlmreport.verify import checks, verification

    settle(folder)
    found = verification.verify(folder)
    _print(checks.told(found.checks) if as_json else verification.summary(found))
    if not found.ok:
        raise typer.Exit(VERIFICATION_FAILED)


@_command("mlmreport crosscheck analyses/hsb-textbook/analysis.yml --against table2.csv")
def crosscheck(
    spec: Annotated[
        Path | None,
        typer.Argument(
            help="The analysis spec, a YAML file; none with --published.", show_default=False
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            help="Numbers of a paper or another program: a table as csv, or text output of Stata, "
            "SPSS, SAS, HLM, Mplus, MLwiN, R, jamovi or JASP; see docs/crosscheck.md.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="The model that the numbers are of; repeated for a file of several, in its order. "
            "If not given, told by their terms, else the final one."
        ),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(
            help="THEIRS=OURS: what the numbers' source calls a variable; may be repeated."
        ),
    ] = None,
    published: Annotated[
        bool,
        typer.Option("--published", help="Fit published tables again, which takes a minute."),
    ] = False,
    data_root: Roots = None,
    report: Annotated[
        Path | None,
        typer.Option(help="The report whose checks.json gets the rows; report/ beside the spec."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
    quiet: Quiet = False,
) -> None:
    """Fit every model by other engines, or judge someone else's numbers; exit 4 on a difference."""
    if published:
        ok = _by_published(as_json, quiet)
    elif spec is None:
        from mlmreport.errors import InputError

        raise InputError.of("no spec is named", "name one, or ask for --published")
    elif against is None:
        ok = _by_engines(spec, data_root, report or spec.parent / "report", as_json, quiet)
    else:
        folder = report or spec.parent / "report"
        ok = _by_claims(spec, against, model or (), name or (), data_root, folder, as_json, quiet)
    if not ok:
        raise typer.Exit(VERIFICATION_FAILED)


def _by_published(as_json: bool, quiet: bool) -> bool:
    from mlmreport.verify import published, telling

    with _progress(quiet) as progress:
        outcomes = published.reproduce(published.load(), progress)
    _show(as_json, outcomes, telling.published)
    return all(outcome.ok for outcome in outcomes)


def _by_engines(spec: Path, data_root: Roots, folder: Path, as_json: bool, quiet: bool) -> bool:
    from mlmreport.verify import engines, telling

    with _progress(quiet) as progress:
        bench = _bench(spec, data_root)
        estimation = bench.document.spec.estimation
        models = engines.crosscheck(
            bench, estimation.method == "REML", estimation.optimizer, progress
        )
    _keep_checks(folder, "engines", engines.as_checks(models))
    _show(as_json, models, telling.engines)
    return all(model.ok for model in models)


def _by_claims(
    spec: Path,
    file: Path,
    models: Sequence[str],
    names: Sequence[str],
    data_root: Roots,
    folder: Path,
    as_json: bool,
    quiet: bool,
) -> bool:
    from mlmreport.crosscheck import outputs
    from mlmreport.errors import InputError
    from mlmreport.verify import against, telling

    bad = [entry for entry in names if entry.count("=") != 1]
    if bad:
        raise InputError.of(f"--name {bad[0]}", "write THEIRS=OURS")
    renamed = dict(entry.split("=") for entry in names)
    printed = outputs.read(file)
    with _progress(quiet) as progress:
        bench = _bench(spec, data_root)
        lined = against.lined(bench, printed, models, renamed)
        loose = against.Loose(printed.program, dict(printed.loose))
        judged = against.against(bench, lined, loose, progress)
    _keep_checks(folder, "against", against.as_checks(judged))
    if as_json:
        _print(against.told(judged, printed, lined))
    else:
        _show(False, judged, lambda found: telling.against(found, printed, lined))
    return all(found.ok for found in judged)


def _bench(spec: Path, data_root: Roots) -> Workbench:
    """The data of a spec, prepared and handed to R."""
    from dataclasses import replace

    from mlmreport import analysis
    from mlmreport.spec import reader
    from mlmreport.verify.bench import Workbench

    document = replace(reader.load(spec), roots=(spec.parent, *(data_root or ())))
    return Workbench.of(document, analysis.check(document))


def _keep_checks(folder: Path, kind: str, checks: Iterable[Check]) -> None:
    """Into the table of checks of a report, where there is one."""
    from mlmreport.folder import RESULTS, settle
    from mlmreport.verify.checks import write_checks

    settle(folder)
    if (folder / RESULTS).is_file():
        write_checks(folder, {kind}, checks)


def _show(as_json: bool, found: Sequence[Any], told: Callable[[Any], RenderableType]) -> None:
    """What cross-checks found: as JSON, or as tables."""
    if as_json:
        import json
        from dataclasses import asdict

        entries = [asdict(entry) for entry in found]
        _print(json.dumps(entries, ensure_ascii=False, allow_nan=False, indent=1))
        return
    from rich.console import Console

    wide = Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)
    wide.print(told(found))


@_command("mlmreport export analysis.yml --to stata")
def export(
    spec: Spec,
    to: Annotated[
        ProgramName, typer.Option("--to", "-t", help="stata, spss, sas, nlme or statsmodels.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder to write; export-PROGRAM/ beside the spec."),
    ] = None,
    data_root: Roots = None,
) -> None:
    """Write the models in another program's syntax, and the prepared data as csv."""
    from dataclasses import replace

    from mlmreport import analysis
    from mlmreport.spec import reader
    from mlmreport.verify import export as programs

    document = replace(reader.load(spec), roots=(spec.parent, *(data_root or ())))
    folder = output or spec.parent / f"export-{to.value}"
    for file in programs.export(document, analysis.check(document), to.value, folder):
        _print(f"wrote {file}")


@_command("mlmreport new students.csv --outcome math --group school > analysis.yml")
def new(
    data: Annotated[Path, typer.Argument(help="A data file.", show_default=False)],
    outcome: Annotated[str, typer.Option(help="The outcome's column.", show_default=False)],
    group: Annotated[
        list[str],
        typer.Option(
            help="A group id's column, the lowest first; may be repeated.", show_default=False
        ),
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; the screen if not given.")
    ] = None,
) -> None:
    """Write a commented spec from a data file: levels found, each variable put at its level."""
    from mlmreport.data import sources
    from mlmreport.errors import InputError, did_you_mean
    from mlmreport.spec.scaffold import scaffold

    source = sources.DataSource(data, None, None, None, str(data))
    frame = sources.read(source, written=group).frame
    for name in (outcome, *group):
        if name not in frame.columns:
            hint = did_you_mean(name, map(str, frame.columns))
            raise InputError.of(f"{data}: there is no column '{name}'", hint)
    if output is None:
        sys.stdout.write(scaffold(frame, data.name, outcome, group))
        return
    if output.exists():
        raise InputError.of(f"{output} exists already", "name another file with --output")
    output.parent.mkdir(parents=True, exist_ok=True)
    path = _seen_from(output.parent, data)
    output.write_text(scaffold(frame, path, outcome, group), encoding="utf-8")
    _write_schema(output.parent / "analysis.schema.json")
    elsewhere = f" --data-root {data.parent}" if path.startswith("..") else ""
    _print(f"wrote {output}; next: mlmreport check {output}{elsewhere}")


def _seen_from(folder: Path, file: Path) -> str:
    """A file's path relative to a folder, with forward slashes."""
    return Path(os.path.relpath(file.resolve(), folder.resolve())).as_posix()


def _write_schema(file: Path) -> None:
    from mlmreport.spec.schema import json_schema

    if not file.exists():
        file.write_text(json_schema(), encoding="utf-8")


@_command("mlmreport schema > analysis.schema.json")
def schema() -> None:
    """Print the JSON Schema of the spec, from which editors complete and check."""
    from mlmreport.spec.schema import json_schema

    sys.stdout.write(json_schema())


@_command("mlmreport doctor --json")
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Examine R, its packages and the renderers; exit 3 if the main job cannot run."""
    from mlmreport import doctor as examination

    parts = examination.examine()
    if as_json:
        sys.stdout.write(examination.to_json(parts) + "\n")
    else:
        from rich.console import Console

        Console().print(examination.render(parts), soft_wrap=True)
    raise typer.Exit(examination.exit_code(parts))


@app.callback(invoke_without_command=True)
def _version(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    if version:
        from mlmreport import __version__

        _print(f"mlmreport {__version__}")
        raise typer.Exit


# --- telling the user -------------------------------------------------------------------------


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _say_where(folder: Path) -> None:
    from mlmreport.report.render import FORMATS

    made = [folder / f"report{row.suffix}" for row in FORMATS.values()]
    for file in made:
        if file.is_file():
            _print(f"The report is at {file}")


def _say_faults(cache: Cache) -> None:
    for fault in cache.faults:
        sys.stderr.write(f"{fault}\n")


@contextmanager
def _progress(quiet: bool = False) -> Iterator[Callable[[str, str], None]]:
    """A live line on a terminal; elsewhere a plain line a step."""
    if quiet:
        yield lambda *_: None
        return
    began = monotonic()
    if not sys.stderr.isatty():
        at, told = ("", ""), began

        def plain(step: str, what: str) -> None:
            nonlocal at, told
            now = monotonic()
            of_loop = step == at[0] and what.startswith(f"{at[1]}, ")
            if of_loop and now - told < LOOP_LINES:
                return
            at, told = at if of_loop else (step, what), now
            sys.stderr.write(f"[{now - began:6.1f} s] {step}: {what}\n")

        yield plain
        return
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (
        SpinnerColumn(),
        TextColumn("{task.fields[step]:<14}", markup=False),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as display:
        task = display.add_task("", step="starting", total=None)

        def live(step: str, what: str) -> None:
            display.update(task, description=what, step=step)

        yield live


def _tell(error: BaseException) -> int:
    """Write to the user what went wrong; the exit code."""
    from mlmreport.errors import MlmreportError

    match error:
        case typer.Exit():
            return int(error.exit_code)
        case MlmreportError():
            sys.stderr.write(f"{error}\n")
            return int(error.exit_code)
        case KeyboardInterrupt():
            with suppress(OSError):  # the terminal may be closed
                sys.stderr.write("interrupted; nothing was written\n")
                sys.stderr.flush()
            return getattr(error, "exit_code", INTERRUPTED)
        case BrokenPipeError():
            raise error
    return _tell_fault(error)


def _tell_fault(error: BaseException) -> int:
    """An error that nobody foresaw, or one of the file system."""
    if os.environ.get(DEBUG):
        import traceback

        traceback.print_exception(error)
    if isinstance(error, OSError):
        from mlmreport.errors import cannot_write

        fault = cannot_write(error)
        sys.stderr.write(f"{fault}\n")
        return fault.exit_code
    if isinstance(error, MemoryError):
        sys.stderr.write("the memory of this machine is not enough\n")
        return 3
    sys.stderr.write(
        f"internal error: {type(error).__name__}: {error}\n"
        f"  hint: this is a fault of mlmreport; please report it, with the traceback that "
        f"{DEBUG}=1 shows\n"
    )
    return 1


def main() -> None:
    """Run the command line."""
    from mlmreport.errors import end_on_signals

    atexit.register(gc.freeze)  # the system takes all memory back: no last search for garbage
    with end_on_signals():
        try:
            app()
        finally:
            _flush()


def _flush() -> None:
    """Write out what is left for the screen, which may be a file on a full disk."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        sys.stderr.write(f"the output cannot be written: {error.strerror}\n")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(3) from None
