"""``hub publish``."""

import argparse
from pathlib import Path

from hubserve.cli.assets import add_assets_option, print_assets, wanted_assets
from hubserve.cli.output import add_json_option, print_json, size_text

HELP = "add a module to an index in a local folder"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("source", type=Path, metavar="FOLDER|ARCHIVE", help="folder of the module, which is packed, or an archive of it")
    parser.add_argument("--index", required=True, metavar="FOLDER", help="the index; created if it does not exist")
    parser.add_argument("--key", type=Path, metavar="FILE", help="sign with this private key (see 'hub key generate')")
    parser.add_argument("--force", action="store_true", help="replace an existing version that has other content")
    add_assets_option(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Publish the module and print the index's versions."""
    from hubserve.cli.progress import shown_progress
    from hubserve.errors import InstallError
    from hubserve.paths import home
    from hubserve.registry.configuration import install_settings
    from hubserve.registry.downloads.addresses import without_secrets
    from hubserve.registry.indexes.build import publish

    if "://" in args.index:
        raise InstallError(
            f"'{without_secrets(args.index)}' is an address, and hub publishes into folders. Publish into a folder, then "
            "copy it to your server as any other files."
        )
    assets = wanted_assets(args, args.source)
    with shown_progress() as progress:
        done = publish(args.source, Path(args.index), install_settings(home()), progress, key=args.key, force=args.force, assets=assets)
    release = done.release
    if args.json:
        import msgspec

        print_json({"name": done.name, "added": done.added, **msgspec.to_builtins(release)})
        return 0
    signed = f", signed with key {release.signature.key}" if release.signature else ""
    verb = "Published" if done.added else "Unchanged:"
    print(f"{verb} {done.name} {release.version} ({size_text(release.size_bytes)}, sha256:{release.sha256}{signed}) as {release.archive}")
    print_assets(assets)
    return 0
