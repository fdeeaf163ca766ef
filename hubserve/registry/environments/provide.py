"""Gives a module the Python that it needs: the host's where that has everything, else an environment, built if it is not there yet."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from hubserve.errors import InstallError
from hubserve.registry.environments.brought import check_brought
from hubserve.registry.environments.build import build, told
from hubserve.registry.environments.choice import Wish, choose_python
from hubserve.registry.environments.companions import added
from hubserve.registry.environments.index import IndexSettings, index_settings, only_folder
from hubserve.registry.environments.lock import make_lock
from hubserve.registry.environments.needs import Needs
from hubserve.registry.environments.options import Options
from hubserve.registry.environments.pythons import Python
from hubserve.registry.environments.record import Environment, all_environments, environments_dir, write_record
from hubserve.registry.environments.sharing import why_own
from hubserve.registry.environments.tools import Order, Tool, tool_class
from hubserve.registry.progress import Progress

PYTHONS_CACHE = "pythons.json"


class Provided(NamedTuple):
    """What a module runs in.

    Attributes:
        environment: None for the host's Python.
        built: whether the environment was made just now.
    """

    environment: Environment | None = None
    built: bool = False


def provide(home: Path, needs: Needs, options: Options, *, timeout_s: float, progress: Progress) -> Provided:
    """Find or make what a module runs in.

    Args:
        home: the home.
        needs: the module's.
        options: the user's.
        timeout_s: how long to wait for another process that builds.
        progress: told how far it is.
    Raises:
        InstallError: no Python will do, or the packages cannot be had together; the message has the resolver's reason. Nothing is left.
        OSError: the disk is full, or the home cannot be written. Nothing of it is left.
    """
    if not why_own(needs, options):
        return Provided()
    python = choose_python(Wish(needs.requires_python, options.python), home / "cache" / PYTHONS_CACHE)
    request = _digest(needs, python)
    known = next((each for each in all_environments(home) if request in each.requests), None)
    if known:
        return Provided(known)
    with prepared_tool(home, progress) as tool:
        environment, built = _resolve_and_build(home, needs, python, tool, options, timeout_s, request)
    if request not in environment.requests:
        environment = environment._replace(requests=(*environment.requests, request))
        write_record(environment)
    return Provided(environment, built)


@contextmanager
def prepared_tool(home: Path, progress: Progress, cls: Callable[[Path, Path, Progress], Tool] | None = None) -> Iterator[Tool]:
    """A tool that works in a folder of its own, which is removed in the end."""
    tmp = home / "tmp"
    tmp.mkdir(parents=True, exist_ok=True)
    environments_dir(home).mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix="install-environment-", dir=tmp))
    try:
        yield (cls or tool_class())(scratch, home / "cache", progress)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _resolve_and_build(
    home: Path, needs: Needs, python: Python, tool: Tool, options: Options, timeout_s: float, request: str
) -> tuple[Environment, bool]:
    wanted, index = needs.requirements, _index(options)
    order = Order([*wanted.options, *added(wanted.lines, python)], wanted.constraints, wanted.links, index)
    pins: list[str] = []
    remedy = "Mend its requirements.txt, or name another Python: hub install --python VERSION"
    told(lambda: pins.extend(tool.resolve(python, order)), f"cannot be resolved for Python {python.version}", remedy)
    if not pins:
        raise InstallError(
            f"the module's environment cannot be resolved: {tool.name} found no packages for it. Look at its requirements.txt."
        )
    direct = next((each for each in pins if " @ " in each), "")
    if direct and not options.allow_urls:
        raise InstallError(
            f"the module's environment is not built: a package that it needs asks for '{direct[:80]}', and packages come from your own "
            "package index, not from addresses. If you trust it: hub install --allow-urls"
        )
    options_digest = hashlib.sha256(json.dumps(wanted.options).encode()).hexdigest() if wanted.options else ""
    lock = make_lock(pins, python, wanted.links_digest() + options_digest)
    exact = Order([*wanted.options, *lock.pins], (), wanted.links, index)
    return build(home, lock, python, tool, exact, timeout_s=timeout_s, progress=tool.progress, request=request)


def _index(options: Options) -> IndexSettings:
    if options.wheels is None:
        return index_settings()
    check_brought(options.wheels, "the bundle", allow_urls=options.allow_urls)
    return only_folder(options.wheels.absolute())


def _digest(needs: Needs, python: Python) -> str:
    """Of everything that decides what is resolved, but for what the index holds today."""
    wanted = needs.requirements
    text = json.dumps(
        [added(wanted.lines, python), wanted.constraints, wanted.options, wanted.links_digest(), python.version, python.platform]
    )
    return hashlib.sha256(text.encode()).hexdigest()
