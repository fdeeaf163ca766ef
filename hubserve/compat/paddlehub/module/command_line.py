"""The command line of base classes: ``hub run <name> --input_path cat.png``."""

import argparse
from typing import Any, List


class CommandLine:
    """Parser of a module's command line; subclasses add arguments."""

    name: str
    parser: argparse.ArgumentParser
    arg_input_group: Any
    arg_config_group: Any

    def parse_command(self, argvs: List[str]) -> argparse.Namespace:
        """Parse the arguments that the two methods below declare; a wrong one ends the process with status 2."""
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
        """Declare the inputs."""
        self.arg_input_group.add_argument("--input_path", type=str, required=True, help="path to image.")


def as_bool(text: str) -> bool:
    """Return True for ``true``, ``1``, ``yes`` and ``on`` in any case; in the original every text but the empty one is true."""
    return text.strip().lower() in ("true", "1", "yes", "on")
