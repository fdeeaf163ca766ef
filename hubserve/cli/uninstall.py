"""``hub uninstall``."""

import argparse

from hubserve.cli.output import add_json_option, print_json

HELP = "remove an installed module"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("name", metavar="NAME[==VERSION]", help="the module; without a version, every version of it")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Remove, and say what is gone."""
    from hubserve.cli.progress import shown_progress
    from hubserve.registry.names import split_reference
    from hubserve.registry.store import Store

    name, version = split_reference(args.name)
    with shown_progress() as progress:
        removed = Store().uninstall(name, version, progress=progress)
    if args.json:
        print_json({"removed": [{"name": each.info.name, "version": each.info.version} for each in removed]})
        return 0
    for each in removed:
        print(f"Removed {each.info.name} {each.info.version}")
    return 0
