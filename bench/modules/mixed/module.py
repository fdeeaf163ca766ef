"""Takes small JSON arguments and large arrays, and answers both shortly."""

import numpy as np

from hubserve.module import ANY, JsonArray, TensorSpec, batch, moduleinfo, serving


@moduleinfo(name="mixed", version="1.0.0", summary="Doubles a number, or adds up an array")
class Mixed:
    """JSON ``{"number": n}`` -> 2n; a float32 array (n, 3, 224, 224) -> each item's sum."""

    def __init__(self):
        self.inputs = [TensorSpec("x", "float32", (ANY, 3, 224, 224))]
        self.outputs = [TensorSpec("total", "float64", (ANY,))]

    @batch(json=JsonArray("data", "about"), max_batch_size=8)
    def add_up(self, x):
        """Map float32 (n, 3, 224, 224) to float64 (n,)."""
        return x.sum(axis=(1, 2, 3), dtype=np.float64)

    @serving
    def double(self, number):
        """Return the double of a number."""
        return number * 2
