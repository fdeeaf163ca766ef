"""``hub uninstall``."""

import argparse
from typing import Any

from hubserve.cli.output import add_json_option, print_json
from hubserve.cli.server_notices import notify_removed, report_swaps, serving_ports
from hubserve.errors import HubError, InstallError

HELP = "remove an installed module"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME[==VERSION]", help="the module; without a version, every version of it")
    parser.add_argument("--force", action="store_true", help="if it is served, let the servers finish its requests and unload it")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Remove the versions and print them."""
    from hubserve.cli.progress import shown_progress
    from hubserve.registry.installer import Installer
    from hubserve.registry.names import split_reference

    name, version = split_reference(args.name)
    installer = Installer()
    ports = _ports(installer, name, version)
    if ports and not args.force:
        raise _is_served(args.name, name, ports)
    with shown_progress() as progress:
        removed = installer.uninstall(name, version, progress=progress)
    swaps = notify_removed(removed[0].info.name, ports)
    if args.json:
        notices = list(swaps)
        print_json({"removed": [{"name": each.info.name, "version": each.info.version} for each in removed], "servers": notices})
        failed = any(each["error"] for each in notices)
    else:
        for each in removed:
            print(f"Removed {each.info.name} {each.info.version}", flush=True)
        failed = report_swaps(swaps)
    _delete_files(installer, removed, args.json)
    return int(failed)


def _ports(installer: Any, name: str, version: str | None) -> list[int]:
    """Return the ports that serve it."""
    try:
        one = installer.installed.get(name, version)
    except HubError:  # uninstalling it says why
        return []
    return serving_ports(one.folder.parent, [one.info.version] if version else installer.installed.versions(name))


def _delete_files(installer: Any, removed: list[Any], as_json: bool) -> None:
    """Delete the files that a server was still running."""
    if any(each.version_dir.exists() for each in removed):
        installer.sweep()
    for each in removed:
        if each.version_dir.exists() and not as_json:
            print(f"The files of {each.info.version} are still in use; the next install, uninstall or hub gc deletes them.")


def _is_served(reference: str, name: str, ports: list[int]) -> InstallError:
    where = ", ".join(map(str, ports))
    stop = " and ".join(f"'hub serving stop -p {port}'" for port in ports)
    return InstallError(
        f"'{name}' is served on port {where}, so it is not removed. End {'it' if len(ports) == 1 else 'them'} with {stop}, or have "
        f"{'the server' if len(ports) == 1 else 'the servers'} finish its requests and unload it: hub uninstall {reference} --force"
    )
