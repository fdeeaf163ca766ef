"""``hub rollback``."""

import argparse

from hubserve.cli.output import add_json_option, print_json
from hubserve.cli.server_notices import notify_servers, report_swaps

HELP = "undo the last change of a module: restore the previous version or files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME", help="the module")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Roll back, notify running servers, and print the current version."""
    from hubserve.cli.progress import shown_progress
    from hubserve.registry.installer import Installer

    installer = Installer()
    with shown_progress() as progress:
        done = installer.rollback(args.name, progress=progress)
    info = done.now.info
    swaps = notify_servers(info.name, done.restored or info.version)
    if args.json:
        notices = list(swaps)
        print_json({"name": info.name, "version": info.version, "was": done.was, "restored": done.restored, "servers": notices})
        failed = any(each["error"] for each in notices)
    else:
        files = f"; the files of {done.restored} before its last installation are back" if done.restored else ""
        meant = f"means {info.version} again, not {done.was}" if done.was != info.version else f"still means {info.version}"
        print(f"{info.name} {meant}{files}", flush=True)
        failed = report_swaps(swaps)
    installer.sweep()
    return int(failed)
