"""Doubles numbers, says which version did, and misbehaves when an item's code asks for it."""

import os
import time

import numpy as np

from hubserve.module import ANY, JsonArray, TensorSpec, batch, moduleinfo

HANG, LEAK, RAISE = 1, 2, 3


@moduleinfo(name="checked", version="1.0.0", summary="Doubles numbers; hangs, leaks and raises on request")
class Checked:
    """An item is a value, a code and the MiB to leak; its answer is the value's double."""

    def __init__(self, delay_ms=5.0):
        self.delay_ms = delay_ms
        self.leaked = []
        self.inputs = [TensorSpec("x", "float32", (ANY, 3))]
        self.outputs = [TensorSpec("y", "float32", (ANY, 1))]

    @batch(json=JsonArray("data", "about"), max_batch_size=4)
    def double(self, x):
        """Float32 (n, 3) -> float32 (n, 1)."""
        time.sleep(self.delay_ms / 1000)
        codes = x[:, 1].astype(int)
        if RAISE in codes:
            raise ValueError("an item asked for this error")
        while HANG in codes:
            time.sleep(60)
        for mebibytes in x[codes == LEAK, 2]:
            self.leaked.append(np.ones(int(mebibytes) << 20, np.uint8))
        return x[:, :1] * 2

    def postprocess(self, y, elapse_s):
        """One request's answer."""
        return {"y": y, "version": self.version, "pid": os.getpid(), "elapse_s": elapse_s}
