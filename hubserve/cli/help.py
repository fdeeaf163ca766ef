"""``hub help``."""

import argparse
from importlib import import_module

HELP = "list the commands, or explain one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    from hubserve.cli import COMMANDS

    parser.add_argument("command", metavar="COMMAND", nargs="?", choices=[*COMMANDS], help="the command to explain")


def run(args: argparse.Namespace) -> int:
    """Print the list, or the help of a command."""
    from hubserve.cli import COMMANDS, make_parser

    if args.command:
        make_parser(args.command).print_help()
        return 0
    print("usage: hub COMMAND [ARGUMENT ...]\n\ncommands:")
    width = max(map(len, COMMANDS))
    for name, module in COMMANDS.items():
        print(f"  {name:<{width}}  {import_module(module).HELP}")
    print("\n'hub help COMMAND' explains one. HUB_HOME sets where modules are kept (default: ~/.paddlehub).")
    return 0
