"""``hub download``."""

import argparse
from pathlib import Path

from hubserve.cli.output import add_downgrade_option, add_index_option, add_json_option, print_json, size_text

HELP = "download a module from an index or an address without installing it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "name",
        metavar="NAME[==VERSION]|ADDRESS",
        help="the module, or a range such as 'NAME>=1,<2'; or s3://BUCKET/..., hf:ORGANISATION/NAME@COMMIT, ...",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path(), metavar="FOLDER", help="target folder (default: the working directory)"
    )
    add_index_option(parser)
    add_downgrade_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Download and verify the archive and print its path."""
    from hubserve.cli.progress import shown_progress
    from hubserve.paths import home
    from hubserve.registry.configuration import install_settings
    from hubserve.registry.remotes import is_remote
    from hubserve.registry.sources import Request
    from hubserve.registry.sources.index_download import download_archive
    from hubserve.registry.sources.remote import download_remote

    with shown_progress() as progress:
        request = Request(args.name, home(), install_settings(home()), progress, indexes=args.index)
        if is_remote(args.name):
            kept, origin = None, download_remote(request, args.output)
        else:
            kept = download_archive(request._replace(allow_downgrade=args.allow_downgrade), args.output)
    if kept is None:
        shown = {"source": origin.shown, "folder": str(args.output.absolute()), "provenance": origin.provenance}
        text = f"{origin.shown} is in {args.output.absolute()}"
    else:
        shown, text = kept._asdict(), f"{kept.name} {kept.version} ({size_text(kept.size_bytes)}) is in {kept.path}"
    if args.json:
        print_json(shown)
    else:
        print(text)
    return 0
