"""Complete the configuration of a model of Triton's Python backend by the model itself, and describe the model by it."""

from pathlib import Path
from typing import Any, Dict

from hubserve.errors import LoadFailed
from hubserve.kinds.description import Description, Interface
from hubserve.kinds.module_failures import failures_named
from hubserve.kinds.triton.api.config import ModelConfig, using_decoupled_model_transaction_policy
from hubserve.kinds.triton.reshape import reshapes_of, why_impossible
from hubserve.types import ANY, BFLOAT16, BYTES, TensorSpec

_DTYPES = {
    "TYPE_BOOL": "bool",
    "TYPE_FP16": "float16",
    "TYPE_FP32": "float32",
    "TYPE_FP64": "float64",
    "TYPE_BF16": BFLOAT16,
    "TYPE_STRING": BYTES,
    **{f"TYPE_{kind.upper()}{bits}": f"{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
}


def complete(cls: Any, config: Dict[str, Any], model_name: str, model_file: Path) -> Dict[str, Any]:
    """Return the configuration with the additions of ``auto_complete_config``, and numbers in place of texts.

    Raises:
        LoadFailed: ``auto_complete_config`` failed, or returned something else.
    """
    completed = {"name": model_name, **config}
    if hasattr(cls, "auto_complete_config"):
        with failures_named(f"auto_complete_config() of '{model_file}' failed"):
            given = cls.auto_complete_config(ModelConfig(completed))
        if not isinstance(given, ModelConfig):
            raise LoadFailed(
                f"auto_complete_config() of '{model_file}' must return the ModelConfig that it was given, not {type(given).__name__}"
            )
        completed = given.to_dict()
    completed["max_batch_size"] = int(completed.get("max_batch_size") or 0)
    for which in ("input", "output"):
        completed[which] = [{**tensor, "dims": [int(length) for length in tensor.get("dims", [])]} for tensor in completed.get(which, [])]
    return completed


def describe(config: Dict[str, Any], model_name: str) -> Description:
    """Describe a model by its completed configuration.

    Raises:
        LoadFailed: the configuration has no output, or an impossible datatype or reshape.
    """
    batched = config["max_batch_size"] > 0
    if not config["output"]:
        raise LoadFailed(
            f"the configuration of '{model_name}' has no output. Add output [ {{ name: ... data_type: ... dims: [ ... ] }} ] to its "
            "config.pbtxt, or give its model an auto_complete_config() that does."
        )
    for which in ("input", "output"):
        for each in reshapes_of(config[which], batched).values():
            why = why_impossible(each.dims, each.shape)
            if why:
                raise LoadFailed(f"the configuration of '{model_name}': {which} '{each.name}': {why}")
    return Description(
        interfaces=[Interface.TENSORS],
        inputs=[_spec(tensor, batched, model_name) for tensor in config["input"]],
        outputs=[_spec(tensor, batched, model_name) for tensor in config["output"]],
        max_batch_size=max(1, config["max_batch_size"]),
        engine={"name": "python", "reason": "the model's configuration says so"},
        batched=batched,
        raw_requests=True,
        decoupled=using_decoupled_model_transaction_policy(config),
        optional=[tensor["name"] for tensor in config["input"] if tensor.get("optional")],
        ragged=[tensor["name"] for tensor in config["input"] if tensor.get("allow_ragged_batch")],
        config=config,
    )


def _spec(tensor: Dict[str, Any], batched: bool, model_name: str) -> TensorSpec:
    dtype = _DTYPES.get(tensor.get("data_type", ""))
    if dtype is None:
        raise LoadFailed(
            f"the configuration of '{model_name}' gives '{tensor.get('name')}' the data_type {tensor.get('data_type')!r}; "
            f"use one of {', '.join(_DTYPES)}"
        )
    return TensorSpec(tensor["name"], dtype, (*([ANY] if batched else []), *tensor["dims"]))
