"""Flags of ``hub serving start`` as settings, with and without a configuration file."""

import argparse
from pathlib import Path
from typing import Any

from hubserve.config_file.lenient_json import NotJson, parse_json
from hubserve.errors import ConfigError
from hubserve.settings import DEFAULT_PORT, Note, ServerSettings, log_note, parse_settings

#: flags that PaddleHub ignores beside ``-c``: attribute -> the flag, and the key that takes effect instead
_PADDLEHUB_FLAGS = {
    "modules": ("-m", "modules_info"),
    "modules_info": ("--modules_info", "modules_info"),
    "port": ("-p", "port"),
    "workers": ("-w", "workers"),
    "use_gpu": ("--use_gpu", "use_gpu"),
    "gpu": ("-i", "gpu"),
    "use_multiprocess": ("--use_multiprocess", "use_multiprocess"),
    "use_singleprocess": ("--use_singleprocess", "use_multiprocess"),
    "timeout": ("--timeout", "request_timeout_s"),
}
_FILE_FLAGS = ("tls_cert", "tls_key", "tls_client_ca", "access_keys", "admin_socket")
_OWN_FLAGS = (
    *_FILE_FLAGS,
    "host",
    "grpc_port",
    "metrics_port",
    "shared_memory",
    "admin",
    "admin_port",
    "allowed_hosts",
    "cors_origins",
    "model_store",
    "model_control",
    "load_model",
    "build_environments",
    "gpu_fallback",
    "access_log",
    "log_level",
    "log_format",
    "log_file",
    "status_codes",
    "trace_endpoint",
)
_ORIGIN = "command line"


def disregarded(args: argparse.Namespace) -> str:
    """Return one line about the flags that have no effect beside ``-c``, as in PaddleHub; "" if there are none."""
    given = [each for name, each in _PADDLEHUB_FLAGS.items() if (value := getattr(args, name)) is not None and value is not False]
    if not given:
        return ""
    flags, keys = ([each[index] for each in given] for index in (0, 1))
    does = "has" if len(given) == 1 else "have"
    return (
        f"{', '.join(flags)} {does} no effect beside -c, as in PaddleHub; "
        f"set {', '.join(repr(each) for each in dict.fromkeys(keys))} in '{args.config}'"
    )


def beside_config(args: argparse.Namespace) -> dict[str, Any]:
    """Return the settings of flags that override a configuration file: those that PaddleHub does not have."""
    from hubserve.registry.remotes import is_remote

    given = {name: value for name in _OWN_FLAGS if (value := getattr(args, name)) is not None}
    for name in _FILE_FLAGS:
        if given.get(name):
            given[name] = str(Path(given[name]).expanduser().absolute())
    if "model_store" in given:  # relative to the working directory, not to the file
        stores = given["model_store"]
        given["model_store"] = [each if is_remote(each) else str(Path(each).expanduser().absolute()) for each in stores]
    return given


def refuse_stray(words: list[str]) -> None:
    """Refuse words that do not belong to a flag, and name the missing flag.

    Raises:
        ConfigError: there are such words.
    """
    if not words:
        return
    if words[0] == "bert_service":
        raise ConfigError(
            "PaddleHub's Bert service is not part of hubserve. Serve the module itself, as in 'hub serving start -m NAME', "
            "and ask for embeddings at /predict/NAME"
        )
    if words[0].lower() in ("true", "false"):
        raise ConfigError(f"flags such as --use_gpu take no value, got '{words[0]}'. Give the flag without a value, or leave it out")
    raise ConfigError(f"'{words[0]}' does not belong to a flag. Give modules after -m: hub serving start -m {' '.join(words)}")


def settings_from_flags(args: argparse.Namespace, only: str | None = None, note: Note = log_note) -> ServerSettings:
    """Return the settings from the flags of ``start``.

    Args:
        args: the flags.
        only: leave out installed modules with other names, even if they are broken.
        note: called with a sentence for each PaddleHub flag that has another meaning here, or no effect.
    Raises:
        ConfigError: a flag's value is invalid.
    """
    from hubserve.registry.resolve import may_mean
    from hubserve.server.deployment import find_modules

    references = [each for each in args.modules or [] if only is None or may_mean(each, only)]
    raw = {"modules_info": _merge(find_modules(references), _modules_info(args.modules_info)), "use_gpu": args.use_gpu, "gpu": args.gpu}
    raw |= {"port": DEFAULT_PORT if args.port is None else args.port}
    own = {name: getattr(args, name) for name in _OWN_FLAGS}
    if not args.model_store and (args.model_control not in (None, "none") or args.load_model):
        raise ConfigError("--model-control and --load-model apply to the models of a --model-store; name one")
    # PaddleHub ignores --workers without --use_multiprocess; here --workers implies it
    raw |= own | {"use_multiprocess": True if args.use_multiprocess or args.workers is not None else None, "workers": args.workers}
    if args.use_singleprocess:
        raw["use_singleprocess"] = True
    if args.timeout is not None:
        raw["timeout"] = args.timeout
    return parse_settings(raw, _ORIGIN, note)


def _modules_info(text: str | None) -> dict[str, Any] | list[Any]:
    if text is None:
        return {}
    try:
        modules = parse_json(text.encode()).value
    except NotJson as error:
        raise ConfigError(f"--modules_info is not JSON: {error}") from None
    if not isinstance(modules, (dict, list)):
        raise ConfigError("--modules_info must be an object, such as '{\"lac\": {}}'")
    return modules


def _merge(named: dict[str, Any], described: dict[str, Any] | list[Any]) -> dict[str, Any] | list[Any]:
    """Lay the settings of ``--modules_info`` over the modules of ``-m``, whose versions they do not change."""
    if not named:
        return described
    if isinstance(described, list):
        raise ConfigError("--modules_info is a list, which cannot be merged with -m; leave -m out, or write an object of names")
    merged = {**named}
    for name, settings in described.items():
        own = settings if isinstance(settings, dict) else {}
        init_args = {**named.get(name, {}).get("init_args", {}), **(own.get("init_args") or {})}
        merged[name] = {**own, "init_args": init_args}
    return merged
