"""Sums its inputs, and tells what it was given."""

import json
import os
import time

import numpy as np
import triton_python_backend_utils as pb_utils

from .helper import total


class TritonPythonModel:
    def initialize(self, args):
        assert all(isinstance(value, str) for value in args.values())
        self.config = json.loads(args["model_config"])
        self.args = args
        self.kept = []
        output = pb_utils.get_output_config_by_name(self.config, "SUM")
        self.dtype = pb_utils.triton_string_to_numpy(output["data_type"])

    def execute(self, requests):
        arrays = [pb_utils.get_input_tensor_by_name(request, "A").as_numpy() for request in requests]
        what = json.loads(requests[0].parameters()).get("what", "")
        if what == "sleep":
            time.sleep(1)  # far longer than the deadlines of tests, also on a busy machine
        if what == "die":
            os._exit(3)
        if what == "short":
            return []
        if what == "none":
            return [None] * len(requests)
        if what == "wrong":
            return ["no response"] * len(requests)
        if any(np.isnan(array).any() for array in arrays):
            raise ValueError("there is a NaN in the batch")
        return [self.answer(request, array, len(requests)) for request, array in zip(requests, arrays, strict=True)]

    def answer(self, request, array, together):
        what = json.loads(request.parameters()).get("what", "")
        if (array < 0).any():
            return pb_utils.InferenceResponse(error=pb_utils.TritonError("below 0", pb_utils.TritonError.INVALID_ARG))
        addend = pb_utils.get_input_tensor_by_name(request, "B")
        array += 0  # what a model is given it may write to
        result = total(array) + (0 if addend is None else addend.as_numpy())
        seen = {
            "id": request.request_id(),
            "together": together,
            "parameters": json.loads(request.parameters()),
            "timeout": request.timeout(),
            "correlation_id": request.correlation_id(),
            "flags": request.flags(),
            "wanted": sorted(request.requested_output_names()),
            "unit": self.config["parameters"]["unit"]["string_value"],
            "args": {name: value for name, value in self.args.items() if name != "model_config"},
            "earlier": [each.tolist() for each in self.kept],
            "cancelled": request.is_cancelled(),
        }
        if what == "keep":
            self.kept = [array]
        tensors = [
            pb_utils.Tensor("SUM", result.astype(np.float64 if what == "float64" else self.dtype)),
            pb_utils.Tensor("SEEN", np.array([[json.dumps(seen)]] * len(array), dtype=np.object_)),
        ]
        if what == "missing":
            tensors.pop()
        if what == "unknown":
            tensors.append(pb_utils.Tensor("OTHER", result))
        if what == "numbers":
            tensors[1] = pb_utils.Tensor("SEEN", np.array([[1]], dtype=np.object_))
        return pb_utils.InferenceResponse(tensors, parameters={"count": int(array.size)})

    def finalize(self):
        print("pb_sum was finalized")
