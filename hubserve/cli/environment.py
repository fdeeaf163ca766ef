"""Options of ``hub install`` about environments, and their description in ``hub show``."""

import argparse
from pathlib import Path
from typing import Any

from hubserve.cli.output import size_text
from hubserve.errors import HubError


def add_environment_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--isolated", action="store_true", help="create a separate environment even if this Python satisfies the module")
    parser.add_argument("--python", metavar="VERSION|PATH", default="", help="Python of its environment, such as 3.8; it must be installed")
    parser.add_argument(
        "--environment",
        metavar="PROFILE|host|auto",
        default="",
        help="environment profile to run in ('hub env'), this Python, or automatic choice; replaces an earlier choice",
    )
    parser.add_argument(
        "--with", dest="packages", metavar="PACKAGE", action="append", default=[], help="also install this package for it (repeatable)"
    )
    parser.add_argument("--allow-urls", action="store_true", help="allow package addresses in its requirements.txt")


def environment_options(args: argparse.Namespace) -> Any:
    """Return the options as the registry's choice."""
    from hubserve.registry.environments.install_options import Options

    return Options(
        isolated=args.isolated,
        python=args.python,
        allow_urls=args.allow_urls,
        profile=args.environment,
        packages=tuple(args.packages),
    )


def choice_text(manifest: Any) -> str:
    """Return the environment of an installed module and why it was chosen, on one line.

    Args:
        manifest: a :class:`hubserve.registry.manifest.Manifest`.
    """
    chosen, reason = manifest.chosen, f": {manifest.chosen.why}" if manifest.chosen.why else ""
    if not manifest.environment:
        return f"It runs in this Python{reason}"
    if not chosen.profile:
        return f"It runs in an environment of its own, {manifest.environment}{reason}"
    return f"It runs in the environment profile {chosen.profile}, {manifest.environment}{reason}"


def environment_text(found: Any, home: Path) -> str:
    """Return a description of what a module runs in.

    Args:
        found: a :class:`hubserve.registry.resolve.Resolved`.
        home: the home.
    """
    from hubserve.kinds.project_imports import folders_beside
    from hubserve.registry.environments.environment_record import environments_dir, read_record
    from hubserve.registry.environments.host_compat import why_not_host
    from hubserve.registry.environments.install_options import Options
    from hubserve.registry.environments.interpreters import host
    from hubserve.registry.environments.module_environment import expected_environment
    from hubserve.registry.environments.module_requirements import read_needs

    manifest = found.manifest
    if found.environment:
        own = read_record(environments_dir(home) / found.environment)
        if own is None:
            return f"{found.environment}, which is missing or unfinished; install the module again"
        size = f"{own.key} (Python {own.python}, {len(own.pins)} packages, {size_text(own.size_bytes)})"
        return f"{f'the profile {manifest.chosen.profile}, ' if manifest.chosen.profile else ''}{size}{_reason(manifest)}"
    try:
        if manifest:
            reason = "" if manifest.chosen.why else why_not_host(read_needs(found.folder, found.info, allow_urls=True))
            return f"this Python, {host().version}{f', but {reason}' if reason else _reason(manifest)}"
        foreseen = expected_environment(home, found.folder, found.info, Options(allow_urls=True), folders_beside(found.version_dir))
        if foreseen is None or (foreseen.environment and not foreseen.profile):
            return f"its own, once it is installed: {why_not_host(read_needs(found.folder, found.info, allow_urls=True))}"
    except HubError as error:
        return error.message
    return _foreseen_text(foreseen, host().version)


def _foreseen_text(foreseen: Any, version: str) -> str:
    where = f"this Python, {version}"
    if foreseen.profile:
        where = f"the profile {foreseen.profile}, once it is installed"
    elif foreseen.environment:
        where = f"its own, once it is installed, {foreseen.environment.key}"
    return f"{where}: {'; '.join((foreseen.why, *foreseen.lacks))}"


def _reason(manifest: Any) -> str:
    chosen = manifest.chosen
    added = f"with {', '.join(chosen.packages)} by --with" if chosen.packages else ""
    said = "; ".join(filter(None, (chosen.why, added, *chosen.lacks)))
    return f": {said}" if said else ""
