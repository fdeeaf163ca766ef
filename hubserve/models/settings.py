"""Merge a module's settings: nested dicts as in PaddleClas's ``params.py``, over defaults, with ``init_args`` over both."""

from typing import Any, Dict, List, Mapping, Set

from hubserve.engines import EngineOptions
from hubserve.errors import ConfigError

Config = Dict[str, Any]

#: settings of loading a model
GLOBAL: Mapping[str, Any] = {
    # folder of inference.pdmodel + inference.pdiparams (or inference.json, or an .onnx file)
    "inference_model_dir": "model",
    # one of hubserve's engines, or auto: the fastest one that agrees with Paddle
    "engine": "auto",
    # the most items that are computed at once
    "batch_size": 8,
    # whether the first dimension of all inputs and outputs counts items; None: judged by the model's signature
    "batched": None,
    **{key: value for key, value in EngineOptions()._asdict().items() if key != "max_batch_size"},
    # None: this instance's share of the cores
    "cpu_num_threads": None,
    # in PaddleClas's params.py; without effect here
    "enable_profile": False,
    "enable_benchmark": False,
}


def merged(defaults: Mapping[str, Any], config: Mapping[str, Any], where: str = "") -> Config:
    """Lay a nested configuration over its defaults.

    Raises:
        ConfigError: it has a key that the defaults do not have.
    """
    result: Config = {key: merged(value, {}) if isinstance(value, Mapping) else value for key, value in defaults.items()}
    for key, value in config.items():
        if key not in defaults:
            raise ConfigError(f"params.py has an unknown setting '{where}{key}'; known ones there are {', '.join(defaults)}")
        nested = isinstance(defaults[key], Mapping) and isinstance(value, Mapping)
        result[key] = merged(defaults[key], value, f"{where}{key}.") if nested else value
    return result


def nullable(defaults: Mapping[str, Any]) -> Set[str]:
    """Return the keys of nested defaults whose value is None: the settings that may be None."""
    found: Set[str] = set()
    for key, value in defaults.items():
        found |= nullable(value) if isinstance(value, Mapping) else {key} if value is None else set()
    return found


def override(sections: List[Config], settings: Mapping[str, Any], module: str) -> None:
    """Set single settings, each in the first section that has it.

    Raises:
        TypeError: no section has it, as for a wrong argument.
    """
    for key, value in settings.items():
        section = next((each for each in sections if key in each), None)
        if section is None:
            known = ", ".join(name for each in sections for name in each)
            raise TypeError(f"{module} has no setting '{key}'; params.py has {known}")
        section[key] = value
