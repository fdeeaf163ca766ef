"""Finds out which packages an environment would hold, before anything is installed."""

import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.environments.build import attempt
from hubserve.registry.environments.environment_record import Environment, all_environments, environments_dir
from hubserve.registry.environments.find_links import check_wheels
from hubserve.registry.environments.install_options import Options
from hubserve.registry.environments.interpreters import Python
from hubserve.registry.environments.module_requirements import Needs
from hubserve.registry.environments.package_lock import Lock, make_lock
from hubserve.registry.environments.python_choice import PythonRequest, choose_python
from hubserve.registry.environments.tools import tool_class
from hubserve.registry.environments.tools.base import Order, Tool
from hubserve.registry.environments.tools.package_index import IndexSettings, index_settings, only_folder
from hubserve.registry.progress import Progress

PYTHONS_CACHE = "pythons.json"
#: a package that is never installed, because hubserve provides its names
PROVIDED = "paddlehub"

#: What hubserve's own code needs in every instance: the oldest numpy that has wheels for a Python.
_NUMPY = {"3.8": "numpy>=1.17.3,<3", "3.9": "numpy>=1.19.3,<3", "3.10": "numpy>=1.21.3,<3", "3.11": "numpy>=1.23.2,<3"}
_NUMPY_LATER = {"3.12": "numpy>=1.26,<3", "3.13": "numpy>=2.1,<3"}

#: Packages that import others without asking for them.
_FORGOTTEN = {"paddlepaddle": "setuptools", "paddlepaddle-gpu": "setuptools"}


class Resolution(NamedTuple):
    """The packages that meet some needs on this machine.

    Attributes:
        needs: what was resolved.
        python: what the environment is made with.
        request: digest of the needs, the Python and all else that decides the result, but for what the index holds today.
        lock: the packages.
        known: the environment, where the same was resolved and built before.
    """

    needs: Needs
    python: Python
    request: str
    lock: Lock
    known: Environment | None = None

    @property
    def packages(self) -> set[str]:
        """Return the normalised names of its packages."""
        return {pin.partition("==")[0].partition(" @ ")[0] for pin in self.lock.pins}


def resolve(home: Path, needs: Needs, options: Options, progress: Progress) -> Resolution:
    """Choose a Python and find versions that fit together, or recall what was found before.

    Args:
        home: the home.
        needs: a module's, or a profile's.
        options: the user's.
        progress: called with each step.
    Raises:
        InstallError: no Python will do, or the packages cannot be had together; the message has the resolver's reason.
    """
    python = choose_python(PythonRequest(needs.requires_python, options.python), home / "cache" / PYTHONS_CACHE, needs.base)
    request = request_of(needs, python)
    known = next((each for each in all_environments(home) if request in each.requests), None)
    if known:
        return Resolution(needs, python, request, Lock(known.pins, known.python, known.platform, known.origin), known)
    with scratch_tool(home, progress) as tool:
        pins = _pins(needs, python, tool, options)
    return Resolution(needs, python, request, make_lock(pins, python, _origin(needs)))


@contextmanager
def scratch_tool(home: Path, progress: Progress, cls: Callable[[Path, Path, Progress], Tool] | None = None) -> Iterator[Tool]:
    """Yield a tool that works in a folder of its own, which is removed in the end."""
    tmp = home / "tmp"
    tmp.mkdir(parents=True, exist_ok=True)
    environments_dir(home).mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="install-environment-", dir=tmp))
    try:
        yield (cls or tool_class())(scratch, home / "cache", progress)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def environment_label(needs: Needs) -> str:
    """Return whose environment it is, for messages."""
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
    pins: list[str] = []
    what = "the profile's file" if needs.base and not needs.base.extended else "its requirements.txt"
    remedy = f"Correct {what}, or name another Python by --python VERSION."
    attempt(lambda: pins.extend(tool.resolve(python, order)), f"cannot be resolved for Python {python.version}", remedy, subject)
    # hubserve replaces it; packages such as paddlex ask for it, and modules would get another one than elsewhere
    pins = [each for each in pins if not each.startswith(f"{PROVIDED}==")]
    if not pins:
        raise InstallError(f"{subject} cannot be resolved: {tool.name} found no packages for it. Look at its requirements.")
    direct = next((each for each in pins if " @ " in each), "")
    if direct and not (options.allow_urls or (needs.base and needs.base.allow_urls)):
        raise InstallError(
            f"{subject} is not built: a package that it needs asks for '{direct[:80]}', and packages come from your own "
            "package index, not from addresses. If you trust it: hub install --allow-urls"
        )
    return pins


def _origin(needs: Needs) -> str:
    """Digest of what makes environments of equal packages differ; "" for none."""
    wanted, parts = needs.requirements, [needs.requirements.links_digest()]
    if wanted.options:
        parts.append(hashlib.sha256(json.dumps(wanted.options).encode()).hexdigest())
    if needs.base and (needs.base.environ or needs.base.library_path):
        text = json.dumps([dict(needs.base.environ), needs.base.library_path])
        parts.append(hashlib.sha256(text.encode()).hexdigest())
    return "".join(parts)


def request_of(needs: Needs, python: Python) -> str:
    """Digest of the needs, the Python and all else that decides what they come to, but for what the index holds today."""
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
        found += [dict(needs.base.environ), needs.base.library_path]
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()


def with_implied(lines: Sequence[str], python: Python) -> list[str]:
    """A module's requirement lines and those that go with them."""
    from packaging.utils import canonicalize_name

    names = {canonicalize_name(re.split(r"[^\w.-]", line, maxsplit=1)[0]) for line in lines}
    forgotten = {needed for name, needed in _FORGOTTEN.items() if name in names and needed not in names}
    return [*lines, {**_NUMPY, **_NUMPY_LATER}.get(python.minor, "numpy>=1.17.3,<3"), *sorted(forgotten)]
