"""``hub pack``."""

import argparse
from pathlib import Path

from hubserve.cli.assets import add_assets_option, print_assets, wanted_assets
from hubserve.cli.output import add_json_option, print_json, size_text

HELP = "pack a module's folder into a reproducible archive"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("folder", type=Path, metavar="DIR", help="the module's folder")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="FILE",
        help="the archive (.tar.gz or .tar.xz), or its folder; default: ./NAME-VERSION.tar.gz",
    )
    add_assets_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Pack the module and print the archive's path and digest."""
    from hubserve.cli.progress import shown_progress
    from hubserve.kinds import find_kind, module_folder
    from hubserve.registry.archives.packing import pack
    from hubserve.registry.digests import sha256_of

    folder = module_folder(args.folder.expanduser().absolute())
    info = find_kind(folder).describe(folder)
    assets = wanted_assets(args, folder)
    with shown_progress() as progress:
        archive = pack(folder, args.output, progress, assets)
    digest = sha256_of(archive)
    size_bytes = archive.stat().st_size
    if args.json:
        about = {"name": info.name, "version": info.version, "archive": str(archive), "size_bytes": size_bytes, "sha256": digest}
        print_json(about)
        return 0
    print(f"Packed {info.name} {info.version} into {archive} ({size_text(size_bytes)})")
    print(f"sha256:{digest}")
    print_assets(assets)
    return 0
