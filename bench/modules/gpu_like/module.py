"""Takes as long as a GPU would: a fixed time for each batch, and a little more for each item in it."""

import time

import numpy as np

from hubserve.module import ANY, JsonArray, TensorSpec, batch, moduleinfo


@moduleinfo(name="gpu_like", version="1.0.0", summary="Sleeps 10 ms and 1 ms per item")
class GpuLike:
    """Module that returns each item's double and the number of items that were computed with it."""

    def __init__(self, batch_ms=10.0, item_ms=1.0):
        self.batch_ms, self.item_ms = batch_ms, item_ms
        self.inputs = [TensorSpec("x", "float32", (ANY, 1))]
        self.outputs = [TensorSpec("y", "float32", (ANY, 2))]

    @batch(json=JsonArray("data", "about"), max_batch_size=64)
    def double(self, x):
        """Map float32 (n, 1) to float32 (n, 2): the double, and n."""
        time.sleep((self.batch_ms + self.item_ms * len(x)) / 1000)
        return np.concatenate([x * 2, np.full_like(x, len(x))], axis=1)
