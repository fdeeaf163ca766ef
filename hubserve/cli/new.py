"""``hub new``."""

import argparse
from pathlib import Path

from hubserve.cli.output import add_json_option, print_json

HELP = "write a new, working module as a starting point"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from hubserve.authoring.new import TEMPLATES

    about = "; ".join(f"{name}: {takes}" for name, takes in TEMPLATES.items())
    parser.add_argument("name", metavar="NAME", help="name of the module")
    parser.add_argument("--template", "-t", choices=[*TEMPLATES], default="json", help=f"input of the module ({about}); default: json")
    parser.add_argument("--output_dir", "-o", type=Path, default=Path(), metavar="DIR", help="where to create its folder; default: .")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Write the module and print the next commands."""
    from hubserve.authoring.new import write_new

    folder = write_new(args.name, args.template, args.output_dir)
    files = sorted(path.name for path in folder.iterdir())
    if args.json:
        print_json({"name": args.name, "template": args.template, "folder": str(folder), "files": files})
        return 0
    shown = f"./{folder.relative_to(Path.cwd())}" if folder.is_relative_to(Path.cwd()) else str(folder)
    print(f"Wrote {shown}/: {', '.join(files)}\n\nNext:")
    for command, why in (
        (f"python -m pytest {shown}", "its test, behind a real server"),
        (f"hub run {shown} -h", "what it takes when it is run once"),
        (f"hub install {shown}", "puts it among the installed modules"),
        (f"hub serving start -m {args.name}", f"serves it at http://127.0.0.1:8866/predict/{args.name}"),
    ):
        print(f"  {command:<44} # {why}")
    return 0
