"""``conf/config.json`` in the home: the settings that ``hub config`` changes."""

import json
import os
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.config_file.lenient_json import NotJson, parse_json
from hubserve.errors import ConfigError

#: keys of PaddleHub 1.x in the same file; they are neither used nor removed
PADDLEHUB_KEYS = ("server_url", "resource_storage_server_url", "debug", "log_level", "hub_name")

#: lists that ``hub index`` and ``hub key`` change; a reset keeps them, because without its keys a home would trust more
LISTS = ("indexes", "trusted_keys")

_SECTION = "install"

#: settings of PaddleHub's ``hub config`` -> why they have no effect
PADDLEHUB_SETTINGS = {
    "server": "modules come from folders, archives and indexes; 'hub index add URL' names one",
    "log.level": "a server's log has warnings and what it starts and ends; clients set its level at /v2/logging",
    "log.enable": "a server writes its log to stderr; send it to /dev/null to have none",
}


class InstallSettings(NamedTuple):
    """Limits and options of ``hub install``.

    Attributes:
        max_files: the most files and folders in one module.
        max_bytes: the most bytes in one module, unpacked.
        max_ratio: the most that an archive may grow by when it is unpacked; the first 64 MiB do not count.
        check_timeout_s: seconds that importing the module may take.
        lock_timeout_s: seconds to wait for another install or uninstall.
        keep_replaced: how many replaced copies of each version are kept for ``hub rollback``.
        fetch_timeout_s: seconds that a server may send nothing, or almost nothing.
        allow_http: fetch over ``http://`` from other machines too, although others can read and change it on the way.
        require_signature: refuse a download unless a trusted key signed it, even where no key is trusted for its index.
    """

    max_files: int = 50_000
    max_bytes: int = 16 << 30
    max_ratio: int = 200
    check_timeout_s: int = 120
    lock_timeout_s: int = 600
    keep_replaced: int = 1
    fetch_timeout_s: int = 30
    allow_http: bool = False
    require_signature: bool = False


#: every key of ``hub config``, with its default
DEFAULTS: dict[str, int] = {f"{_SECTION}.{key}": value for key, value in InstallSettings()._asdict().items()}


#: keys that may be lower than 1
_LEAST = {f"{_SECTION}.keep_replaced": 0}


def config_file(home: Path) -> Path:
    """Return the path of the settings file."""
    return home / "conf" / "config.json"


def load(home: Path) -> dict[str, int]:
    """Read the settings that differ from :data:`DEFAULTS`.

    Returns:
        Dotted key to value.
    Raises:
        ConfigError: the file is damaged, or holds an unknown key or a bad value; the message names the key.
    """
    path = config_file(home)
    changed: dict[str, int] = {}
    for key, value in _read(path).items():
        if key in (*PADDLEHUB_KEYS, *LISTS):
            continue
        if key != _SECTION:
            raise ConfigError(f"'{path}' has an unknown key '{key}'{nearest(key, [_SECTION])}. Remove it, or run 'hub config reset'.")
        if not isinstance(value, dict):
            raise ConfigError(f"'{path}': '{key}' must be an object, got {type(value).__name__}. Fix it, or run 'hub config reset'.")
        for name, number in value.items():
            changed[f"{key}.{name}"] = check_setting(f"{key}.{name}", number)
    return changed


def install_settings(home: Path) -> InstallSettings:
    """Return the settings of ``hub install``: the defaults, overridden by the file.

    Raises:
        ConfigError: as :func:`load`.
    """
    values: dict[str, Any] = {key.partition(".")[2]: value for key, value in load(home).items()}
    return InstallSettings(**values)


def change(home: Path, key: str, value: Any) -> None:
    """Set one key and keep the rest.

    Raises:
        ConfigError: the key is unknown or the value invalid; the file is unchanged.
    """
    load(home)
    document = _read(config_file(home))
    document.setdefault(_SECTION, {})[key.partition(".")[2]] = check_setting(key, value)
    _write(config_file(home), document)


def reset(home: Path) -> None:
    """Reset the settings to the defaults; PaddleHub's own keys, indexes and trusted keys stay.

    Raises:
        ConfigError: the file is not JSON, so that PaddleHub's keys cannot be found in it.
    """
    path = config_file(home)
    if path.exists():
        _write(path, {key: value for key, value in _read(path).items() if key in (*PADDLEHUB_KEYS, *LISTS)})


def read_list(home: Path, key: str) -> list[dict[str, str]]:
    """Return one of :data:`LISTS`: objects whose values are texts.

    Raises:
        ConfigError: the file is damaged, or the value is not such a list.
    """
    path = config_file(home)
    rows: Any = _read(path).get(key, [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) and all(isinstance(each, str) for each in row.values()) for row in rows):
        raise ConfigError(f"'{path}': '{key}' must be a list of objects whose values are texts. Fix it, or delete the key '{key}'.")
    return [*rows]


def write_list(home: Path, key: str, rows: list[dict[str, str]]) -> None:
    """Replace one of :data:`LISTS` and keep the rest.

    Raises:
        ConfigError: the file is damaged, or cannot be written.
    """
    document = _read(config_file(home))
    _write(config_file(home), {**document, key: rows})


def check_setting(key: str, value: Any) -> int:
    """Return the value of a known key as a number, or as a bool if its default is one.

    Raises:
        ConfigError: the key is unknown, or the value is not a whole number from 1 up (from 0 up where that has a meaning), or neither
            true nor false.
    """
    check_key(key)
    text, least = str(value).strip(), _LEAST.get(key, 1)
    if isinstance(DEFAULTS[key], bool):
        return _check_switch(key, text.lower())
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and int(text[:30]) >= least):
        raise ConfigError(
            f"the setting '{key}' must be a whole number from {least} up, got {str(value)[:40]!r}. Its default is {DEFAULTS[key]}."
        )
    return int(text)


def _check_switch(key: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise ConfigError(f"the setting '{key}' must be true or false, got {text[:40]!r}. Its default is {str(DEFAULTS[key]).lower()}.")
    return text == "true"


def check_key(key: str) -> None:
    """Raise ConfigError, naming the known keys, unless ``key`` is in :data:`DEFAULTS`."""
    if key not in DEFAULTS:
        raise ConfigError(
            f"there is no setting '{key[:80]}'{nearest(key, list(DEFAULTS))}. Known are {', '.join(DEFAULTS)}.".replace("?.", "?")
        )


def nearest(word: str, known: list[str]) -> str:
    """Return ``; did you mean 'x'?`` if a known word is close, else ""."""
    close = get_close_matches(word, known, n=1)
    return f"; did you mean '{close[0]}'?" if close else ""


def _read(path: Path) -> dict[str, Any]:
    try:
        document = parse_json(path.read_bytes()).value
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read '{path}': {error.strerror}. Check its permissions.") from None
    except NotJson as error:
        raise ConfigError(f"'{path}' is not valid JSON: {error}. Fix it or delete it.") from None
    if not isinstance(document, dict):
        raise ConfigError(f"'{path}' must hold a JSON object, got {type(document).__name__}. Fix it or delete it.")
    return document


def _write(path: Path, document: dict[str, Any]) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{path.name}.{os.getpid()}")
        partial.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, path)
    except OSError as error:
        raise ConfigError(f"cannot write '{path}': {error.strerror}. Check its permissions.") from None
