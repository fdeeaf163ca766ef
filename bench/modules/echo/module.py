"""What is sent comes back: measures everything but a model."""

from hubserve.module import ANY, TensorSpec, batch, moduleinfo


@moduleinfo(name="echo", version="1.0.0", author="hubserve", summary="Gives its tensor back", type="benchmark")
class Echo:
    """A module that costs nothing."""

    def __init__(self):
        self.inputs = [TensorSpec("x", "float32", (ANY, ANY))]
        self.outputs = [TensorSpec("y", "float32", (ANY, ANY))]

    @batch(max_batch_size=64)
    def give_back(self, x):
        """Return the same float32 (n, m)."""
        return {"y": x}
