"""Examples of requests from the warm-up samples that a Triton model's configuration brings: its author knows what it computes."""

from pathlib import Path
from typing import Any

import orjson

from hubserve.errors import HubError
from hubserve.instance.warmup import item_of
from hubserve.protocols.open_inference.core.datatypes import DATATYPE_OF
from hubserve.protocols.open_inference.core.json_tensors import values_of
from hubserve.protocols.open_inference.core.signatures import Signature
from hubserve.protocols.openapi.examples import MOST_ELEMENTS


def warm_up_inputs(signature: Signature) -> list[dict[str, Any]] | None:
    """Return the inputs of a request with one item of the first sample; None if there is none, or it would be long."""
    plan = signature.module.plan
    samples = plan.instances[0].warm_up if plan.instances else None
    if not samples or not signature.inputs.keys() - signature.optional <= samples[0]["inputs"].keys() <= signature.inputs.keys():
        return None
    try:
        arrays = {name: item_of(name, about, Path(plan.folder or "")) for name, about in samples[0]["inputs"].items()}
    except HubError:  # such as of a model on another machine
        return None
    if sum(array.size for array in arrays.values()) > MOST_ELEMENTS:
        return None
    inputs = []
    for name, array in arrays.items():
        shape = [*([1] if signature.is_batched else []), *array.shape]
        datatype = DATATYPE_OF[signature.inputs[name].dtype]
        inputs.append({"name": name, "datatype": datatype, "shape": shape, "data": orjson.loads(values_of(array, datatype))})
    return inputs
