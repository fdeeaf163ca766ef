"""Doubles numbers, many at once; says how many it was given together."""

import os
import time

import numpy as np

from hubserve.module import ANY, JsonArray, TensorSpec, batch, moduleinfo, serving


@moduleinfo(name="doubler", version="1.0.0", summary="Doubles numbers")
class Doubler:
    def __init__(self, delay_s=0.0, gate=""):
        self.delay_s, self.gate = delay_s, gate
        self.together = 0
        self.inputs = [TensorSpec("x", "float32", (ANY, ANY))]
        self.outputs = [TensorSpec("y", "float32", (ANY, ANY))]

    @batch(json=JsonArray("data", "about"), max_batch_size=16)
    def double(self, x):
        time.sleep(self.delay_s)
        while self.gate and os.path.exists(self.gate):
            time.sleep(0.01)
        if np.isnan(x).any():
            raise ValueError("not a number among the numbers")
        if np.isinf(x).any():
            os._exit(9)
        self.together = len(x)
        return x * 2

    def preprocess(self, picture):
        return picture.reshape(-1, 3).mean(axis=0).astype(np.float32)

    def postprocess(self, y, elapse_s):
        return {"y": y, "together": self.together}

    @serving
    def serve(self, numbers):
        return (np.asarray(numbers) * 2).tolist()
