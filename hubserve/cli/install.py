"""``hub install``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubserve.cli.environment import add_environment_options, choice_text, environment_options
from hubserve.cli.output import add_downgrade_option, add_index_option, add_json_option, print_json, size_text
from hubserve.cli.server_notices import notify_servers, report_swaps
from hubserve.errors import InstallError

if TYPE_CHECKING:
    from hubserve.registry.install.transaction import InstallResult

HELP = "install a module from a folder, an archive, an address, git, an index, or a bundle"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="the module's folder; an archive of it (.tar, .tar.gz, .tar.xz, .tar.bz2, .zip), here or behind https://; "
        "s3://, gs://, as://, oss://, ssh:// or https:// address of a folder or model; hf:ORGANISATION/NAME[@COMMIT][//FILE], "
        "modelscope:ORGANISATION/NAME; a model's own file (.onnx, .pdmodel, .json, .pt, .xml) or a folder of one model; "
        "git+https://HOST/REPOSITORY[@TAG-OR-COMMIT][#subdirectory=FOLDER]; NAME, NAME==VERSION, 'NAME>=1,<2' from an index; "
        "or a file made by hub bundle",
    )
    parser.add_argument("--name", default="", metavar="NAME", help="name of a module made from model files (default: the file's name)")
    parser.add_argument("--version", default="", metavar="VERSION", help="version of such a module (default: 1.0.0)")
    parser.add_argument("--digest", default="", metavar="sha256:DIGITS", help="refuse an archive with another digest")
    add_index_option(parser)
    add_downgrade_option(parser)
    parser.add_argument("--no-check", action="store_true", help="skip the import check, for example if requirements are installed later")
    add_environment_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Install the module or bundle and print the result."""
    from hubserve.registry.bundles.open import is_bundle

    path = Path(args.source).expanduser()
    if path.is_file() and is_bundle(path):
        return _install_bundle(path, args)
    from hubserve.cli.progress import shown_progress
    from hubserve.registry.installer import Installer

    with shown_progress() as progress:
        installed = Installer().install(
            args.source,
            progress=progress,
            check=not args.no_check,
            environment=environment_options(args),
            digest=args.digest,
            indexes=args.index,
            allow_downgrade=args.allow_downgrade,
            model_name=args.name,
            model_version=args.version,
        )
    if args.json:
        print_json(_document(installed))
        return 0
    return int(_report(installed))


def _install_bundle(path: Path, args: argparse.Namespace) -> int:
    from hubserve.cli.progress import shown_progress
    from hubserve.registry.bundles.install import install_bundle
    from hubserve.registry.digests import sha256_of
    from hubserve.registry.downloads.addresses import check_sha256
    from hubserve.registry.installer import Installer

    if args.digest and check_sha256(args.digest) != sha256_of(path):
        raise InstallError(f"'{path}' does not have the digest {args.digest}. Fetch it again, from a place that you trust.")
    documents, kept = [], False
    with shown_progress() as progress:
        for installed in install_bundle(Installer(), path, check=not args.no_check, options=environment_options(args), progress=progress):
            if args.json:
                documents.append(_document(installed))
            else:
                kept = _report(installed) or kept
    if args.json:
        print_json({"installed": documents})
    return int(kept)


def _document(installed: "InstallResult") -> dict[str, Any]:
    manifest = installed.manifest
    swaps = list(notify_servers(manifest.info.name, manifest.info.version))
    return {**manifest.to_json(), "folder": str(installed.folder), "replaced": installed.replaced, "servers": swaps}


def _report(installed: "InstallResult") -> bool:
    """Print the installed module and the servers' answers; return whether a server kept its previous version."""
    manifest = installed.manifest
    if reason := (manifest.provenance or {}).get("yanked"):
        print(f"Note: {manifest.info.name} {manifest.info.version} was withdrawn from its index: {reason}", file=sys.stderr)
    swaps = notify_servers(manifest.info.name, manifest.info.version)
    verb = "Replaced" if installed.replaced else "Installed"
    size = f"{manifest.files} file{'' if manifest.files == 1 else 's'}, {size_text(manifest.size_bytes)}"
    print(f"{verb} {installed.info.name} {installed.info.version} ({size}) in {installed.folder}", flush=True)
    print(choice_text(manifest), flush=True)
    for each in manifest.chosen.lacks:
        print(f"Warning: {each}.", file=sys.stderr)
    return report_swaps(swaps)
