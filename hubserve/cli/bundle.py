"""``hub bundle``."""

import argparse
from pathlib import Path

from hubserve.cli.output import add_json_option, print_json, size_text

HELP = "pack modules and everything that they need into one file, for a machine without a network"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("modules", nargs="+", metavar="NAME[==VERSION]", help="installed modules")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the bundle (default: NAME-VERSION.bundle.tar of the first module)"
    )
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Write the bundle and print its contents."""
    from msgspec import to_builtins

    from hubserve.cli.progress import shown_progress
    from hubserve.registry.bundles.build import SUFFIX, make_bundle
    from hubserve.registry.installed import InstalledModules
    from hubserve.registry.names import split_reference

    installed = InstalledModules()
    modules = list({each.folder: each for each in (installed.get(*split_reference(name)) for name in args.modules)}.values())
    first = modules[0].info
    with shown_progress() as progress:
        bundle = make_bundle(installed.home, modules, args.output or Path(f"{first.name}-{first.version}{SUFFIX}"), progress)
    if args.json:
        print_json({"path": str(bundle.path), **to_builtins(bundle.contents), "notes": bundle.notes})
        return 0
    held = ", ".join(f"{each.name} {each.version}" for each in bundle.contents.modules)
    wheels = sum(len(each.wheels) for each in bundle.contents.environments)
    more = f" and {wheels} wheel{'' if wheels == 1 else 's'}" if wheels else ""
    print(f"Bundled {held}{more} ({size_text(bundle.path.stat().st_size)}) into {bundle.path}")
    for note in bundle.notes:
        print(f"Note: {note}.")
    return 0
