"""A report's folder, verified: numbers derived again, files read back, relations recomputed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from mlmreport.display import UNSIGNED
from mlmreport.errors import InputError
from mlmreport.verify import checks as table
from mlmreport.verify.checks import Check
from mlmreport.verify.clean_room import data_file, existing, rederive, stored
from mlmreport.verify.displayed import (
    PageCheck,
    compare_page,
    compare_text,
    read_page,
    untraced_numerals,
    visible_text,
)
from mlmreport.verify.preparation import rederive_preparation
from mlmreport.verify.recomputed import recompute
from mlmreport.verify.texts import docx_text, pdf_text
from mlmreport.verify.wording import Wording, wording_of

__all__ = ["FILES", "Verification", "summary", "verify"]

FILES: Mapping[str, str] = {"html": "page", "docx": "Word file", "pdf": "PDF"}
"""The finished files by format, and what they are called."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of verifying a report.

    Parameters
    ----------
    checks
        Everything that was checked, kind by kind.
    r_version
        The R that was used.
    pages
        For each finished file its comparison with the results.
    untraced
        Numerals of the page that claim no quantity; a lab's own text may hold some.
    """

    checks: tuple[Check, ...]
    r_version: str
    pages: Mapping[str, PageCheck]
    untraced: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether nothing differs; untraced numerals are told, not counted."""
        pages = all(page.ok for page in self.pages.values())
        return pages and all(check.ok for check in self.checks)


def verify(folder: Path, *, rscript: str | None = None, timeout: float = 1800) -> Verification:
    """Derive every number of a report again, read the finished files back, write ``checks.json``.

    Parameters
    ----------
    folder
        Where the report is.
    rscript
        The program ``Rscript``; looked for if not given.
    timeout
        Seconds after which R is stopped, for each of the two scripts.

    Raises
    ------
    InputError
        When a file of the report is missing or cannot be read.
    EnvironmentFault
        When there is no R, or it lacks a package.
    VerificationError
        When a script as a whole does not run.
    """
    results, data = stored(folder), data_file(stored(folder))
    digest = str(results.session.get("data", {}).get("sha256", ""))
    qmd = existing(folder, "report.qmd").read_text(encoding="utf-8")
    texts = _texts(folder)
    wordings = {form: wording_of(qmd, results, form) for form in texts}
    page = existing(folder, "report.html").read_text(encoding="utf-8") if "html" in texts else ""
    pages = {form: compare_text(wordings[form], texts[form], results) for form in texts}
    if page:
        pages["html"] = compare_page(page, results) + pages["html"]
    rederived = rederive(folder, rscript=rscript, timeout=timeout)
    found = (
        *table.results_checks(folder, data, digest),
        *rederived.checks,
        *rederive_preparation(folder, rscript=rscript, timeout=timeout),
        *(check for form in texts for check in _page_checks(form, wordings[form], pages[form])),
        *recompute(_displayed(page, wordings), results),
    )
    table.write_checks(folder, table.TITLES, found)
    return Verification(found, rederived.r_version, pages, untraced_numerals(page))


def _texts(folder: Path) -> Mapping[str, str]:
    """The text of each finished file."""
    readers = {
        "html": lambda path: visible_text(path.read_text(encoding="utf-8")),
        "docx": docx_text,
        "pdf": pdf_text,
    }
    files = {form: folder / f"report.{form}" for form in FILES}
    found = {form: readers[form](path) for form, path in files.items() if path.is_file()}
    if not found:
        raise InputError.of(
            f"{folder} holds no finished report", "`mlmreport render` writes it from its results"
        )
    return found


def _displayed(page: str, wordings: Mapping[str, Wording]) -> Iterator[tuple[str, str]]:
    """Id and text of each number, as the page has them; without a page as the document does."""
    if page:
        for entry in read_page(page):
            if not entry.missing and entry.form not in UNSIGNED:
                yield entry.id, entry.text
        return
    for place in next(iter(wordings.values())).places:
        if place.id and place.form not in UNSIGNED:
            yield place.id, place.text


def _page_checks(form: str, wording: Wording, page: PageCheck) -> Iterator[Check]:
    """One a number that the file shows; one for each place that differs."""
    wrong: dict[str, list[Check]] = {}
    for found in page.mismatches:
        what = f"{found.label}: the {found.what} in the {FILES[form]}"
        wrong.setdefault(found.id, []).append(
            Check(found.id, form, what, found.expected, found.shown, None, None, "differs")
        )
    shown: dict[str, list[str]] = {}
    for place in wording.places:
        if place.id:
            shown.setdefault(place.id, []).append(place.text)
    for name, texts in shown.items():
        if name not in wrong:
            said = " | ".join(dict.fromkeys(texts))
            what = f"places in the {FILES[form]}: {len(texts)}"
            yield Check(name, form, what, said, said, None, None, "agrees")
    for several in wrong.values():
        yield from several


# --- telling ----------------------------------------------------------------------------------


def summary(verification: Verification) -> str:
    """A verification in words: what was compared, and each difference by name.

    Parameters
    ----------
    verification
        What came out.
    """
    lines = [f"derived again in R {verification.r_version}, and read back:"]
    lines += [f"  {kind.title}: {kind.told}" for kind in table.outcome(verification.checks)]
    lines += [_told(check) for check in verification.checks if not check.ok]
    if verification.untraced:
        lines.append(f"{len(verification.untraced):,} numerals of the page are not traced:")
        lines += [f"  ... {context} ..." for context in verification.untraced]
    return "\n".join(lines)


def _told(check: Check) -> str:
    what = f" ({check.what})" if check.what else ""
    expected, found = map(_exact, (check.expected, check.found))
    return f"  {check.id or 'text'}{what}: expected {expected}, found {found}"


def _exact(value: float | str | None) -> str:
    return value if isinstance(value, str) else repr(value)
