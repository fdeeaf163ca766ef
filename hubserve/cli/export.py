"""``hub export``."""

import argparse
import sys
from pathlib import Path

from hubserve.cli.output import add_json_option, print_json

HELP = "write a container, a systemd unit or manifests that serve a configuration elsewhere"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from hubserve.export import TARGETS

    parser.add_argument("target", choices=[*TARGETS], help="what to write")
    parser.add_argument("-c", "--config", type=Path, metavar="FILE", required=True, help="the config.json to serve")
    parser.add_argument("-o", "--output", type=Path, metavar="DIR", required=True, help="folder to write; must be empty or missing")
    parser.add_argument("--force", action="store_true", help="replace everything in the folder")
    parser.add_argument(
        "--models",
        choices=["inside", "mounted"],
        default="inside",
        help="models and modules inside the image, or in folders that are mounted (default %(default)s)",
    )
    parser.add_argument("--image", default="", metavar="NAME", help="name of the image (default: hubserve-MODULE:VERSION)")
    parser.add_argument(
        "--base-image", default="", metavar="NAME", help="image with Python, Debian-based (default: the official slim one of this version)"
    )
    parser.add_argument(
        "--cpus", type=int, default=2, metavar="N", help="cores, and instances of modules that set none (default %(default)s)"
    )
    parser.add_argument("--memory-mb", type=int, default=0, metavar="MB", help="memory (default: 1 GiB and 1 GiB for each instance)")
    parser.add_argument(
        "--extras", metavar="NAME,...", help="extras of hubserve to install there (default: those whose packages are installed here)"
    )
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Write the export and print its files and the next commands."""
    from hubserve.errors import ConfigError
    from hubserve.export import get_target
    from hubserve.export.plan import Options, make_plan
    from hubserve.export.writer import check_folder, write_export

    if args.cpus < 1 or args.memory_mb < 0:
        raise ConfigError("--cpus must be at least 1 and --memory-mb not negative")
    check_folder(args.output, force=args.force)
    target = get_target(args.target)
    extras = None if args.extras is None else tuple(each.strip() for each in args.extras.split(",") if each.strip())
    options = Options(args.models, args.image, args.base_image, args.cpus, args.memory_mb, extras)
    plan = make_plan(args.config, target.places, target.host, options, lambda text: print(f"hub: {text}", file=sys.stderr))
    written = target.render(plan)
    files = write_export(written, args.output)
    if args.json:
        steps = [{"command": command, "does": does} for command, does in written.next_steps]
        secrets = [{"name": each.name, "setting": each.setting} for each in plan.secrets]
        print_json({"folder": str(args.output.absolute()), "files": files, "secrets": secrets, "notes": plan.notes, "next": steps})
        return 0
    print(f"Wrote {target.summary} to {args.output}:")
    for each in files:
        print(f"  {each}")
    for note in plan.notes:
        print(f"Note: {note}.")
    for secret in plan.secrets:
        print(f"Not copied: {secret.source} ({secret.setting}), which is expected at {target.places.secrets}/{secret.name}.")
    print(f"Next, in {args.output}:")
    for command, does in written.next_steps:
        print(f"  {command}  # {does}")
    return 0
