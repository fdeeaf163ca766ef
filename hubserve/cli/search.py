"""``hub search``."""

import argparse

from hubserve.cli.output import add_index_option, add_json_option, print_json
from hubserve.cli.tables import print_table

HELP = "look for modules in the indexes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("words", metavar="WORD", nargs="*", help="each must be in a module's name or summary (default: every module)")
    add_index_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print one line per module and index."""
    from hubserve.registry.indexes.search import search

    found = search(args.words, args.index)
    if args.json:
        print_json([each._asdict() for each in found])
    elif found:
        print_table(("NAME", "VERSION", "SUMMARY", "INDEX"), [(each.name, each.version or "-", each.summary, each.where) for each in found])
    else:
        print("No module has these words in its name or summary. 'hub search' alone lists them all.")
    return 0
