"""Doubles numbers; hangs once, leaks, or has memory for few items only, as it is told."""

import os
import time

import numpy as np

from hubserve.module import ANY, JsonArray, TensorSpec, batch, moduleinfo


@moduleinfo(name="moody", version="1.0.0", summary="Has its moods")
class Moody:
    def __init__(self, hangs_once="", leaks_mb=0, most_items=16):
        self.hangs_once, self.leaks_mb, self.most_items = hangs_once, leaks_mb, most_items
        self.leaked = []
        self.inputs = [TensorSpec("x", "float32", (ANY, ANY))]
        self.outputs = [TensorSpec("y", "float32", (ANY, ANY))]

    @batch(json=JsonArray("data", "about"), max_batch_size=16)
    def double(self, x):
        if len(x) > self.most_items:
            raise MemoryError(f"no room for {len(x)}")
        if self.hangs_once and not os.path.exists(self.hangs_once):
            open(self.hangs_once, "w").close()
            time.sleep(600)
        if self.leaks_mb:
            self.leaked.append(np.ones(self.leaks_mb << 20, np.uint8))
        time.sleep(0.02)
        return x * 2

    def postprocess(self, y, elapse_s):
        return {"y": y, "pid": os.getpid()}
