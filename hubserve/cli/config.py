"""``hub config``."""

import argparse
import sys
from pathlib import Path
from typing import Any

from hubserve.cli.output import add_json_option, print_json
from hubserve.cli.tables import print_facts
from hubserve.errors import ConfigError

HELP = "show or change the settings"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("setting", metavar="KEY==VALUE|KEY|reset", nargs="*", help="set a key, show one, or restore the defaults")
    add_json_option(parser)


def run(args: argparse.Namespace) -> int:
    """Change the given settings, then print the settings in effect."""
    from hubserve.paths import home
    from hubserve.registry import configuration

    home_dir = home()
    key = ""
    for setting in args.setting:
        key = _apply(home_dir, setting)
    _print(home_dir, key if key not in configuration.PADDLEHUB_SETTINGS else "", as_json=args.json)
    return 0


def _apply(home_dir: Path, setting: str) -> str:
    """Change a setting, or restore the defaults; return the setting's key."""
    from hubserve.registry import configuration

    if setting == "reset":
        configuration.reset(home_dir)
        return ""
    key, separator, value = setting.partition("=")
    key = key.strip()
    if key in configuration.PADDLEHUB_SETTINGS:
        print(f"hub: PaddleHub's '{key}' has no effect here: {configuration.PADDLEHUB_SETTINGS[key]}", file=sys.stderr)
        return key
    if key in _folders(home_dir):
        raise ConfigError(f"'{key}' follows from the home and is not a setting. Set the environment variable HUB_HOME to move it.")
    configuration.check_key(key)
    if separator:
        configuration.change(home_dir, key, value.removeprefix("="))
    return key


def _print(home_dir: Path, key: str, *, as_json: bool) -> None:
    from hubserve.registry import configuration

    changed = configuration.load(home_dir)
    settings: dict[str, Any] = {**configuration.DEFAULTS, **changed}
    if key:
        print_json({key: settings[key]}) if as_json else print(_value_text(settings[key]))
        return
    if as_json:
        print_json({**_folders(home_dir), **settings})
        return
    facts = {name: f"{_value_text(value)}{'' if name in changed else '  (default)'}" for name, value in settings.items()}
    print_facts({**_folders(home_dir), **facts})


def _value_text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _folders(home_dir: Path) -> dict[str, str]:
    from hubserve import paths
    from hubserve.registry import configuration

    return {
        "home": str(home_dir),
        "modules": str(paths.modules_dir()),
        "cache": str(paths.cache_dir()),
        "tmp": str(paths.tmp_dir()),
        "config_file": str(configuration.config_file(home_dir)),
    }
