"""``hub import-paddlehub``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hubserve.cli.output import add_json_option, print_json
from hubserve.cli.server_notices import notify_servers, swap_text

if TYPE_CHECKING:
    from hubserve.registry.paddlehub_import import Import

HELP = "install the modules that PaddleHub has installed"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        nargs="?",
        type=Path,
        help="where they are (default: this home, else ~/.paddlehub/modules)",
    )
    parser.add_argument("--move", action="store_true", help="move those in this home to versions; PaddleHub no longer finds them")
    parser.add_argument("--no-check", action="store_true", help="skip the import check, for example if requirements are installed later")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Import the modules and print each result; return 1 if one could not be imported."""
    from hubserve.cli.progress import shown_progress
    from hubserve.registry.installer import Installer
    from hubserve.registry.paddlehub_import import find_folder, import_modules

    installer = Installer()
    folder = find_folder(installer.home, args.folder)
    done: list[Import] = []
    with shown_progress() as progress:
        done += import_modules(installer, folder, move=args.move, check=not args.no_check, progress=progress)
    if args.json:
        print_json({"folder": str(folder), "modules": [{**each._asdict(), "folder": str(each.folder)} for each in done]})
    else:
        _print(folder, done)
    swapped = [notice for each in done if each.result in ("imported", "moved") for notice in notify_servers(each.name, each.version)]
    for notice in swapped:
        print(swap_text(notice), file=sys.stderr, flush=True)
    return int(any(each.result in ("failed", "left") for each in done) or any(notice["error"] for notice in swapped))


def _print(folder: Path, done: list["Import"]) -> None:
    for each in done:
        what = f"{each.name} {each.version}".strip() or each.folder.name
        print(f"{each.result:<9} {what}{': ' + each.reason if each.reason else ''}")
    if not done:
        print(f"No module of PaddleHub's is in {folder}.")
