"""Examples of modules with tensors; tests/behaviours/test_pages.py runs them."""

import json
import re
import shlex
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hubserve.gateway.dataplane import ServedModule
from hubserve.kinds.description import Description, Interface
from hubserve.pages.examples import example_of
from hubserve.types import ANY, BYTES, REST, TensorSpec


def command_for(*inputs: TensorSpec, needs_key: bool = False, **more: Any) -> str:
    described = Description(interfaces=[Interface.TENSORS], inputs=inputs, **more)
    plan = SimpleNamespace(sequences=None, predict_args={}, info=SimpleNamespace(serving_method=""))
    module = cast("ServedModule", SimpleNamespace(name="m 1", description=described, plan=plan))
    made = example_of(module, "http://here", needs_key=needs_key)
    return made.command if made else ""


def test_small_tensors_are_written_out() -> None:
    words = shlex.split(
        command_for(TensorSpec("x", "float32", (ANY, 2, REST)), TensorSpec("b", "bool", (1,)), TensorSpec("t", BYTES, (ANY,)))
    )
    assert words[:2] == ["curl", "-H"]
    assert words[-1] == "http://here/v2/models/m%201/infer"
    assert json.loads(words[-2])["inputs"] == [
        {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [0, 0]},
        {"name": "b", "datatype": "BOOL", "shape": [1], "data": [False]},
        {"name": "t", "datatype": "BYTES", "shape": [1], "data": ["some text"]},
    ]


def test_the_bytes_of_large_tensors_and_of_half_precision_come_behind_the_rest() -> None:
    command = command_for(TensorSpec("x", "float32", (ANY, 3, 8, 8)), TensorSpec("h", "float16", (1, 2)), TensorSpec("n", "int64", (1,)))
    found = re.fullmatch(r"\(printf %s '(.+)'; head -c (\d+) /dev/zero\) \| curl -H 'Inference-Header-Content-Length: (\d+)' .*", command)
    assert found
    assert (int(found[2]), int(found[3])) == (3 * 8 * 8 * 4 + 2 * 2, len(found[1]))
    assert '"n", "datatype": "INT64", "shape": [1], "data": [0]' in found[1]


def test_optional_inputs_are_left_out() -> None:
    assert '"y"' not in command_for(TensorSpec("x", "int32", (1,)), TensorSpec("y", "int32", (1,)), optional=["y"])


@pytest.mark.parametrize("spec", [TensorSpec("x", "float32", (1 << 20, 1 << 20)), TensorSpec("t", BYTES, (1 << 40,))])
def test_there_is_none_for_what_would_be_huge(spec: TensorSpec) -> None:
    assert command_for(spec) == ""


def test_a_key_comes_from_the_shell() -> None:
    assert command_for(TensorSpec("x", "int32", (1,)), needs_key=True).startswith('curl -H "X-API-Key: $HUB_API_KEY" -H ')
