"""Programs that tests of operations run, and the Debian packages that have them."""

import os
import shutil
import sys
from pathlib import Path

import pytest

#: begins the reason of each test that was left out for want of a program
MISSING = "no program"
#: where Debian installs what only root runs, which the PATH of other users may lack
_SYSTEM_FOLDERS = ("/usr/sbin", "/sbin", "/usr/local/sbin")
#: program -> its Debian package, where the names differ
_PACKAGES = {
    "chromedriver": "chromium-driver",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
    "java": "default-jre-headless",
    "sshd": "openssh-server",
    "ssh-keygen": "openssh-client",
}


def find_program(name: str) -> str | None:
    """Return the path of a program, or None."""
    own = str(Path(sys.executable).parent)  # programs that packages of Python bring
    return shutil.which(name, path=os.pathsep.join([own, os.environ.get("PATH", os.defpath), *_SYSTEM_FOLDERS]))


def program(name: str) -> str:
    """Return the path of a program; skip the test if it is missing."""
    found = find_program(name)
    if found is None:
        pytest.skip(f"{MISSING} '{name}': apt-get install {_PACKAGES.get(name, name)}")
    return found


def root_only() -> None:
    """Skip the test unless the tests run as root, which alone may change root folders and users."""
    if os.geteuid() != 0:
        pytest.skip(f"{MISSING} can change its root or user here: run the tests as root")
