"""``hub doctor``: find problems of this machine, a module or a configuration."""

import argparse
from pathlib import Path
from typing import Any

from hubserve.cli.output import add_json_option, print_json
from hubserve.cli.tables import printable

HELP = "find what is wrong with this machine, a module or a config.json"
_HEAD_BYTES = 4096


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "target",
        metavar="NAME[==VERSION]|FOLDER|MODEL|CONFIG.JSON",
        nargs="?",
        help="an installed module, any module's folder, a model's file, or a server's configuration (default: this machine)",
    )
    parser.add_argument("--load", action="store_true", help="also load the modules and compute a synthetic input; runs their code")
    parser.add_argument("--network", action="store_true", help="connect to the other machines and places in a configuration")
    parser.add_argument("-q", "--quiet", action="store_true", help="omit the notes")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Print the findings; return 1 if there are errors."""
    from hubserve.doctor.findings import ERROR, LEVELS, NOTE, by_level

    found = by_level(_examine(args))
    shown = [each for each in found if not (args.quiet and each.level == NOTE)]
    if args.json:
        print_json({"findings": [each.to_json() for each in shown]})
    else:
        for each in shown:
            _print(each)
        counts = {level: sum(each.level == level for each in found) for level in LEVELS}
        print(", ".join(f"{count} {level}{'' if count == 1 else 's'}" for level, count in counts.items()))
    return int(any(each.level == ERROR for each in found))


def _examine(args: argparse.Namespace) -> list[Any]:
    from hubserve.errors import ConfigError

    if args.target is None:
        from hubserve.doctor.machine import examine_machine

        if args.load:
            raise ConfigError("--load needs a target: hub doctor --load NAME, FOLDER, MODEL or CONFIG.JSON")
        return examine_machine()
    path = Path(args.target)
    if _is_config(path):
        return _examine_config(path, args)
    from hubserve.doctor.module import examine_module

    found = examine_module(args.target)
    return found + _load(found, lambda loading: loading.load_module(args.target)) if args.load else found


def _is_config(path: Path) -> bool:
    """Return True for a JSON file that is not a model, and for other text files that no kind of module has."""
    from hubserve.engines.model_formats import is_model_name, is_program
    from hubserve.kinds import module_folder

    if path.suffix == ".json":
        return not (path.is_file() and is_program(path))
    if not path.is_file() or is_model_name(path) or module_folder(path) != path:
        return False
    with path.open("rb") as file:
        return b"\0" not in file.read(_HEAD_BYTES)


def _examine_config(path: Path, args: argparse.Namespace) -> list[Any]:
    from hubserve.doctor.config.examine import examine_config
    from hubserve.settings import read_config

    found = examine_config(path, network=args.network)
    if not args.load:
        return found
    return found + _load(found, lambda loading: loading.load_all(read_config(path, note=lambda _: None), [path.absolute().parent]))


def _load(found: list[Any], load: Any) -> list[Any]:
    from hubserve.doctor import loading
    from hubserve.doctor.findings import ERROR, NOTE, Finding

    if any(each.level == ERROR for each in found):
        return [Finding(NOTE, "load", "not attempted, because of the errors", "Fix them first")]
    return load(loading)  # type: ignore[no-any-return]  # both callers' functions return lists


def _print(finding: Any) -> None:
    where = f"{finding.file}: {finding.about}" if finding.file else finding.about
    print(f"{finding.level:<9}{printable(where)}")
    print(f"{'':<9}{printable(finding.reason)}")
    if finding.fix:
        print(f"{'':<9}-> {printable(finding.fix)}")
