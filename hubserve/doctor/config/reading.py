"""Reading a configuration with mistakes: each of them is a finding, and the other keys are usable."""

from pathlib import Path
from typing import Any

from hubserve.config_file.lenient_json import NotJson, parse_json
from hubserve.doctor.findings import ERROR, NOTE, WARNING, Finding
from hubserve.errors import ConfigError
from hubserve.settings import parse_settings
from hubserve.settings.module import REMOTE_FILES


def read_document(path: Path) -> tuple[dict[str, Any], list[Finding]]:
    """Return the file's object, and findings about duplicate keys and deviations from JSON."""
    findings: list[Finding] = []

    def collect(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                findings.append(Finding(WARNING, key, "the key occurs twice; the last value is used", "Remove one of them", str(path)))
            seen.add(key)
        return dict(pairs)

    try:
        document = parse_json(path.read_bytes(), collect)
    except OSError as error:
        raise ConfigError(f"it cannot be read: {error.strerror}") from None
    except NotJson as error:
        raise ConfigError(f"it is not JSON: {error}") from None
    if not isinstance(document.value, dict):
        raise ConfigError("it must hold a JSON object")
    if document.liberties:
        reason = f"it has {' and '.join(document.liberties)}, which JSON does not allow: PaddleHub and other programs cannot read it"
        findings.append(Finding(NOTE, "config.json", reason, "", str(path)))
    return document.value, findings


def as_finding(note: str, path: Path) -> Finding:
    """Turn a note of the configuration reader into a finding about its key."""
    text = note.removeprefix(f"{path}: ")
    return Finding(NOTE, text.partition(" ")[0].strip("':"), text, "", str(path))


def without_wrong_keys(raw: dict[str, Any], path: Path) -> tuple[dict[str, Any], list[Finding]]:
    """Check each key by itself, so that all wrong ones are found at once.

    Returns:
        The valid settings, and findings about the others.
    """
    usable: dict[str, Any] = {}
    found: list[Finding] = []
    for key, value in raw.items():
        if key == "modules_info" and isinstance(value, dict):
            usable[key] = {}
            for name, module in value.items():
                if isinstance(module, dict) or module is None:
                    usable[key][name] = _usable_module(name, module or {}, path, found)
                else:
                    reason = _problem({"modules_info": {name: module}}, path)
                    found.append(Finding(ERROR, f"modules_info.{name}", reason, "Write an object, such as {}", str(path)))
        elif reason := _problem({"modules_info": {"x": {}}, key: value}, path):
            found.append(Finding(ERROR, key, reason, "Rename, fix or remove the key", str(path)))
        else:
            usable[key] = value
    return usable, found


def _usable_module(name: str, module: dict[str, Any], path: Path, found: list[Finding]) -> dict[str, Any]:
    usable = {}
    for key, value in module.items():
        # addresses require a token file, which has its own key and check
        tried = {"token_file": "x", key: value} if key == "addresses" else {key: value}
        if key in REMOTE_FILES:  # all of them or none
            tried = {**dict.fromkeys(REMOTE_FILES, "x"), key: value}
        if reason := _problem({"modules_info": {name: tried}}, path):
            found.append(Finding(ERROR, f"modules_info.{name}.{key}", reason, "Rename, fix or remove the key", str(path)))
        else:
            usable[key] = value
    return usable


def _problem(raw: dict[str, Any], path: Path) -> str:
    """Return what is wrong with settings; "" if nothing is."""
    try:
        parse_settings(raw, str(path))
    except ConfigError as error:
        return without_path(error, path)
    return ""


def without_path(error: ConfigError, path: Path) -> str:
    """Return the text of an error without the path of the file, which a finding has of its own."""
    return error.message.removeprefix(f"{path}: ")
