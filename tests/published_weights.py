"""``python tests/published_weights.py FOLDER``: makes the weights of the modules there; see published.py."""

import os
import sys
import warnings
from pathlib import Path

os.environ["FLAGS_enable_pir_api"] = "0"  # noqa: SIM112 - paddle spells it so; models are written in the older of Paddle's two formats, as published ones are
warnings.simplefilter("ignore")

import numpy as np  # noqa: E402 - the setting comes first
import paddle  # noqa: E402 - as above


class Words(paddle.nn.Layer):
    """The numbers of words -> probabilities of bad and good: word 0 is good, word 1 bad, word 2 neither."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = paddle.nn.Embedding(3, 2)
        self.embedding.weight.set_value(np.array([[-1, 3], [3, -1], [0, 0]], "float32"))

    def forward(self, words):
        return paddle.nn.functional.softmax(self.embedding(words).mean(axis=[0, 1]).reshape([1, 2]))


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    strongest = np.eye(3, dtype="float32") * 20
    paddle.save({"fc.weight": paddle.to_tensor(strongest), "fc.bias": paddle.zeros([3])}, str(folder / "tiny_classifier" / "tiny.pdparams"))
    weights = {"head.weight": paddle.to_tensor(strongest.reshape(3, 3, 1, 1)), "head.bias": paddle.zeros([3])}
    paddle.save(weights, str(folder / "tiny_segmentation" / "tiny.pdparams"))
    words = paddle.jit.to_static(Words(), [paddle.static.InputSpec([-1, 1], "int64", "words")])
    paddle.jit.save(words, str(folder / "tiny_senti" / "infer_model"))
