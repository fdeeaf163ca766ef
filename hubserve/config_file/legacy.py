"""Translate keys and forms of PaddleHub's ``config.json`` that hubserve names differently or ignores."""

from collections.abc import Callable
from typing import Any

from hubserve.errors import ConfigError

Note = Callable[[str], None]

#: keys of PaddleHub 1.5's list of modules, beside those that a module of ``modules_info`` has
_LIST_KEYS = ("module", "name", "version", "batch_size")
#: arguments that users often write beside ``init_args`` and ``predict_args`` instead of inside them
MISPLACED = {
    "version": "init_args",
    "directory": "init_args",
    "use_gpu": "init_args",
    "enable_mkldnn": "init_args",
    "batch_size": "predict_args",
}
_SWITCHES = ("use_gpu", "enable_mkldnn")
NO_TIMEOUT = "has no effect, as in PaddleHub, which does not read it; 'request_timeout_s' limits the time of a request"
NO_BATCH_SIZE = (
    "has no effect: requests are merged as far as that makes them faster, up to 'max_batch_size'; "
    "an argument 'batch_size' of the module belongs in 'predict_args'"
)


def modernise(raw: Any, origin: str, note: Note) -> Any:
    """Translate PaddleHub's older keys; everything else is unchanged.

    Args:
        raw: a decoded ``config.json``; not changed.
        origin: the source's name in messages, such as a file's path.
        note: called with a sentence for each key that has another meaning here, or no effect.
    Raises:
        ConfigError: an entry of a list of modules has no name, or the name of another entry.
    """
    if not isinstance(raw, dict):
        return raw
    raw = dict(raw)
    if "timeout" in raw:
        raw.pop("timeout")
        note(f"{origin}: 'timeout' {NO_TIMEOUT}")
    if "use_singleprocess" in raw:
        _translate_single_process(raw, origin, note)
    if isinstance(raw.get("modules_info"), list):
        raw["modules_info"] = _modules_of_list(raw["modules_info"], origin, note)
    if isinstance(raw.get("modules_info"), dict):
        raw["modules_info"] = {name: _with_switches(module, name, origin, note) for name, module in raw["modules_info"].items()}
    return raw


def _with_switches(module: Any, name: str, origin: str, note: Note) -> Any:
    """Convert the strings "true" and "false" of a module's switches to booleans, because Python treats any string as true."""
    if not isinstance(module, dict):
        return module
    module = dict(module)
    for section in ("init_args", "predict_args"):
        arguments = module.get(section)
        for key in _SWITCHES if isinstance(arguments, dict) else ():
            text = arguments.get(key)
            if isinstance(text, str) and text.strip().lower() in ("true", "false"):
                arguments = module[section] = {**arguments, key: text.strip().lower() == "true"}
                note(f'{origin}: modules_info.{name}.{section}.{key} is the string "{text}", and read as {text.strip().lower()}')
    return module


def _translate_single_process(raw: dict[str, Any], origin: str, note: Note) -> None:
    value = raw.pop("use_singleprocess")
    is_single = str(value).strip().lower() in ("true", "1")
    if not is_single and str(value).strip().lower() not in ("false", "0", "none", ""):
        raise ConfigError(f"{origin}: 'use_singleprocess' must be true or false, got {value!r}. Write \"use_multiprocess\": false or true")
    if raw.get("use_multiprocess") is not None:
        note(f"{origin}: 'use_singleprocess' has no effect beside 'use_multiprocess', which takes precedence")
    elif is_single:
        raw["use_multiprocess"] = False
        note(f"{origin}: 'use_singleprocess' is read as \"use_multiprocess\": false: one instance of each module")
    else:
        note(f"{origin}: 'use_singleprocess': false has no effect; 'workers' says how many instances each module has")


def _modules_of_list(listed: list[Any], origin: str, note: Note) -> dict[str, Any]:
    """Return ``modules_info`` as PaddleHub 1.6 and later write it: name to settings."""
    modules: dict[str, Any] = {}
    for index, entry in enumerate(listed):
        where = f"modules_info.{index}"
        name, settings = _entry(entry, where, origin, note)
        if name in modules:
            raise ConfigError(f"{origin}: {where} names '{name}' a second time; only one version of a module can be served on a port")
        modules[name] = settings
    return modules


def _entry(entry: Any, where: str, origin: str, note: Note) -> tuple[str, Any]:
    entry = {"module": entry} if isinstance(entry, str) else entry
    name = (entry.get("module") or entry.get("name")) if isinstance(entry, dict) else None
    if not isinstance(name, str) or not isinstance(entry, dict):
        raise ConfigError(f'{origin}: {where} does not name a module; write {{"NAME": {{"init_args": {{}}, "predict_args": {{}}}}}}')
    name, _, version = name.partition("==")
    version = entry.get("version") or version
    settings = {key: value for key, value in entry.items() if key not in _LIST_KEYS}
    if version:
        settings["init_args"] = {"version": str(version), **(settings.get("init_args") or {})}
    if "batch_size" in entry:
        note(f"{origin}: {where}.batch_size {NO_BATCH_SIZE}")
    return name.strip(), settings
