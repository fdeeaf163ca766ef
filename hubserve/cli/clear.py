"""``hub clear``."""

import argparse

from hubserve.cli.output import add_json_option, print_json, size_text

HELP = "delete cached and temporary files"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Delete the files and print the freed space."""
    from hubserve.cli.progress import shown_progress
    from hubserve.paths import home
    from hubserve.registry.clear_cache import clear

    with shown_progress() as progress:
        freed = clear(home(), progress)
    if args.json:
        print_json({"freed_bytes": freed})
        return 0
    for name, size_bytes in freed.items():
        print(f"{name}: {size_text(size_bytes)} freed")
    return 0
