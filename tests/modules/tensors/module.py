"""Gives back what it is sent, of every datatype that has a place in a batch."""

from hubserve.module import ANY, TensorSpec, batch, moduleinfo

DTYPES = (
    "bool",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint16",
    "uint32",
    "uint64",
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "bytes",
)


@moduleinfo(name="tensors", version="1.0.0", summary="Gives back tensors")
class Tensors:
    def __init__(self, dtype="int32"):
        self.inputs = [TensorSpec("a", dtype, (ANY, ANY)), TensorSpec("b", dtype, (ANY, 2))]
        self.outputs = [TensorSpec("b_again", dtype, (ANY, 2)), TensorSpec("a_again", dtype, (ANY, ANY))]
        self.output_labels = {"b_again": ["left", "right"]}

    @batch(max_batch_size=8)
    def same(self, a, b):
        return {"a_again": a, "b_again": b}
