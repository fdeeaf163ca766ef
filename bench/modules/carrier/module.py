"""Takes large tensors and computes nothing: what is measured is how they are carried."""

from hubserve.module import ANY, TensorSpec, batch, moduleinfo


@moduleinfo(name="carrier", version="1.0.0", summary="Gives the first number of each item, or the whole of it")
class Carrier:
    """Module that returns its items, or the first number of each.

    Args:
        answer_whole: return each item unchanged, else its first number.
    """

    def __init__(self, answer_whole=False):
        self.answer_whole = answer_whole
        self.inputs = [TensorSpec("x", "float32", (ANY, ANY))]
        self.outputs = [TensorSpec("y", "float32", (ANY, ANY))]

    @batch(max_batch_size=1)
    def carry(self, x):
        """Map float32 (n, m) to float32 (n, 1) or (n, m)."""
        return x if self.answer_whole else x[:, :1]
