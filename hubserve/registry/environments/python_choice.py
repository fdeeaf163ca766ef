"""Choose the Python that a module's environment is made with."""

import os
import re
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.environments.interpreters import NEWEST, OLDEST, Python, find_pythons, host, probe
from hubserve.registry.environments.module_requirements import ProfileSettings, python_range

_VERSION = re.compile(r"\d+(\.\d+){0,2}")


class PythonRequest(NamedTuple):
    """Pythons that a module and a user accept.

    Attributes:
        module: the module's range (PEP 440); "" for any.
        user: the user's choice: a version (``3.8``, ``3.8.18``), a range, or an executable's path; "" for any.
    """

    module: str = ""
    user: str = ""

    @property
    def text(self) -> str:
        """Description for messages."""
        parts = [f"the module requires Python {self.module}" if self.module else "", f"--python says {self.user}" if self.user else ""]
        return " and ".join(filter(None, parts)) or "any supported Python fits"

    def fits(self, python: Python) -> bool:
        """Return True if both accept a Python.

        Raises:
            InstallError: one of the two texts is not a range of versions.
        """
        if not python_range(self.module, "requires_python").contains(python.version):
            return False
        if os.sep in self.user:
            return os.path.realpath(self.user) == os.path.realpath(python.path)
        exact = _VERSION.fullmatch(self.user)
        text = self.user if not exact else f"=={self.user}" + ("" if self.user.count(".") == 2 else ".*")
        return python_range(text, "--python").contains(python.version)


def choose_python(request: PythonRequest, cache: Path, base: ProfileSettings | None = None) -> Python:
    """Return the host's Python if it fits, else the newest fitting one of this machine; for a profile, the one it prefers.

    Args:
        request: the accepted Pythons.
        cache: see :func:`hubserve.registry.environments.interpreters.find_pythons`.
        base: settings of the profile, if there is one.
    Raises:
        InstallError: no Python fits; the message lists those that were found.
    """
    if base is None and host().supported and request.fits(host()):
        return host()
    if os.sep in request.user:
        named = probe(request.user)
        found = [named] if named else []
        request = request._replace(user=named.path) if named else request  # for a virtual environment, the Python it was made from
    else:
        found = find_pythons(cache)
    fitting = [each for each in found if each.supported and request.fits(each)]
    if base and base.pythons:
        order = base.pythons
        fitting = sorted((each for each in fitting if each.minor in order), key=lambda each: order.index(each.minor))
    if fitting:
        return fitting[0]
    raise InstallError(_none_fits(request, found, base))


def _none_fits(request: PythonRequest, found: list[Python], base: ProfileSettings | None) -> str:
    listed = ", ".join(dict.fromkeys(f"{each.version} ({each.path})" for each in found)) or "none"
    bounds = f"{'.'.join(map(str, OLDEST))} to {'.'.join(map(str, NEWEST))}"
    wanted = request.text
    if base:
        said = f", {request.text}" if request != PythonRequest() else ""
        wanted = f"the environment profile '{base.profile}' is made for Python {' or '.join(base.pythons)}{said}"
    return (
        f"no Python on this machine fits: {wanted}, and hub runs modules on Python {bounds}. Found: {listed}. "
        "Install one (with the system's package manager, 'pyenv install VERSION' or 'uv python install VERSION') and try "
        "again; hub never downloads one by itself."
    )
