"""``hub install``."""

import argparse
import sys

from hubserve.cli.environment import add_environment_options, environment_options
from hubserve.cli.output import add_index_option, add_json_option, print_json, size_text
from hubserve.cli.swaps import report_swaps, tell_servers

HELP = "install a module from a folder, an archive, an address, git, or an index"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "source",
        metavar="SOURCE",
        help="the module's folder; an archive of it (.tar, .tar.gz, .tar.xz, .tar.bz2, .zip), here or behind https://; "
        "git+https://HOST/REPOSITORY[@TAG-OR-COMMIT][#subdirectory=FOLDER]; or NAME, NAME==VERSION, 'NAME>=1,<2' from an index",
    )
    parser.add_argument("--digest", default="", metavar="sha256:DIGITS", help="refuse an archive with any other digest")
    add_index_option(parser)
    parser.add_argument("--no-check", action="store_true", help="do not import it once first, because what it needs will come later")
    add_environment_options(parser)
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Install, and say what is there now."""
    from hubserve.cli.progress import shown_progress
    from hubserve.registry.store import Store

    with shown_progress() as progress:
        installed = Store().install(
            args.source,
            progress=progress,
            check=not args.no_check,
            environment=environment_options(args),
            digest=args.digest,
            indexes=args.index,
        )
    manifest = installed.manifest
    if reason := (manifest.provenance or {}).get("yanked"):
        print(f"Note: {manifest.info.name} {manifest.info.version} was withdrawn from its index: {reason}", file=sys.stderr)
    swaps = tell_servers(manifest.info.name, manifest.info.version)
    if args.json:
        print_json({**manifest.to_json(), "folder": str(installed.folder), "replaced": installed.replaced, "servers": list(swaps)})
        return 0
    verb = "Replaced" if installed.replaced else "Installed"
    size = f"{manifest.files} file{'' if manifest.files == 1 else 's'}, {size_text(manifest.size_bytes)}"
    print(f"{verb} {installed.info.name} {installed.info.version} ({size}) in {installed.folder}", flush=True)
    if manifest.environment:
        print(f"It runs in an environment of its own: {manifest.environment}", flush=True)
    return int(report_swaps(swaps))
