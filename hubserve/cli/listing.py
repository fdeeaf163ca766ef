"""``hub list``."""

import argparse
import sys
from collections import Counter

from hubserve.cli.output import add_json_option, print_json
from hubserve.cli.tables import print_table

HELP = "list the installed modules"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print one line per installed version."""
    from hubserve.registry.installed import InstalledModules

    modules = InstalledModules()
    listing = modules.scan()
    if args.json:
        versions = [{**each.manifest.to_json(), "folder": str(each.folder), "current": each.is_current} for each in listing.installed]
        print_json({"home": str(modules.home), "modules": versions, "notes": listing.notes})
        return 0
    if listing.installed:
        several = Counter(each.info.name for each in listing.installed)
        marks = [" (current)" if each.is_current and several[each.info.name] > 1 else "" for each in listing.installed]
        rows = [
            (each.info.name, each.info.version + mark, each.info.kind, each.info.summary)
            for each, mark in zip(listing.installed, marks, strict=True)
        ]
        print_table(("NAME", "VERSION", "KIND", "SUMMARY"), rows, cut="SUMMARY")
    else:
        print(f"No module is installed in {modules.home}. Install one with: hub install FOLDER_OR_ARCHIVE")
    for note in listing.notes:
        print(f"Note: {note}", file=sys.stderr)
    return 0
