"""Read settings from a ``config.json`` or other sources, and explain their mistakes."""

import difflib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from hubserve.config_file.legacy import MISPLACED, Note, modernise
from hubserve.config_file.lenient_json import NotJson, parse_json
from hubserve.config_file.values import plain_values
from hubserve.errors import ConfigError
from hubserve.settings.checks import check_settings
from hubserve.settings.module import REMOTE_FILES, ModuleSettings
from hubserve.settings.security import TLS_FILES
from hubserve.settings.server import ServerSettings

log = logging.getLogger("hubserve")

#: settings that name a file or a socket
_FILES = (*TLS_FILES, "access_keys", "access_log_file", "log_file", "admin_socket")


def log_note(text: str) -> None:
    """Log a note about a key whose meaning differs from PaddleHub's."""
    log.warning("%s", text)


def read_config(path: Path, flags: Mapping[str, Any] | None = None, note: Note = log_note) -> ServerSettings:
    """Read a ``config.json``.

    Args:
        path: the file.
        flags: settings that override the file's.
        note: called with a sentence for each of PaddleHub's keys that has another meaning, or none, here.
    Raises:
        ConfigError: it cannot be read, is not JSON, or has an unknown or wrong key; the message gives file, key, reason and the
            nearest known key.
    """
    raw = _load(path)
    return with_paths(parse_settings({**raw, **flags} if flags and isinstance(raw, dict) else raw, str(path), note), path)


def with_paths(settings: ServerSettings, config: Path) -> ServerSettings:
    """Resolve relative paths of files beside the configuration file; those of key files in the working directory first."""
    folder = config.absolute().parent
    files = {key: str(folder / value) for key in _FILES if (value := getattr(settings, key))}
    modules = {name: msgspec.structs.replace(module, **_key_files(module, folder)) for name, module in settings.modules_info.items()}
    return msgspec.structs.replace(settings, modules_info=modules, **files)


def _key_files(module: ModuleSettings, folder: Path) -> dict[str, str]:
    """Return the files of keys and certificates that are not in the working directory, with their paths."""
    named = {key: getattr(module, key) for key in ("token_file", *REMOTE_FILES)}
    return {key: str(folder / value) for key, value in named.items() if value and not Path(value).exists()}


def _load(path: Path) -> Any:
    try:
        return parse_json(path.read_bytes()).value
    except OSError as error:
        raise ConfigError(f"cannot read the configuration '{path}': {error.strerror}. Give the path of a config.json.") from None
    except NotJson as error:
        raise ConfigError(f"the configuration '{path}' is not JSON: {error}") from None


def parse_settings(raw: Any, origin: str, note: Note = log_note) -> ServerSettings:
    """Check settings from any source.

    Args:
        raw: decoded JSON.
        origin: name of the source in messages, such as a file's path.
        note: called with a sentence for each of PaddleHub's keys that has another meaning, or none, here.
    """
    raw = modernise(raw, origin, note)
    _refuse_unknown_keys(raw, ServerSettings, origin, "")
    settings = _convert(_plain(raw), origin)
    check_settings(settings, origin)
    return settings


def _convert(plain: Any, origin: str) -> ServerSettings:
    for name, module in plain["modules_info"].items() if isinstance(plain, dict) and isinstance(plain.get("modules_info"), dict) else ():
        try:  # each by itself, because msgspec's message does not name the key of a dict
            msgspec.convert(module, ModuleSettings, strict=False)
        except msgspec.ValidationError as error:
            raise ConfigError(f"{origin}: {_reason(error, f'modules_info.{name}')}") from None
    try:
        return msgspec.convert(plain, ServerSettings, strict=False)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{origin}: {_reason(error)}") from None


def _reason(error: msgspec.ValidationError, where: str = "") -> str:
    """Return msgspec's text with the whole path of the key, and what to write."""
    text, separator, key = str(error).partition(" - at `$")
    path = f"{where}{key.rstrip('`')}".lstrip(".")
    if "Expected `bool" in text:
        text += ", true or false"
    elif text.startswith("Expected `object") and where and not separator:
        text += ", such as {}"
    return f"{text} - at `{path}`" if path else f"{text} at the top"


def _plain(raw: Any) -> Any:
    plain = plain_values(raw, ServerSettings)
    if isinstance(plain, dict) and isinstance(plain.get("modules_info"), dict):
        modules = {name: plain_values({} if module is None else module, ModuleSettings) for name, module in plain["modules_info"].items()}
        plain["modules_info"] = modules
    return plain


def _refuse_unknown_keys(raw: Any, struct: type[msgspec.Struct], origin: str, path: str) -> None:
    if not isinstance(raw, dict):
        return  # the conversion says what is wrong
    known = struct.__struct_fields__
    for key, value in raw.items():
        if key not in known and struct is ModuleSettings and key in MISPLACED:
            place, text = MISPLACED[key], json.dumps({key: value}, ensure_ascii=False)
            raise ConfigError(f"{origin}: '{path}{key}' belongs into {place}; write \"{place}\": {text}")
        if key not in known:
            nearest = difflib.get_close_matches(str(key), known, n=1)
            meant = f"did you mean '{nearest[0]}'?" if nearest else f"known keys are {', '.join(known)}."
            raise ConfigError(f"{origin}: unknown key '{path}{key}'; {meant}")
    if struct is ServerSettings and isinstance(raw.get("modules_info"), dict):
        for name, module in raw["modules_info"].items():
            _refuse_unknown_keys(module, ModuleSettings, origin, f"modules_info.{name}.")
