"""``hub gc``."""

import argparse

from hubserve.cli.output import add_json_option, print_json, size_text

HELP = "delete unused files: leftovers, replaced copies, downloads, engine files of removed models"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--dry-run", action="store_true", help="only list what would be deleted")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Delete the files and print the freed space."""
    from hubserve.cli.progress import shown_progress
    from hubserve.paths import home
    from hubserve.registry.gc import collect

    with shown_progress() as progress:
        found = collect(home(), progress, dry_run=args.dry_run)
    freed = [each for each in found if not each.in_use]
    in_use = [each for each in found if each.in_use]
    total_bytes = sum(each.size_bytes for each in freed)
    if args.json:
        documents = [{**each._asdict(), "path": str(each.path)} for each in found]
        print_json({"freed_bytes": 0 if args.dry_run else total_bytes, "found_bytes": total_bytes, "found": documents})
        return 0
    for kind in dict.fromkeys(each.kind for each in freed):
        print(f"{kind}: {size_text(sum(each.size_bytes for each in freed if each.kind == kind))}")
    for each in in_use:
        print(f"kept, because it is in use: {each.path}")
    print(f"{size_text(total_bytes)} {'would be freed' if args.dry_run else 'freed'}")
    return 0
