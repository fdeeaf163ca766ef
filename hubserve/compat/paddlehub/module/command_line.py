"""Command line of modules whose base class has one: ``hub run <name> --input_path cat.png``."""

import argparse
from typing import Any, List


class CommandLine:
    """Parses a command line; subclasses add to it and say what is done."""

    name: str
    parser: argparse.ArgumentParser
    arg_input_group: Any
    arg_config_group: Any

    def parse_command(self, argvs: List[str]) -> argparse.Namespace:
        """Parse the arguments that the two methods below declare; exit with 2 on a wrong one."""
        self.parser = argparse.ArgumentParser(
            description=f"Run the {self.name} module.", prog=f"hub run {self.name}", usage="%(prog)s", add_help=True
        )
        self.arg_input_group = self.parser.add_argument_group(title="Input options", description="Input data. Required")
        self.arg_config_group = self.parser.add_argument_group(
            title="Config options", description="Run configuration for controlling module behavior, not required."
        )
        self.add_module_config_arg()
        self.add_module_input_arg()
        return self.parser.parse_args(argvs)

    def add_module_config_arg(self) -> None:
        """Declare the options."""

    def add_module_input_arg(self) -> None:
        """Declare what goes in."""
        self.arg_input_group.add_argument("--input_path", type=str, required=True, help="path to image.")


def as_bool(text: str) -> bool:
    """Return True for ``True``, ``1``, ``yes`` and ``on`` in any case; the original takes every non-empty text as true."""
    return text.strip().lower() in ("true", "1", "yes", "on")
