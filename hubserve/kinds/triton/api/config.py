"""Read configurations, and complete them in ``auto_complete_config``."""

import copy
import json
import os
from typing import Any, Dict, List, Optional

from hubserve.kinds.triton.api.errors import WrongConfig
from hubserve.kinds.triton.api.texts import text_of

_INPUT_KEYS = ("name", "data_type", "dims", "optional")
_OUTPUT_KEYS = ("name", "data_type", "dims")
_model_dir: List[str] = []


def set_model_dir(folder: str) -> None:
    """Set the folder of the model's version."""
    _model_dir[:] = [folder]


def get_model_dir() -> str:
    """Return the folder of the model's version."""
    return _model_dir[0] if _model_dir else os.getcwd()


def get_input_config_by_name(model_config: Dict[str, Any], name: str) -> Optional[Dict[str, Any]]:
    """Return an input's part of a configuration; None if the name is unknown."""
    return _named(model_config.get("input", []), name)


def get_output_config_by_name(model_config: Dict[str, Any], name: str) -> Optional[Dict[str, Any]]:
    """Return an output's part of a configuration; None if the name is unknown."""
    return _named(model_config.get("output", []), name)


def using_decoupled_model_transaction_policy(model_config: Dict[str, Any]) -> bool:
    """Return True for a decoupled model."""
    return bool((model_config.get("model_transaction_policy") or {}).get("decoupled", False))


def _named(tensors: List[Dict[str, Any]], name: str) -> Optional[Dict[str, Any]]:
    name = text_of(name)
    return next((tensor for tensor in tensors if tensor.get("name") == name), None)


class ModelConfig:
    """A configuration that may be completed; values that it has already stay.

    Args:
        model_config: the configuration as a JSON text or a dict.
    """

    def __init__(self, model_config: Any) -> None:
        is_text = isinstance(model_config, (str, bytes))
        self._model_config: Dict[str, Any] = json.loads(model_config) if is_text else copy.deepcopy(model_config)

    def as_dict(self) -> Dict[str, Any]:
        """Return the configuration itself, with empty lists for absent inputs or outputs."""
        for name, nothing in (("input", []), ("output", []), ("max_batch_size", 0)):
            self._model_config.setdefault(name, nothing)
        return self._model_config

    def to_dict(self) -> Dict[str, Any]:
        """Return the configuration as it is."""
        return self._model_config

    def set_max_batch_size(self, max_batch_size: int) -> None:
        """Set the most items in one batch.

        Raises:
            WrongConfig: the configuration sets a lower number.
        """
        set_to = int(self._model_config.get("max_batch_size") or 0)
        if set_to and set_to < int(max_batch_size):
            raise WrongConfig(f"the configuration sets max_batch_size {set_to}, which is below {max_batch_size}; change one of them")
        self._model_config["max_batch_size"] = int(max_batch_size)

    def set_dynamic_batching(self) -> None:
        """Enable dynamic batching.

        Raises:
            WrongConfig: the configuration has another scheduler.
        """
        for other in ("sequence_batching", "ensemble_scheduling"):
            if other in self._model_config:
                raise WrongConfig(f"the configuration has {other}; it cannot have dynamic_batching, too")
        self._model_config.setdefault("dynamic_batching", {})

    def set_model_transaction_policy(self, transaction_policy_dict: Dict[str, Any]) -> None:
        """Set whether the model is decoupled.

        Args:
            transaction_policy_dict: ``{"decoupled": true or false}``.
        Raises:
            WrongConfig: it has other keys, or contradicts the configuration.
        """
        _only_keys(transaction_policy_dict, ("decoupled",), "a transaction policy")
        set_to = self._model_config.get("model_transaction_policy")
        wanted = bool(transaction_policy_dict.get("decoupled", False))
        if set_to and bool(set_to.get("decoupled", False)) != wanted:
            raise WrongConfig(
                f"the configuration sets model_transaction_policy {set_to}, and the model {transaction_policy_dict}; change one of them"
            )
        self._model_config["model_transaction_policy"] = {"decoupled": wanted}

    def add_input(self, input: Dict[str, Any]) -> None:  # noqa: A002 - as models name it
        """Add an input, or complete the one of its name.

        Args:
            input: ``name``, ``data_type``, ``dims``, and ``optional`` if it may be left out.
        Raises:
            WrongConfig: it has other keys, lacks one, or contradicts the configuration.
        """
        self._add("input", input, _INPUT_KEYS)

    def add_output(self, output: Dict[str, Any]) -> None:
        """Add an output, or complete the one of its name; as :meth:`add_input`."""
        self._add("output", output, _OUTPUT_KEYS)

    def _add(self, which: str, tensor: Dict[str, Any], keys: Any) -> None:
        _only_keys(tensor, keys, f"an {which}")
        for key in ("name", "data_type", "dims"):
            if key not in tensor:
                raise WrongConfig(f"{which} '{tensor.get('name', '')}' has no {key}, which auto_complete_config must give")
        listed = self._model_config.setdefault(which, [])
        known = _named(listed, tensor["name"])
        if known is None:
            listed.append(dict(tensor))
            return
        for key, value in tensor.items():
            set_to = known.get(key)
            if set_to in (None, [], "", "TYPE_INVALID", False):
                known[key] = value
            elif _plain(set_to) != _plain(value):
                raise WrongConfig(
                    f"{which} '{tensor['name']}': the configuration sets {key} {set_to!r}, and auto_complete_config() {value!r}; change one"
                )


def _plain(value: Any) -> Any:
    return [int(each) for each in value] if isinstance(value, (list, tuple)) else value


def _only_keys(given: Dict[str, Any], keys: Any, what: str) -> None:
    for key in given:
        if key not in keys:
            raise WrongConfig(f"{what} has no property '{key}'; it has {', '.join(keys)}")
