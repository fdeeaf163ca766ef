"""``hub version``."""

import argparse
import platform

import hubserve
from hubserve.cli.output import add_json_option, print_json

HELP = "print the version"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print the version."""
    if args.json:
        print_json({"hubserve": hubserve.__version__, "python": platform.python_version()})
    else:
        print(f"hubserve {hubserve.__version__}")
    return 0
