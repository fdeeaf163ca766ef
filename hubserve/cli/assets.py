"""Option of commands that pack a module: include files that it reads from outside its folder."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from hubserve.cli.output import size_text

if TYPE_CHECKING:
    from hubserve.registry.archives.outside_files import Assets


def add_assets_option(parser: argparse.ArgumentParser) -> None:
    """Declare the option."""
    parser.add_argument(
        "--no-assets",
        action="store_true",
        help="omit files outside the module's folder that its sources refer to by relative paths, such as a model beside it",
    )


def wanted_assets(args: argparse.Namespace, source: Path) -> "Assets | None":
    """Return the files to pack beside a module's folder; None for none, or if ``source`` is an archive."""
    from hubserve.kinds import module_folder
    from hubserve.registry.archives.outside_files import find_assets

    folder = module_folder(source.expanduser().absolute())
    return find_assets(folder) if folder.is_dir() and not args.no_assets else None


def print_assets(assets: "Assets | None") -> None:
    """Print the included files, and notes about those that cannot be included."""
    if assets is None:
        return
    if assets.files:
        size_bytes = sum(path.stat().st_size for path, _ in assets.files)
        count = f"{len(assets.files)} file{'' if len(assets.files) == 1 else 's'}"
        print(f"With {', '.join(assets.named)} from beside the module ({count}, {size_text(size_bytes)}); --no-assets omits them")
    for each in assets.fixed:
        print(f"Note: the module names '{each}', a path on this machine only, which is not packed.")
    if assets.beside:
        print(
            f"Note: the module imports {', '.join(assets.beside)} from beside its folder, which is not packed: where the archive is "
            "installed, it must be on PYTHONPATH."
        )
