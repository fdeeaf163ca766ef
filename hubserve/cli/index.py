"""``hub index build | yank | list | add | remove``."""

import argparse
from pathlib import Path

from hubserve.cli.output import add_json_option, print_json

HELP = "create an index of modules, or manage the configured indexes"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="build|yank|list|add|remove")
    build = actions.add_parser("build", help="turn a folder of archives into an index")
    build.add_argument("folder", type=Path, metavar="FOLDER", help="folder with the archives, at any depth")
    yank = actions.add_parser("yank", help="withdraw a version: it is then installed only by its exact version")
    yank.add_argument("version", metavar="NAME==VERSION", help="the version")
    yank.add_argument("--index", type=Path, required=True, metavar="FOLDER", help="the index")
    yank.add_argument("--reason", default="its publisher withdrew it", help="reason shown to users")
    yank.add_argument("--undo", action="store_true", help="restore it")
    listing = actions.add_parser("list", help="show the configured indexes, in order")
    add_json_option(listing)
    add = actions.add_parser("add", help="add an index after the existing ones")
    add.add_argument("location", metavar="URL|FOLDER", help="address or folder of the index")
    add.add_argument("--first", action="store_true", help="put it before the existing ones")
    add.add_argument("--no-check", action="store_true", help="do not check that it exists")
    remove = actions.add_parser("remove", help="remove an index")
    remove.add_argument("location", metavar="URL|FOLDER", help="as shown by 'hub index list'")


def run(args: argparse.Namespace) -> int:
    """Run the action; return the exit status."""
    return {"build": _build, "yank": _yank, "list": _list, "add": _add, "remove": _remove}[args.action](args)


def _build(args: argparse.Namespace) -> int:
    from hubserve.cli.progress import shown_progress
    from hubserve.paths import home
    from hubserve.registry.configuration import install_settings
    from hubserve.registry.indexes.build import build

    with shown_progress() as progress:
        modules = build(args.folder, install_settings(home()), progress)
    versions = sum(len(each.versions) for each in modules.values())
    print(f"{args.folder} is an index of {len(modules)} module{_s(len(modules))} in {versions} version{_s(versions)}")
    return 0


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _yank(args: argparse.Namespace) -> int:
    from hubserve.errors import InvalidInput
    from hubserve.paths import home
    from hubserve.registry.configuration import install_settings
    from hubserve.registry.indexes.build import yank
    from hubserve.registry.indexes.select import parse_requirement

    requirement = parse_requirement(args.version)
    if requirement is None or not requirement.exact:
        raise InvalidInput(f"{args.version[:80]!a} does not name a version: write NAME==VERSION.")
    release = yank(args.index, requirement, "" if args.undo else args.reason, install_settings(home()))
    print(f"{requirement.name} {release.version} {'may be used again' if args.undo else 'is withdrawn'} in {args.index}")
    return 0


def _list(args: argparse.Namespace) -> int:
    from hubserve.paths import home
    from hubserve.registry.indexes.search_order import VARIABLE, configured, in_effect, shown

    asked, known = in_effect(home()), configured(home())
    if args.json:
        print_json({"indexes": list(map(shown, asked)), "from": "config" if asked == known else VARIABLE})
        return 0
    for each in asked:
        print(shown(each) + ("" if asked == known else f"  (from {VARIABLE})"))
    if not asked:
        print("No index is configured, so names cannot be looked up. Add one with: hub index add URL_OR_FOLDER")
    return 0


def _add(args: argparse.Namespace) -> int:
    from hubserve.paths import home
    from hubserve.registry.indexes.search_order import add

    shown = add(home(), args.location, first=args.first, check=not args.no_check)
    print(f"{shown} is searched {'first' if args.first else 'after the others'}")
    return 0


def _remove(args: argparse.Namespace) -> int:
    from hubserve.paths import home
    from hubserve.registry.indexes.search_order import remove

    print(f"{remove(home(), args.location)} is no longer searched")
    return 0
