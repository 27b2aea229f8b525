"""A `.qmd` that needs no code execution -> one self-contained HTML, a docx and a PDF.

Quarto renders where its command line is on the machine. Elsewhere the same document is rendered by
Pandoc with the filter and templates in `pandoc/`, and Typst makes the PDF; both honour the same
front matter, which `front_matter_formats` writes:

========================  ======================================================================
key                       meaning here and in Quarto
========================  ======================================================================
css, reference-doc        files that stand beside the document
include-in-header,        ``text:`` or ``file:`` entries of HTML; the script comes in by
include-after-body        ``text: <script src="report.js"></script>`` and is inlined
default-image-extension   svg for HTML and PDF, png for Word: ``![](figures/cat)`` fits all
toc, toc-depth,           as in Quarto
number-sections
bibliography, csl         top-level keys; the list of references is put at the end
========================  ======================================================================

Numbers on the page are ``[.72]{.q data-id="icc" ...}``, or ``<span class="q" ...>`` in an HTML
table; the attributes ``data-label``, ``data-value``, ``data-unit``, ``data-model``, ``data-r`` and
``data-method`` fill the number's card in HTML. What is not given as an attribute is looked up by
``data-id`` in a JSON block, ``<script type="application/json" id="mlm-quantities">``, that maps
an id to ``{"label": ..., "value": ...}``. Marks in ``<span class="stars"><sup>**</sup></span>``
have the same width in every cell, also empty, so that the numbers before them stay aligned.

A document is data. Pandoc reads it once, in its sandbox; its tree is judged (`tree`) before
anything is made of it; Pandoc and Typst then see a folder in which its figures are and nothing
else; what comes out is judged again (`page`, `word`). Every program runs under limits
(`processes`).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from importlib import import_module, resources
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import yaml

from mlmreport.errors import (
    AnalysisError,
    EnvironmentFault,
    InputError,
    Location,
    Problem,
    did_you_mean,
)
from mlmreport.report import page, processes, tree, typesetting, word
from mlmreport.report.houses import bundled
from mlmreport.report.inline import self_contained
from mlmreport.report.processes import Done, Limits
from mlmreport.report.sheets import Refusal, words

__all__ = ["FORMATS", "Format", "front_matter_formats", "render", "require_renderer"]

Engine = Literal["auto", "quarto", "embedded"]

_ASSETS = Path(__file__).parent / "pandoc"
_UNKNOWN_REFERENCE = 83  # the exit code of filter.lua
_FATAL = frozenset(  # Pandoc's warnings that mean something is missing from the page
    {
        "CiteprocWarning",
        "CouldNotConvertImage",
        "CouldNotConvertTeXMath",
        "CouldNotFetchResource",
        "CouldNotLoadIncludeFile",
    }
)


_READING = Limits(seconds=60)
_PANDOC = Limits(seconds=180)
_MEMORY = ("+RTS", "-M3g", "-RTS")  # Pandoc limits its memory itself
_OUT_OF_MEMORY = 251
_TYPST = Limits(seconds=300, megabytes=8000)
_QUARTO = Limits(seconds=1200)
_LARGEST_TREE = 200_000_000

_SETTINGS = tree.METADATA | words(
    """format bibliography csl papersize toc toc-depth number-sections default-image-extension
    css reference-doc include-in-header include-before-body include-after-body"""
)
_INCLUDES = ("include-in-header", "include-before-body", "include-after-body")
_FORMAT_SETTINGS = words(
    """toc toc-depth number-sections crossref theme embed-resources html-math-method
    default-image-extension format-links css reference-doc papersize citeproc"""
) | frozenset(_INCLUDES)


def _keep(source: Path, output: Path, folder: Path) -> list[Refusal]:  # noqa: ARG001
    source.replace(output)
    return word.in_file(output)


def _inline(source: Path, output: Path, folder: Path) -> list[Refusal]:
    """One file. Pandoc's own embedding parses the page anew, which takes as long as the rest."""
    text = self_contained(source.read_text(encoding="utf-8"), folder)
    output.write_text(text, encoding="utf-8")
    return page.in_page(text, _own())


@cache
def _own() -> frozenset[str]:
    """The script and the stylesheet that ship, by which they are known on a page."""
    base = bundled() / "base"
    files = (base / name for name in ("report.js", "style.css"))
    return frozenset(page.digest(file.read_text(encoding="utf-8")) for file in files)


def _typeset(source: Path, output: Path, folder: Path) -> list[Refusal]:
    """Typst source -> PDF; images are looked up in the document's folder."""
    _require_typst()
    none = source.parent / "packages"
    none.mkdir()
    module = "mlmreport.report.typesetting"
    places = (source, output.resolve(), folder, none)
    done = _run(processes.python(module, *places), folder, _TYPST, **typesetting.NOWHERE)
    if done.code:
        detail = done.out.strip() or _limits_told(done, _TYPST) or done.err.strip()
        raise AnalysisError(f"Typst could not typeset the PDF:\n{detail}")
    return []


@dataclass(frozen=True, slots=True)
class Format:
    """One output format: how Quarto and how the embedded renderer make it.

    Parameters
    ----------
    title
        What a reader calls it.
    suffix
        Of the file that comes out.
    quarto
        Its name in the front matter and on Quarto's command line.
    options
        Pandoc arguments of the embedded renderer.
    front_matter
        Settings under ``format:`` in the document, beside those all formats share.
    finish
        From what Pandoc wrote to the file the reader gets: ``finish(source, output, folder)``;
        what in it is refused.
    """

    title: str
    suffix: str
    quarto: str
    options: tuple[str, ...]
    front_matter: Mapping[str, Any]
    finish: Callable[[Path, Path, Path], Sequence[Refusal]] = _keep


FORMATS: Mapping[str, Format] = MappingProxyType(
    {
        "html": Format(
            "HTML",
            ".html",
            "html",
            (
                "--to=html5",
                "--standalone",
                "--mathml",
                "--section-divs",
                f"--template={_ASSETS / 'template.html'}",
            ),
            {
                "theme": "default",
                "embed-resources": True,
                "html-math-method": "mathml",
                "default-image-extension": "svg",
                "format-links": False,
            },
            _inline,
        ),
        "docx": Format(
            "Word",
            ".docx",
            "docx",
            ("--to=docx", "--standalone"),
            {"toc": False, "default-image-extension": "png"},  # Word fills a contents list by hand
        ),
        "pdf": Format(
            "PDF",
            ".pdf",
            "typst",
            (
                "--to=typst-smart",
                "--wrap=none",
                "--standalone",
                f"--template={_ASSETS / 'template.typ'}",
            ),
            {"papersize": "a4", "default-image-extension": "svg"},
            _typeset,
        ),
    }
)
"""The output formats by the name a user asks for; adding one is adding a row."""


def front_matter_formats(
    formats: Sequence[str] = ("html", "docx", "pdf"),
    *,
    css: Sequence[str] = ("style.css",),
    script: str = "report.js",
    reference_doc: str = "",
    toc_depth: int = 2,
) -> dict[str, dict[str, Any]]:
    """What stands under ``format:`` in the front matter, for both renderers alike.

    Parameters
    ----------
    formats
        Names out of `FORMATS`.
    css
        Stylesheets beside the document, later ones win.
    script
        The script beside the document; empty for none.
    reference_doc
        A Word file whose styles the docx takes; empty for the renderer's own.
    toc_depth
        Heading levels in the table of contents.

    Returns
    -------
    dict
        Quarto's format name -> its settings.
    """

    def shared() -> dict[str, Any]:  # made anew: YAML would write a shared part as an anchor
        crossref = {"title-delim": "."}
        return {"toc": True, "toc-depth": toc_depth, "number-sections": True, "crossref": crossref}

    files: dict[str, dict[str, Any]] = {"html": {"css": list(css)}, "docx": {}, "typst": {}}
    if script:
        files["html"]["include-after-body"] = [{"text": f'<script src="{script}"></script>'}]
    if reference_doc:
        files["docx"]["reference-doc"] = reference_doc
    return {
        row.quarto: {**shared(), **row.front_matter, **files.get(row.quarto, {})}
        for row in map(_format, formats)
    }


def render(
    qmd: Path, formats: Sequence[str], into: Path, *, engine: Engine = "auto"
) -> tuple[Path, ...]:
    """Render a document; all formats come into place together or not at all.

    Parameters
    ----------
    qmd
        The document; its figures, stylesheet, script and bibliography stand beside it.
    formats
        Names out of `FORMATS`.
    into
        The folder the files go to, made where it does not exist.
    engine
        ``"quarto"``, ``"embedded"``, or ``"auto"``: Quarto where it is on the machine.

    Returns
    -------
    tuple of Path
        One file per format, in the order asked for, named after the document.

    Raises
    ------
    InputError
        An unknown format or cross-reference, a missing document, unreadable front matter.
    EnvironmentFault
        Quarto, Pandoc or Typst is not there.
    AnalysisError
        One of them refused the document; its own message is carried.
    """
    rows = [_format(name) for name in dict.fromkeys(formats)]
    if not qmd.is_file():
        raise InputError.of(f"there is no document '{qmd}'")
    into.mkdir(parents=True, exist_ok=True)
    quarto = _quarto(engine)
    with tempfile.TemporaryDirectory(prefix=".render-", dir=into) as scratch:
        work = Path(scratch)
        document = _read(qmd)
        judged = _judged(document, work, quarto=bool(quarto))
        if quarto:
            _check_for_quarto(document, work)
            made = _by_quarto(quarto, document, rows, work)
        else:
            made = _embedded(document, rows, work, judged)
        return tuple(file.replace(into / file.name) for file in made)


def require_renderer(formats: Sequence[str], engine: Engine) -> None:
    """All that rendering needs is there, which is looked at before anything is computed.

    Raises
    ------
    InputError
        An unknown format.
    EnvironmentFault
        Quarto, Pandoc or Typst is not there.
    """
    rows = [_format(name) for name in formats]
    if _quarto(engine):
        return
    _pandoc()
    if FORMATS["pdf"] in rows:
        _require_typst()


def _require_typst() -> None:
    if not find_spec("typst"):
        raise EnvironmentFault("the Python package 'typst' is missing: the PDF is typeset by Typst")


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise InputError.of(f"unknown output format '{name}'", did_you_mean(name, FORMATS))
    return FORMATS[name]


def _run(command: Sequence[str | Path], folder: Path, limits: Limits, **variables: str) -> Done:
    return processes.run(command, folder, limits, variables=variables)


def _limits_told(done: Done, limits: Limits) -> str:
    """That a program reached a limit, in words; empty where it did not."""
    if done.too_long:
        return f"it took longer than {limits.seconds} seconds"
    return "it needed too much memory" if done.code == _OUT_OF_MEMORY else ""


# ---------------------------------------------------------------------------------------- Quarto


def _quarto(engine: Engine) -> str:
    """The path of the Quarto command line, empty where the embedded renderer is to be used."""
    if engine == "embedded":
        return ""
    try:
        return str(import_module("quarto.quarto").find_quarto())
    except (ImportError, FileNotFoundError):
        if engine == "auto":
            return ""
        raise EnvironmentFault(
            "Quarto is not on this machine (looked at QUARTO_PATH and PATH); "
            "install it from quarto.org or render with the embedded renderer"
        ) from None


def _by_quarto(quarto: str, document: _Document, rows: Sequence[Format], work: Path) -> list[Path]:
    """Render a copy of the document's folder: Quarto writes beside its input."""
    with tempfile.TemporaryDirectory(prefix="mlmreport-") as scratch:
        copy = Path(scratch) / "document"
        _copied(document.folder, copy)
        name = document.path.name
        targets = ",".join(row.quarto for row in rows)
        command = [quarto, "render", name, "--to", targets, "--no-execute"]
        done = _run(command, copy, _QUARTO)
        made = [copy / f"{document.path.stem}{row.suffix}" for row in rows]
        if done.code or not all(file.is_file() for file in made):
            detail = _limits_told(done, _QUARTO) or done.err.strip()
            raise AnalysisError(f"Quarto could not render {name}:\n{detail}")
        return [Path(shutil.move(file, work / file.name)) for file in made]


def _check_for_quarto(document: _Document, work: Path) -> None:
    """The files and includes that the front matter names, which Quarto reads by itself."""
    for row in (_format(name) for name in FORMATS):
        scratch = work / f"settings-{row.quarto}"
        scratch.mkdir()
        settings = document.settings(row)
        list(_arguments(document, row, scratch))
        for key in _INCLUDES:
            for entry in _listed(settings.get(key)):
                _check_include(document, row, key, entry)


def _check_include(document: _Document, row: Format, key: str, entry: Any) -> None:
    """HTML that a page may hold, or our script; nothing for formats that take it as code."""
    if entry == _SCRIPT:
        return
    named = isinstance(entry, Mapping) and "text" in entry
    text = str(entry["text"]) if named else ""
    if row.quarto != "html" or not named or page.in_fragment(text):
        place = document.at(f"{key}:")
        raise InputError.of(f"{key}: this cannot be handed to Quarto", "remove it", place)


_SCRIPT = {"text": '<script src="report.js"></script>'}


def _copied(folder: Path, copy: Path) -> None:
    """A folder's files, and nothing to which it merely links."""
    copy.mkdir()
    for entry in os.scandir(folder):
        if entry.name.startswith((".", "_")) or entry.is_symlink():  # _quarto.yml, _extensions
            continue
        if entry.is_dir():
            _copied(Path(entry.path), copy / entry.name)
        elif entry.is_file():
            shutil.copyfile(entry.path, copy / entry.name)


# ---------------------------------------------------------------------------- the embedded renderer


@dataclass(frozen=True, slots=True)
class _Document:
    """A document: its file as the user knows it, its text, and its front matter."""

    path: Path
    text: str
    meta: Mapping[str, Any]
    body: str

    @property
    def folder(self) -> Path:
        return self.path.resolve().parent

    def settings(self, row: Format) -> dict[str, Any]:
        """The front matter with the format's own part laid over it."""
        formats = self.meta.get("format")
        own = formats.get(row.quarto) if isinstance(formats, Mapping) else None
        return {**self.meta, **(own if isinstance(own, Mapping) else {})}

    def at(self, word: str) -> Location:
        """The first place where a word stands."""
        for number, line in enumerate(self.text.splitlines(), start=1):
            if word and (column := line.find(word)) >= 0:
                return Location(str(self.path), number, column + 1, len(word), line)
        return Location(str(self.path))

    def refused(self, found: Sequence[Refusal]) -> InputError:
        """The error that tells what the document may not hold."""
        return InputError(
            tuple(
                Problem(f"a report cannot hold {item.what}", _HINT, self.at(item.word))
                for item in found
            )
        )

    def beside(self, key: str, name: Any) -> Path:
        """A file of the document's own folder that the front matter names."""
        file = self.folder / str(name)
        place = self.at(str(name)) if str(name) in self.text else self.at(f"{key}:")
        if "://" in str(name) or not file.resolve().is_relative_to(self.folder):
            message = f"{key}: '{name}' does not stand in the document's own folder"
            raise InputError.of(message, "put the file beside the document", place)
        if not file.is_file():
            raise InputError.of(f"{key}: there is no file '{name}' beside the document", "", place)
        return file


_HINT = "text, tables, figures of the report and links are what it is made of"


def _read(qmd: Path) -> _Document:
    text = qmd.read_text(encoding="utf-8")
    match = _FRONT.match(text)
    meta = _front_matter(qmd, text, match[1]) if match else {}
    body = text[match.end() :] if match else text
    document = _Document(qmd, text, meta, body)
    _check_settings(document)
    return document


_FRONT = re.compile(r"---[ \t]*\n(.*?)\n(?:---|\.\.\.)[ \t]*(?:\n|\Z)", flags=re.DOTALL)


def _check_settings(document: _Document) -> None:
    """Only settings that are known: others have renderers read files or run programs."""
    unknown = [(key, _SETTINGS) for key in document.meta if key not in _SETTINGS]
    formats = document.meta.get("format")
    for own in formats.values() if isinstance(formats, Mapping) else ():
        parts = own if isinstance(own, Mapping) else {}
        unknown += [(key, _FORMAT_SETTINGS) for key in parts if key not in _FORMAT_SETTINGS]
    if unknown:
        raise InputError(
            tuple(
                Problem(
                    f"'{key}' is no setting of a report",
                    did_you_mean(str(key), known),
                    document.at(f"{key}:"),
                )
                for key, known in unknown
            )
        )


def _judged(document: _Document, work: Path, *, quarto: bool) -> Path:
    """The document's tree, read in Pandoc's sandbox and found to hold nothing that it may not."""
    if found := tree.in_text(document.body, quarto=quarto):
        raise document.refused(found)
    scratch = work / "tree"
    scratch.mkdir()
    source, settings, made = (scratch / name for name in ("body.md", "settings.json", "tree.json"))
    source.write_text(document.body, encoding="utf-8")
    words = {key: value for key, value in document.meta.items() if key in tree.METADATA}
    settings.write_text(json.dumps(words, default=str), encoding="utf-8")
    log = scratch / "log.json"
    command = (
        _pandoc(), *_MEMORY, source, "--sandbox", "--from=markdown-pandoc_title_block", "--to=json",
        f"--metadata-file={settings}", f"--output={made}", f"--log={log}",
    )  # fmt: skip
    done = _run(command, scratch, _READING)
    _check(done, log, document, "read", _READING)
    try:
        if made.stat().st_size > _LARGEST_TREE:
            raise InputError.of(f"{document.path}: larger than a report can be")
        found = tree.in_tree(json.loads(made.read_text(encoding="utf-8")))
    except RecursionError:
        raise InputError.of(f"{document.path}: nested too deeply to be a report") from None
    if found:
        raise document.refused(found)
    return made


def _embedded(document: _Document, rows: Sequence[Format], work: Path, judged: Path) -> list[Path]:
    stage = work / "stage"
    stage.mkdir()
    figures = document.folder / "figures"
    if figures.is_dir() and not figures.is_symlink():
        _copied(figures, stage / "figures")

    def one(row: Format) -> Path:
        return _render_row(document, judged, stage.resolve(), row, work)

    with ThreadPoolExecutor(max_workers=len(rows) or 1) as pool:
        try:
            return list(pool.map(one, rows))
        except BaseException:
            processes.stop_all()
            raise


def _render_row(document: _Document, judged: Path, stage: Path, row: Format, work: Path) -> Path:
    """One format by one run of Pandoc."""
    scratch = (work / row.quarto).resolve()
    scratch.mkdir()
    written, log = scratch / "written", scratch / "log.json"
    command: list[str | Path] = [
        _pandoc(),
        *_MEMORY,
        judged.resolve(),
        "--sandbox",
        "--from=json",
        f"--output={written}",
        f"--log={log}",
        f"--lua-filter={_ASSETS / 'filter.lua'}",
        *row.options,
        *_arguments(document, row, scratch),
    ]
    _check(_run(command, stage, _PANDOC), log, document, f"render as {row.title}")
    output = work / f"{document.path.stem}{row.suffix}"
    if found := row.finish(written, output, stage if row.quarto == "typst" else document.folder):
        raise document.refused(found)
    return output


@cache
def _pandoc() -> Path:
    """Pandoc's program, asked for without starting it (pypandoc's own look-up does)."""
    try:
        program = Path(str(resources.files("pypandoc"))) / "files" / "pandoc"
    except ImportError:
        program = Path()
    found = shutil.which(program) or shutil.which(f"{program}.exe") or shutil.which("pandoc")
    if not found:
        raise EnvironmentFault("Pandoc is missing: install the Python package 'pypandoc-binary'")
    return Path(found)


def _front_matter(qmd: Path, text: str, front: str) -> Mapping[str, Any]:
    try:
        meta = yaml.safe_load(front)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 2 if mark else 1
        excerpt = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
        place = Location(str(qmd), line, mark.column + 1 if mark else 1, excerpt=excerpt)
        reason = getattr(error, "problem", None) or "not YAML"
        raise InputError.of(f"the front matter cannot be read: {reason}", "", place) from None
    return meta if isinstance(meta, Mapping) else {}


def _arguments(document: _Document, row: Format, scratch: Path) -> Iterator[str]:
    """The front matter's settings as arguments of Pandoc."""
    settings = document.settings(row)
    for key in ("toc", "number-sections"):
        if settings.get(key):
            yield from (f"--{key}", f"--variable={key}")
    for key, (argument, pattern) in _PLAIN.items():
        if key in settings:
            yield f"{argument}{_plain(document, settings, key, pattern)}"
    yield from _language(document, settings)
    yield from _citations(document, settings)
    if row.quarto == "docx":
        yield f"--reference-doc={_reference(document, settings)}"
    if row.quarto == "html":
        yield from _page_files(document, settings, scratch)


_PLAIN = {
    "toc-depth": ("--toc-depth=", r"[1-6]"),
    "default-image-extension": ("--default-image-extension=", r"svg|png"),
    "papersize": ("--variable=papersize:", r"[a-z][a-z0-9-]*"),
}


def _citations(document: _Document, settings: Mapping[str, Any]) -> Iterator[str]:
    for key in ("bibliography", "csl"):
        for name in _listed(settings.get(key)):
            yield f"--{key}={_of_citations(document, key, name)}"
    if settings.get("bibliography"):
        yield "--citeproc"
        yield f"--lua-filter={_ASSETS / 'citations.lua'}"


def _plain(document: _Document, settings: Mapping[str, Any], key: str, pattern: str) -> str:
    """A setting that is one plain word."""
    value = str(settings[key])
    if not re.fullmatch(pattern, value):
        place = document.at(f"{key}:")
        raise InputError.of(f"{key}: '{value}' cannot be used here", "", place)
    return value


def _reference(document: _Document, settings: Mapping[str, Any]) -> Path:
    """The Word file whose styles are taken."""
    if "reference-doc" not in settings:
        return _ASSETS / "reference.docx"
    file = document.beside("reference-doc", settings["reference-doc"])
    if found := word.in_file(file):
        raise document.refused(found)
    return file


def _of_citations(document: _Document, key: str, name: Any) -> Path:
    file = document.beside(key, name)
    if key == "csl" and "independent-parent" in file.read_text(encoding="utf-8", errors="replace"):
        place = document.at(str(name))
        raise InputError.of(
            f"csl: the style '{name}' rests on another that would be fetched",
            "take the independent style",
            place,
        )
    return file


def _language(document: _Document, settings: Mapping[str, Any]) -> Iterator[str]:
    given = {"lang": settings.get("lang") or "en"}
    tag = _plain(document, given, "lang", r"[A-Za-z]{2,8}(?:-[A-Za-z0-9]{1,8})*")
    language, _, region = tag.partition("-")
    yield f"--variable=lang-code:{language}"
    if region:
        yield f"--variable=region:{region}"


def _page_files(document: _Document, settings: Mapping[str, Any], scratch: Path) -> Iterator[str]:
    """Stylesheets and includes; a ``text:`` include becomes a file that Pandoc can read."""
    for sheet in _listed(settings.get("css")):
        document.beside("css", sheet)
        yield f"--css={sheet}"
    for key in _INCLUDES:
        for number, entry in enumerate(_listed(settings.get(key))):
            if isinstance(entry, Mapping) and "text" in entry:
                file = scratch / f"{key}-{number}.html"
                file.write_text(str(entry["text"]), encoding="utf-8")
            else:
                name = entry.get("file") if isinstance(entry, Mapping) else entry
                file = document.beside(key, name)
            yield f"--{key}={file}"


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


# ------------------------------------------------------------------------------ what Pandoc reports


def _check(done: Done, log: Path, document: _Document, task: str, limits: Limits = _PANDOC) -> None:
    """Raise where Pandoc failed, or wrote a page from which something is missing."""
    name = document.path.name
    if done.code == _UNKNOWN_REFERENCE:
        raise InputError(_unknown_references(document, done.err))
    if told := _limits_told(done, limits):
        message = f"Pandoc could not {task} {name}: {told}"
        hint = "the text is too long or too deeply nested for a report"
        raise InputError.of(message, hint, Location(str(document.path)))
    trouble = [done.err.strip()] if done.code else _missing(log)
    if trouble:
        text = "\n".join(trouble)
        raise AnalysisError(f"Pandoc could not {task} {name}:\n{text}")


def _missing(log: Path) -> list[str]:
    entries = json.loads(log.read_text(encoding="utf-8"))
    fatal = (str(entry["pretty"]) for entry in entries if entry["type"] in _FATAL)
    return [re.sub(r"\nexpecting .*", "", text) for text in fatal]


def _unknown_references(document: _Document, stderr: str) -> tuple[Problem, ...]:
    """One located problem per cross-reference that leads nowhere."""
    match = re.search(r"^mlmreport: (.*)$", stderr, flags=re.MULTILINE)
    report = json.loads(match[1]) if match else {"unknown": [], "known": []}
    lines = document.text.splitlines()
    return tuple(
        Problem(
            f"the cross-reference '@{name}' leads to nothing in the document",
            did_you_mean(name, report["known"]),
            _mention(document.path, lines, f"@{name}"),
        )
        for name in report["unknown"]
    )


def _mention(path: Path, lines: Sequence[str], word: str) -> Location:
    pattern = re.compile(re.escape(word) + r"(?![\w-])")
    for number, line in enumerate(lines, start=1):
        if found := pattern.search(line):
            return Location(str(path), number, found.start() + 1, len(word), line)
    return Location(str(path))
