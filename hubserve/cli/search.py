"""``hub search``."""

import argparse
from collections.abc import Sequence
from typing import NamedTuple

from hubserve.cli.output import add_index_option, add_json_option, print_json
from hubserve.cli.tables import print_table

HELP = "search the indexes for modules"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "words", metavar="WORD", nargs="*", help="words that a module's name or summary must contain (default: list every module)"
    )
    add_index_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print one line per module and index."""
    found = search(args.words, args.index)
    if args.json:
        print_json([each._asdict() for each in found])
    elif found:
        print_table(("NAME", "VERSION", "SUMMARY", "INDEX"), [(each.name, each.version or "-", each.summary, each.where) for each in found])
    else:
        print("No module has these words in its name or summary. 'hub search' alone lists them all.")
    return 0


class Hit(NamedTuple):
    """Module in an index.

    Attributes:
        name, summary: as the index has them.
        version: the newest; "" if all are withdrawn.
        where: its index.
    """

    name: str
    version: str
    summary: str
    where: str


def search(words: Sequence[str], indexes: Sequence[str] | None = None) -> list[Hit]:
    """Return the modules with every word in their name or summary, ignoring case; by index, then by name.

    Args:
        words: none match every module.
        indexes: addresses and folders to search; the indexes in effect where None.
    Raises:
        ConfigError: there is no index to search.
        HubError: an index cannot be read.
    """
    from hubserve.errors import ConfigError
    from hubserve.paths import home
    from hubserve.registry.configuration import install_settings
    from hubserve.registry.indexes.reader import open_index
    from hubserve.registry.indexes.search_order import in_effect

    locations = in_effect(home(), indexes)
    if not locations:
        raise ConfigError("there is no index to search. Add one with: hub index add URL_OR_FOLDER (or give --index, or set HUB_INDEX)")
    settings = install_settings(home())
    found = []
    for index in (open_index(each, settings) for each in locations):
        for name, summary in sorted(index.names().items()):
            text = f"{name} {name.replace('-', '_')} {summary.summary}".casefold()
            if all(word.casefold() in text for word in words):
                found.append(Hit(name, summary.latest, summary.summary, index.shown))
    return found
