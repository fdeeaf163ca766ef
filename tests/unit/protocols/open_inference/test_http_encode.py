import json

import numpy as np

from hubserve.protocols.open_inference.core.types import InferResult, OutputTensor
from hubserve.protocols.open_inference.http.encode import write_result
from hubserve.protocols.open_inference.http.generate import write_generate

HALF = "half a character: \ud800"


def test_parameters_of_a_response_may_hold_any_text() -> None:
    result = InferResult("m", "1", "", [OutputTensor("y", "FP32", (1,), np.ones(1, np.float32))], {"why": HALF, "sure": 0.5})
    (head,), length = write_result(result, binary_default=False)
    assert length is None
    assert json.loads(head)["parameters"] == {"why": HALF, "sure": 0.5}
    assert json.loads(write_generate(result)) == {"model_name": "m", "model_version": "1", "why": HALF, "sure": 0.5, "y": 1.0}
