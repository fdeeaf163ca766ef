"""Command ``hub``: one file and one row per command.

A command is a module with ``HELP`` (one line), ``add_arguments(parser)`` and ``run(args) -> int``, the exit status. It is imported only
when it is used, and imports its dependencies only when it runs.
"""

import argparse
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from typing import Any, NoReturn

from hubserve import unsupported_platform
from hubserve.cli.failures import reported

#: name -> module
COMMANDS = {
    "install": "hubserve.cli.install",
    "uninstall": "hubserve.cli.uninstall",
    "rollback": "hubserve.cli.rollback",
    "verify": "hubserve.cli.verify",
    "gc": "hubserve.cli.gc",
    "import-paddlehub": "hubserve.cli.import_paddlehub",
    "list": "hubserve.cli.listing",  # a module called list would hide the type from this file
    "show": "hubserve.cli.show",
    "run": "hubserve.cli.run",
    "search": "hubserve.cli.search",
    "download": "hubserve.cli.download",
    "publish": "hubserve.cli.publish",
    "index": "hubserve.cli.index",
    "key": "hubserve.cli.key",
    "access": "hubserve.cli.access",
    "serving": "hubserve.cli.serving",
    "new": "hubserve.cli.new",
    "convert": "hubserve.cli.convert",
    "pack": "hubserve.cli.pack",
    "bundle": "hubserve.cli.bundle",
    "export": "hubserve.cli.export",
    "env": "hubserve.cli.env",
    "engines": "hubserve.cli.engines",
    "bench": "hubserve.cli.bench",
    "doctor": "hubserve.cli.doctor",
    "config": "hubserve.cli.config",
    "clear": "hubserve.cli.clear",
    "version": "hubserve.cli.version",
    "help": "hubserve.cli.help",
}

_SHORTHANDS = {"-h": "help", "--help": "help", "-v": "version", "-V": "version", "--version": "version"}


class CommandParser(argparse.ArgumentParser):
    """Argument parser whose errors look like every other message of ``hub``."""

    def error(self, message: str) -> NoReturn:
        """Print one line and exit with 2."""
        self.exit(2, f"hub: {message}. Run '{self.prog} -h' to see what it takes.\n")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: the words after ``hub``; those of this process if None.
    Returns:
        The exit status: 0; 1 if it failed; 2 for a wrong command line; 130 after Ctrl-C.
    """
    if refusal := unsupported_platform():
        print(f"hub: {refusal}", file=sys.stderr)
        return 1
    words = list(sys.argv[1:] if argv is None else argv) or ["help"]
    words[0] = _SHORTHANDS.get(words[0], words[0])
    if words[0] not in COMMANDS:
        return _unknown(words[0])
    command = import_module(COMMANDS[words[0]])
    words, rest = _split(words, command)
    try:
        args = make_parser(words[0]).parse_args(words[1:])
    except SystemExit as leaving:  # argparse has printed help or an error
        return int(leaving.code or 0)
    if rest is not None:
        args.rest = rest
    return reported(lambda: int(command.run(args)), words, debug=args.debug, as_json=getattr(args, "json", False))


def make_parser(name: str) -> CommandParser:
    """Return the parser of a command."""
    command = import_module(COMMANDS[name])
    parser = CommandParser(prog=f"hub {name}", description=command.HELP, allow_abbrev=False)
    command.add_arguments(parser)
    parser.add_argument("--debug", action="store_true", help="on failure, show the traceback")
    return parser


def _split(words: list[str], command: Any) -> tuple[list[str], list[str] | None]:
    """Split a command's own words from those that it passes on (``hub run NAME ...``): all after the first positional argument."""
    if not getattr(command, "HANDS_REST_ON", False):
        return words, None
    for index, word in enumerate(words[1:], start=1):
        if not word.startswith("-"):
            return words[: index + 1], words[index + 1 :]
    return words, []


def _unknown(word: str) -> int:
    close = get_close_matches(word, COMMANDS, n=1)
    meant = f" Did you mean 'hub {close[0]}'?" if close else ""
    what = "option" if word.startswith("-") else "command"
    print(f"hub: there is no {what} {word[:60]!a}.{meant} Run 'hub help' to see the commands.", file=sys.stderr)
    return 2
