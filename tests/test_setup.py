"""What the set-up tells someone who may not install packages."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from support import ROOT

from mlmreport import doctor

pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash here")
APT = 'apt-cache() { [[ \' %s \' != *" $2 "* ]] || echo "$2 | 1.0 | http://deb.debian.org"; }'


def said(apt_has: str, *packages: str) -> str:
    """What stops the set-up where these packages are missing and apt has some."""
    script = (
        "source .ci/setup; may_be_root() { return 1; }",
        APT % apt_has,
        f"require_apt {' '.join(packages)}",
    )
    command = ["bash", "-c", "\n".join(script)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done.stderr
    return done.stderr


def test_without_root_apt_is_named_for_what_it_has_alone() -> None:
    text = said("r-base-core r-cran-lme4", "r-base-core", "r-cran-lme4", "r-cran-rlrsim")
    assert "install --yes --no-install-recommends r-base-core r-cran-lme4\n" in text
    assert 'install.packages(c("RLRsim"), repos = "https://cloud.r-project.org")\'\n' in text


def test_without_root_all_is_apts_where_apt_has_all_or_has_no_lists() -> None:
    for apt_has in ("r-base-core r-cran-lme4 python3-venv", ""):
        text = said(apt_has, "r-cran-lme4", "python3-venv")
        assert "install --yes --no-install-recommends r-cran-lme4 python3-venv\n" in text
        assert "install.packages" not in text


def test_without_root_and_with_nothing_of_apts_no_command_of_apt_is_named() -> None:
    text = said("r-base-core", "r-cran-lme4", "r-cran-mlmrev")
    assert "sudo apt-get" not in text
    assert 'install.packages(c("lme4", "mlmRev"),' in text


def test_set_up_doctor_and_conda_name_the_same_packages() -> None:
    listed = (ROOT / ".ci" / "setup").read_text(encoding="utf-8")
    packages = listed.split("R_PACKAGES=(", 1)[1].split(")", 1)[0].split()
    assert packages == list(doctor.R_PACKAGES)
    conda = (ROOT / "environment.yml").read_text(encoding="utf-8").split()
    assert {f"r-{name.lower()}" for name in packages} <= set(conda)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    quoted = ", ".join(f'"{name}"' for name in packages)
    assert f"install.packages(c({quoted}))" in readme
