"""A `.qmd` that needs no code execution -> one self-contained HTML, a docx and a PDF.

Quarto renders where its command line is on the machine. Elsewhere the same document is rendered by
Pandoc with the filter and templates in `pandoc/`, and Typst makes the PDF; both honour the same
front matter, which `front_matter_formats` writes:

========================  ======================================================================
key                       meaning here and in Quarto
========================  ======================================================================
css, reference-doc        files that stand beside the document
include-in-header,        ``text:`` or ``file:`` entries; the script comes in by
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
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module, resources
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
from mlmreport.report.inline import self_contained

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


def _keep(source: Path, output: Path, folder: Path) -> None:  # noqa: ARG001
    source.replace(output)


def _inline(source: Path, output: Path, folder: Path) -> None:
    """One file. Pandoc's own embedding parses the page anew, which takes as long as the rest."""
    page = self_contained(source.read_text(encoding="utf-8"), folder)
    output.write_text(page, encoding="utf-8")


def _typeset(source: Path, output: Path, folder: Path) -> None:
    """Typst source -> PDF; images are looked up in the document's folder."""
    typst = _needed("typst", "the PDF is typeset by Typst")
    try:
        typst.compile(source.read_bytes(), output=str(output), root=str(folder))
    except typst.TypstError as error:
        detail = "\n".join([str(error.diagnostic or error.message), *error.hints])
        raise AnalysisError(f"Typst could not typeset the PDF:\n{detail.strip()}") from None


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
        From what Pandoc wrote to the file the reader gets: ``finish(source, output, folder)``.
    """

    title: str
    suffix: str
    quarto: str
    options: tuple[str, ...]
    front_matter: Mapping[str, Any]
    finish: Callable[[Path, Path, Path], None] = _keep


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
        made = _by_quarto(quarto, qmd, rows, work) if quarto else _embedded(qmd, rows, work)
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
        _needed("typst", "the PDF is typeset by Typst")


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise InputError.of(f"unknown output format '{name}'", did_you_mean(name, FORMATS))
    return FORMATS[name]


def _needed(module: str, purpose: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise EnvironmentFault(f"the Python package '{module}' is missing: {purpose}") from None


def _run(command: Sequence[str | Path], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


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


def _by_quarto(quarto: str, qmd: Path, rows: Sequence[Format], work: Path) -> list[Path]:
    """Render a copy of the document's folder: Quarto writes beside its input."""
    with tempfile.TemporaryDirectory(prefix="mlmreport-") as scratch:
        copy = Path(scratch) / "document"
        shutil.copytree(qmd.resolve().parent, copy, ignore=shutil.ignore_patterns(".*"))
        targets = ",".join(row.quarto for row in rows)
        done = _run([quarto, "render", qmd.name, "--to", targets, "--no-execute"], copy)
        made = [copy / f"{qmd.stem}{row.suffix}" for row in rows]
        if done.returncode or not all(file.is_file() for file in made):
            raise AnalysisError(f"Quarto could not render {qmd.name}:\n{done.stderr.strip()}")
        return [Path(shutil.move(file, work / file.name)) for file in made]


# ---------------------------------------------------------------------------- the embedded renderer


@dataclass(frozen=True, slots=True)
class _Document:
    """A document as the embedded renderer needs it."""

    path: Path
    meta: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        return self.path.parent

    def settings(self, row: Format) -> dict[str, Any]:
        """The front matter with the format's own part laid over it."""
        formats = self.meta.get("format")
        own = formats.get(row.quarto) if isinstance(formats, Mapping) else None
        return {**self.meta, **(own if isinstance(own, Mapping) else {})}


def _embedded(qmd: Path, rows: Sequence[Format], work: Path) -> list[Path]:
    pandoc = _pandoc()
    path = qmd.resolve()
    document = _Document(path, _front_matter(qmd, path.read_text(encoding="utf-8")))

    def one(row: Format) -> Path:
        return _render_row(pandoc, document, row, work)

    with ThreadPoolExecutor(max_workers=len(rows) or 1) as pool:
        return list(pool.map(one, rows))


def _render_row(pandoc: Path, document: _Document, row: Format, work: Path) -> Path:
    """One format by one run of Pandoc."""
    scratch = work / row.quarto
    scratch.mkdir()
    written, log = scratch / "written", scratch / "log.json"
    command: list[str | Path] = [
        pandoc,
        document.path,
        f"--output={written.resolve()}",
        f"--log={log.resolve()}",
        "--from=markdown",
        f"--lua-filter={_ASSETS / 'filter.lua'}",
        *row.options,
        *_arguments(document.settings(row), row, scratch.resolve()),
    ]
    _check(_run(command, document.folder), log, document, row)
    output = work / f"{document.path.stem}{row.suffix}"
    row.finish(written, output, document.folder)
    return output


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


def _front_matter(qmd: Path, text: str) -> Mapping[str, Any]:
    match = re.match(r"---\s*\n(.*?)\n(?:---|\.\.\.)\s*(?:\n|$)", text, flags=re.DOTALL)
    try:
        meta = yaml.safe_load(match[1]) if match else {}
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 2 if mark else 1
        excerpt = text.splitlines()[line - 1] if line <= len(text.splitlines()) else ""
        place = Location(str(qmd), line, mark.column + 1 if mark else 1, excerpt=excerpt)
        reason = getattr(error, "problem", None) or "not YAML"
        raise InputError.of(f"the front matter cannot be read: {reason}", "", place) from None
    return meta if isinstance(meta, Mapping) else {}


def _arguments(settings: Mapping[str, Any], row: Format, scratch: Path) -> Iterator[str]:
    """The front matter's settings as arguments of Pandoc."""
    for key in ("toc", "number-sections"):
        if settings.get(key):
            yield from (f"--{key}", f"--variable={key}")
    for key in ("toc-depth", "default-image-extension", "reference-doc"):
        if key in settings:
            yield f"--{key}={settings[key]}"
    if row.quarto == "docx" and "reference-doc" not in settings:
        yield f"--reference-doc={_ASSETS / 'reference.docx'}"
    if settings.get("bibliography"):
        yield "--citeproc"
    yield from _language(settings)
    if row.quarto == "html":
        yield from _page_files(settings, scratch)


def _language(settings: Mapping[str, Any]) -> Iterator[str]:
    language, _, region = str(settings.get("lang") or "en").partition("-")
    yield f"--variable=lang-code={language}"
    if region:
        yield f"--variable=region={region}"


def _page_files(settings: Mapping[str, Any], scratch: Path) -> Iterator[str]:
    """Stylesheets and includes; a ``text:`` include becomes a file that Pandoc can read."""
    for sheet in _listed(settings.get("css")):
        yield f"--css={sheet}"
    for key in ("include-in-header", "include-before-body", "include-after-body"):
        for number, entry in enumerate(_listed(settings.get(key))):
            if isinstance(entry, Mapping) and "text" in entry:
                file = scratch / f"{key}-{number}.html"
                file.write_text(str(entry["text"]), encoding="utf-8")
                yield f"--{key}={file}"
            else:
                yield f"--{key}={entry['file'] if isinstance(entry, Mapping) else entry}"


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple) else [value]


# ------------------------------------------------------------------------------ what Pandoc reports


def _check(
    done: subprocess.CompletedProcess[str], log: Path, document: _Document, row: Format
) -> None:
    """Raise where Pandoc failed, or wrote a page from which something is missing."""
    if done.returncode == _UNKNOWN_REFERENCE:
        raise InputError(_unknown_references(document.path, done.stderr))
    trouble = [done.stderr.strip()] if done.returncode else _missing(log)
    if trouble:
        text = "\n".join(trouble)
        raise AnalysisError(f"Pandoc could not render {document.path.name} as {row.title}:\n{text}")


def _missing(log: Path) -> list[str]:
    entries = json.loads(log.read_text(encoding="utf-8"))
    fatal = (str(entry["pretty"]) for entry in entries if entry["type"] in _FATAL)
    return [re.sub(r"\nexpecting .*", "", text) for text in fatal]


def _unknown_references(path: Path, stderr: str) -> tuple[Problem, ...]:
    """One located problem per cross-reference that leads nowhere."""
    match = re.search(r"^mlmreport: (.*)$", stderr, flags=re.MULTILINE)
    report = json.loads(match[1]) if match else {"unknown": [], "known": []}
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(
        Problem(
            f"the cross-reference '@{name}' leads to nothing in the document",
            did_you_mean(name, report["known"]),
            _mention(path, lines, f"@{name}"),
        )
        for name in report["unknown"]
    )


def _mention(path: Path, lines: Sequence[str], word: str) -> Location:
    pattern = re.compile(re.escape(word) + r"(?![\w-])")
    for number, line in enumerate(lines, start=1):
        if found := pattern.search(line):
            return Location(str(path), number, found.start() + 1, len(word), line)
    return Location(str(path))
