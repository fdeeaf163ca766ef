"""Waits without holding others up, and tells how many wait."""

import asyncio

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    running = 0
    most = 0

    async def execute(self, requests):
        self.running += len(requests)
        self.most = max(self.most, self.running)
        for request in requests:
            wait = float(pb_utils.get_input_tensor_by_name(request, "WAIT").as_numpy()[0])
            if wait < 0:
                self.running -= 1
                raise ValueError("time runs forwards")
            await asyncio.sleep(wait)
            response = pb_utils.InferenceResponse([pb_utils.Tensor("RUNNING", np.array([self.most], np.int32))])
            request.get_response_sender().send(response, pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        self.running -= len(requests)
