"""Writes the models that these tests use, as whichever form of Paddle program FLAGS_enable_pir_api asks for: one folder each."""

import sys
from pathlib import Path

import paddle
from paddle import nn
from paddle.static import InputSpec


class Classifier(nn.Layer):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2D(3, 8, 3, stride=2), nn.BatchNorm2D(8)
        self.pool, self.head = nn.AdaptiveAvgPool2D(1), nn.Linear(8, 10)

    def forward(self, x):
        features = nn.functional.relu6(self.norm(self.conv(x)))
        return nn.functional.softmax(self.head(paddle.flatten(self.pool(features), 1)))


class TwoInputs(nn.Layer):
    """Several inputs and outputs, whose order a reader can get wrong, integers among them."""

    def __init__(self):
        super().__init__()
        self.embedding, self.head = nn.Embedding(8, 4), nn.Linear(4, 3)

    def forward(self, ids, mask):
        hidden = self.embedding(ids) * mask.unsqueeze(-1)
        mean = paddle.mean(hidden, axis=1)
        return nn.functional.softmax(self.head(mean)), ids + ids, mean


class NoWeights(nn.Layer):
    """Takes pictures of any size as bytes; has no parameters, so that Paddle writes no second file."""

    def forward(self, image):
        planes = paddle.transpose(paddle.cast(image, "float32"), [0, 3, 1, 2])
        return paddle.mean(nn.functional.interpolate(planes, size=[16, 16], mode="bilinear"), axis=[2, 3])


class Picky(nn.Layer):
    """Takes sequences of one length only, which its program does not tell."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(5, 2)

    def forward(self, x):
        return self.head(paddle.reshape(x, [-1, 5]))


MODELS = {
    "classifier": (Classifier, [InputSpec([None, 3, 32, 32], "float32", "x")]),
    "other_classifier": (Classifier, [InputSpec([None, 3, 32, 32], "float32", "x")]),
    "two_inputs": (TwoInputs, [InputSpec([None, None], "int64", "ids"), InputSpec([None, None], "float32", "mask")]),
    "no_weights": (NoWeights, [InputSpec([None, None, None, 3], "uint8", "image")]),
    "picky": (Picky, [InputSpec([None, None], "float32", "x")]),
}

if __name__ == "__main__":
    for seed, (name, (layer, spec)) in enumerate(MODELS.items()):
        paddle.seed(seed)
        model = layer()
        model.eval()
        paddle.jit.save(model, str(Path(sys.argv[1]) / name / "inference"), input_spec=spec)
