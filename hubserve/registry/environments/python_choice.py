"""Which Python a module's environment is made with."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.environments.interpreters import NEWEST, OLDEST, Python, find_pythons, host, probe
from hubserve.registry.environments.module_requirements import ProfileSettings, python_range

_VERSION = re.compile(r"\d+(\.\d+){0,2}")


class PythonRequest(NamedTuple):
    """Which Pythons will do.

    Attributes:
        module: what the module says, a PEP 440 range; "" for any.
        user: what the user says: a version (``3.8``, ``3.8.18``), a range, or an executable's path; "" for any.
    """

    module: str = ""
    user: str = ""

    @property
    def text(self) -> str:
        """For messages."""
        parts = [f"the module requires Python {self.module}" if self.module else "", f"--python says {self.user}" if self.user else ""]
        return " and ".join(filter(None, parts)) or "any supported Python will do"

    def fits(self, python: Python) -> bool:
        """Whether a Python is wished for.

        Raises:
            InstallError: one of the two texts is no range of versions.
        """
        if not python_range(self.module, "requires_python").contains(python.version):
            return False
        if os.sep in self.user:
            return os.path.realpath(self.user) == os.path.realpath(python.path)
        exact = _VERSION.fullmatch(self.user)
        text = self.user if not exact else f"=={self.user}" + ("" if self.user.count(".") == 2 else ".*")
        return python_range(text, "--python").contains(python.version)


def choose_python(wish: PythonRequest, cache: Path, base: ProfileSettings | None = None) -> Python:
    """Return the host's Python if it will do, else the newest on this machine that does; of a profile, the one that it prefers.

    Args:
        wish: which will do.
        cache: see :func:`hubserve.registry.environments.interpreters.find_pythons`.
        base: the profile's.
    Raises:
        InstallError: there is none; the message lists those that were found.
    """
    if base is None and host().supported and wish.fits(host()):
        return host()
    if os.sep in wish.user:
        named = probe(wish.user)
        found = [named] if named else []
        wish = wish._replace(user=named.path) if named else wish  # of a virtual environment, the Python it was made from
    else:
        found = find_pythons(cache)
    fitting = [each for each in found if each.supported and wish.fits(each)]
    if base and base.pythons:
        order = base.pythons
        fitting = sorted((each for each in fitting if each.minor in order), key=lambda each: order.index(each.minor))
    if fitting:
        return fitting[0]
    raise InstallError(_none_fits(wish, found, base))


def _none_fits(wish: PythonRequest, found: list[Python], base: ProfileSettings | None) -> str:
    listed = ", ".join(dict.fromkeys(f"{each.version} ({each.path})" for each in found)) or "none"
    bounds = f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}"
    wanted = wish.text
    if base:
        said = f", {wish.text}" if wish != PythonRequest() else ""
        wanted = f"the environment profile '{base.profile}' is made for Python {' or '.join(base.pythons)}{said}"
    return (
        f"no Python on this machine will do: {wanted}, and hub runs modules on Python {bounds}. Found: {listed}. "
        "Install one that fits (with the system's package manager, 'pyenv install VERSION' or 'uv python install VERSION') and try "
        "again; hub never downloads one by itself."
    )
