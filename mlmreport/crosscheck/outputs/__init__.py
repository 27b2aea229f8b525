"""Text output of other programs, read by its layout; a table of one's own where no program fits."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mlmreport.crosscheck.claims import Printed
from mlmreport.crosscheck.outputs import (
    hlm,
    jamovi,
    mlwin,
    mplus,
    rsummary,
    sas,
    spss,
    stata,
    typed,
)
from mlmreport.crosscheck.outputs.found import Found
from mlmreport.crosscheck.outputs.numbers import settled
from mlmreport.crosscheck.outputs.text import Line, read_lines
from mlmreport.errors import InputError, Problem

__all__ = ["PROGRAMS", "Program", "read"]


@dataclass(frozen=True, slots=True)
class Program:
    """A program whose output is read.

    Parameters
    ----------
    name
        Of the program and its procedure.
    versions
        Those whose layout is known.
    sign
        What its output has at the beginning of a line.
    reader
        Goes through the lines.
    codes
        How the program's data of `mlmreport export` number a category's reference.
    loose
        By kind of number in what its default convergence leaves it; see `against.Loose`.
    """

    name: str
    versions: str
    sign: str
    reader: Callable[[Sequence[Line], Found], None]
    codes: str = "first"
    loose: Mapping[str, float] = field(default_factory=dict)


_NEWTON = {"loglik": 1e-6, "fixed": 1e-3, "components": 5e-3, "se": 1e-4, "t": 1e-4}
"""Newton's steps: Stata stops at ltolerance(1e-7) and nrtolerance(1e-5), SPSS at a change of 1e-6
in any parameter."""
_CONVH = {"loglik": 1e-6, "fixed": 2e-3, "components": 0.02, "se": 5e-4, "t": 5e-4}
"""SAS stops at a gradient of convh(1e-8) relative to -2 log-likelihood, large with many rows."""
_EM = {"loglik": 1e-6, "fixed": 2e-3, "components": 0.02, "se": 2e-3, "t": 2e-3}
"""EM: HLM stops at a change of 1e-6 in the log-likelihood, where variances still move."""
_JOINT = {"loglik": 1e-6, "fixed": 5e-3, "components": 0.02, "se": 0.01, "t": 0.01}
"""Standard errors from the Hessian of all parameters together: Mplus, glmmTMB."""
_IGLS = {"loglik": 1e-6, "fixed": 0.01, "components": 0.05, "se": 0.01, "t": 0.01}
"""IGLS: MLwiN stops where no parameter changes by more than a hundredth of itself."""
_EM_NLME = {"loglik": 1e-6, "fixed": 1e-3, "components": 5e-3, "se": 1e-3, "t": 1e-3}
_LME4 = {"loglik": 1e-6, "fixed": 1e-3, "components": 2e-3, "se": 2e-4, "t": 2e-4}
"""Other versions of lme4 have other default optimizers."""

PROGRAMS: tuple[Program, ...] = (
    Program("Stata mixed", "11-18", stata.SIGN, stata.read, loose=_NEWTON),
    Program("SPSS MIXED", "19-29", spss.SIGN, spss.read, "last", _NEWTON),
    Program("SAS PROC MIXED", "9.2-9.4", sas.SIGN, sas.read, "last", _CONVH),
    Program("HLM", "6-8", hlm.SIGN, hlm.read, loose=_EM),
    Program("Mplus", "6-8", mplus.SIGN, mplus.read, loose=_JOINT),
    Program("R glmmTMB", "1.0-1.1", rsummary.TMB, rsummary.read_tmb, loose=_JOINT),
    Program("R nlme", "3.1", rsummary.NLME, rsummary.read_nlme, loose=_EM_NLME),
    Program("R lme4", "1.0-1.1, lmerTest 3", rsummary.LME4, rsummary.read_lme4, loose=_LME4),
    Program("jamovi GAMLj", "1-3", jamovi.GAMLJ, jamovi.read_gamlj, loose=_LME4),
    Program("JASP", "0.14-0.19", jamovi.JASP, jamovi.read_jasp, loose=_LME4),
    Program("MLwiN", "2-3, R2MLwiN", mlwin.SIGN, mlwin.read, loose=_IGLS),
)
"""The programs whose output is read, the most specific sign first."""


def read(path: Path) -> Printed:
    """Read a results file: the output of a known program, else a table of one's own.

    Raises
    ------
    InputError
        Located, when it is neither, or a number cannot be told.
    """
    lines = read_lines(path)
    for program in PROGRAMS:
        sign = re.compile(program.sign, re.IGNORECASE)
        if any(sign.match(line.text[:400]) for line in lines):
            return _of(program, path, lines)
    known = ", ".join(f"{program.name} ({program.versions})" for program in PROGRAMS)
    return typed.read(str(path), lines, known)


def _of(program: Program, path: Path, lines: Sequence[Line]) -> Printed:
    found = Found()
    program.reader(lines, found)
    unread = [table for table in found.tables if table.reason.startswith("no heading")]
    if unread or not found.claims:
        problems = tuple(
            Problem(f"{table.title}: not read: {table.reason}", "", table.location)
            for table in unread
        )
        message = f"{path}: output of {program.name}, but no table of estimates in it"
        raise InputError(problems or (Problem(message),))
    return Printed(
        settled(found.claims),
        program.name,
        tuple(found.tables),
        tuple(found.notes),
        complete=True,
        codes=program.codes,
        loose=tuple(program.loose.items()),
    )
