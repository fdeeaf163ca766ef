"""Resolve requirements to the exact packages of an environment, before anything is installed."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.environments.environment_record import Environment, all_environments
from hubserve.registry.environments.find_links import check_wheels
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.interpreters import Python
from hubserve.registry.environments.module_requirements import Needs
from hubserve.registry.environments.package_lock import Lock, make_lock
from hubserve.registry.environments.python_choice import PythonRequest, choose_python
from hubserve.registry.environments.tools import scratch_tool
from hubserve.registry.environments.tools.base import Order, Tool
from hubserve.registry.environments.tools.package_index import IndexSettings, index_settings, only_folder
from hubserve.registry.environments.tools.process import install_errors
from hubserve.registry.progress import Progress

PYTHONS_CACHE = "pythons.json"
#: packages that are never installed, because hubserve provides their import names
PROVIDED = ("paddlehub", "tencent-tiinfer")

#: required by hubserve's own code in every instance: from the oldest numpy that has wheels for a Python
_NUMPY = {"3.8": "numpy>=1.17.3,<3", "3.9": "numpy>=1.19.3,<3", "3.10": "numpy>=1.21.3,<3", "3.11": "numpy>=1.23.2,<3"}
_NUMPY_LATER = {"3.12": "numpy>=1.26,<3", "3.13": "numpy>=2.1,<3"}

#: package -> one that it imports without declaring it
_UNDECLARED = {"paddlepaddle": "setuptools", "paddlepaddle-gpu": "setuptools"}


class Resolution(NamedTuple):
    """Packages that meet requirements on this machine.

    Attributes:
        needs: the resolved requirements.
        python: the Python of the environment.
        request: digest of the requirements, the Python and everything else that determines the result, except the index's content.
        lock: the packages.
        known: the environment, if the same was resolved and built before.
    """

    needs: Needs
    python: Python
    request: str
    lock: Lock
    known: Environment | None = None

    @property
    def packages(self) -> set[str]:
        """Normalised names of its packages."""
        return {pin.partition("==")[0].partition(" @ ")[0] for pin in self.lock.pins}


def resolve(home: Path, needs: Needs, options: Options, progress: Progress) -> Resolution:
    """Choose a Python and find compatible versions, or return the result of an earlier build.

    Args:
        home: the home.
        needs: a module's, or a profile's.
        options: the user's.
        progress: called with each step.
    Raises:
        InstallError: no Python fits, or the packages are unavailable or incompatible; the message has the resolver's reason.
    """
    python = choose_python(PythonRequest(needs.requires_python, options.python), home / "cache" / PYTHONS_CACHE, needs.base)
    request = request_of(needs, python)
    known = next((each for each in all_environments(home) if request in each.requests), None)
    if known:
        return Resolution(needs, python, request, Lock(known.pins, known.python, known.platform, known.origin), known)
    with scratch_tool(home, progress) as tool:
        pins = _pins(needs, python, tool, options)
    return Resolution(needs, python, request, make_lock(pins, python, _origin(needs)))


def environment_label(needs: Needs) -> str:
    """Return the environment's name in messages."""
    if needs.base is None:
        return "the module's environment"
    profile = f"profile '{needs.base.profile}'"
    return f"the module's environment on {profile}" if needs.base.extended else f"the environment of {profile}"


def package_index(options: Options) -> IndexSettings:
    """Return the settings of the package index.

    Raises:
        InstallError: a bundle's wheels ask for packages from addresses.
    """
    if options.wheels is None:
        return index_settings()
    check_wheels(options.wheels, "the bundle", allow_urls=options.allow_urls)
    return only_folder(options.wheels.absolute())


def _pins(needs: Needs, python: Python, tool: Tool, options: Options) -> list[str]:
    wanted, subject = needs.requirements, environment_label(needs)
    order = Order([*wanted.options, *with_implied(wanted.lines, python)], wanted.constraints, wanted.links, package_index(options))
    what = "the profile's file" if needs.base and not needs.base.extended else "its requirements.txt"
    remedy = f"Correct {what}, or name another Python by --python VERSION."
    with install_errors(f"cannot be resolved for Python {python.version}", remedy, subject):
        resolved = tool.resolve(python, order)
    # packages such as paddlex require paddlehub, and modules must get hubserve's replacement as they do elsewhere
    without = needs.base.no_deps if needs.base else ()
    pins = [each for each in resolved if each.partition("==")[0] not in PROVIDED]
    pins = [*pins, *(each for each in without if not any(_name(pin) == _name(each) for pin in pins))]
    if not pins:
        raise InstallError(f"{subject} cannot be resolved: {tool.name} found no packages for it. Check its requirements.")
    direct = next((each for each in pins if " @ " in each), "")
    if direct and not (options.allow_urls or (needs.base and needs.base.allow_urls)):
        raise InstallError(
            f"{subject} is not built: one of its packages requires '{direct[:80]}', and packages come from your own "
            "package index, not from addresses. If you trust it: hub install --allow-urls"
        )
    return pins


def _name(pin: str) -> str:
    from packaging.utils import canonicalize_name

    return canonicalize_name(pin.partition("==")[0].partition(" @ ")[0])


def _origin(needs: Needs) -> str:
    """Return a digest of everything besides packages that makes environments differ, or "" if there is nothing."""
    wanted, parts = needs.requirements, [needs.requirements.links_digest()]
    if wanted.options:
        parts.append(hashlib.sha256(json.dumps(wanted.options).encode()).hexdigest())
    if needs.base and (needs.base.environ or needs.base.library_path):
        text = json.dumps([dict(needs.base.environ), needs.base.library_path])
        parts.append(hashlib.sha256(text.encode()).hexdigest())
    return "".join(parts)


def request_of(needs: Needs, python: Python) -> str:
    """Return a digest of everything that determines the resolved packages, except the index's content."""
    wanted = needs.requirements
    found: list[Any] = [
        with_implied(wanted.lines, python),
        wanted.constraints,
        wanted.options,
        wanted.links_digest(),
        python.version,
        python.platform,
    ]
    if needs.base:
        found += [dict(needs.base.environ), needs.base.library_path, *needs.base.no_deps]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def with_implied(lines: Sequence[str], python: Python) -> list[str]:
    """Add numpy, which hubserve itself requires, and undeclared dependencies to requirement lines."""
    from packaging.utils import canonicalize_name

    names = {canonicalize_name(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in lines}
    undeclared = {needed for name, needed in _UNDECLARED.items() if name in names and needed not in names}
    return [*lines, {**_NUMPY, **_NUMPY_LATER}.get(python.minor, "numpy>=1.17.3,<3"), *sorted(undeclared)]
