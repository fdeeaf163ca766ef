"""``hub verify``."""

import argparse
from typing import TYPE_CHECKING

from hubserve.cli.output import add_json_option, print_json
from hubserve.cli.tables import printable

if TYPE_CHECKING:
    from hubserve.registry.installed import Installed, InstalledModules

HELP = "check all installed files and list changed, missing and extra ones"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "modules", metavar="NAME[==VERSION]", nargs="*", help="the modules; without a version, every version (default: all)"
    )
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Compare the files; return 1 if any differs."""
    from hubserve.cli.progress import shown_progress
    from hubserve.registry.install.verification import verify
    from hubserve.registry.installed import InstalledModules

    modules = InstalledModules()
    installed, notes = _chosen(modules, args.modules)
    with shown_progress() as progress:
        verdicts = [verify(each, progress) for each in installed]
    wrong = [each for each in verdicts if not each.is_intact]
    if args.json:
        print_json({"modules": [each.to_json() for each in verdicts], "damaged": notes})
        return int(bool(wrong or notes))
    for verdict in verdicts:
        print(f"{verdict.name} {verdict.version}: {'intact' if verdict.is_intact else 'DIFFERS from its installation'}")
        for problem in verdict.problems():
            print(f"  {printable(problem)}")
    for note in notes:
        print(note)
    if wrong:
        print("Install it again, or undo the last change with hub rollback.")
    return int(bool(wrong or notes))


def _chosen(modules: "InstalledModules", references: list[str]) -> tuple[list["Installed"], list[str]]:
    from hubserve.registry.names import split_reference

    names = references or modules.names()
    chosen, notes = [], []
    for reference in names:
        name, version = split_reference(reference)
        if version:
            chosen.append(modules.get(name, version))
            continue
        listing = modules.of(name)
        chosen += listing.installed
        notes += listing.notes
    return chosen, notes
