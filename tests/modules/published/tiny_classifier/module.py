"""A classifier in the style of those for ImageNet: it tells whether a picture is red, green or blue."""

import os

import paddle
import paddle.nn as nn
import paddlehub.vision.transforms as T
from paddlehub.module.cv_module import ImageClassifierModule
from paddlehub.module.module import moduleinfo


@moduleinfo(
    name="tiny_classifier",
    type="CV/classification",
    author="hubserve",
    author_email="",
    summary="Tells colours apart.",
    version="1.0.0",
    meta=ImageClassifierModule,
)
class TinyClassifier(nn.Layer):
    def __init__(self, label_list: list = None, load_checkpoint: str = None):
        super(TinyClassifier, self).__init__()
        self.labels = label_list or ["red", "green", "blue"]
        self.pool = nn.AdaptiveAvgPool2D(1)
        self.fc = nn.Linear(3, 3)
        checkpoint = load_checkpoint or os.path.join(self.directory, "tiny.pdparams")
        self.set_dict(paddle.load(checkpoint))

    def transforms(self, images):
        steps = [T.Resize((32, 32)), T.CenterCrop(24), T.Normalize(mean=[0.5, 0.5, 0.5], std=[0.5, 0.5, 0.5])]
        return T.Compose(steps, to_rgb=True)(images)

    def forward(self, inputs):
        feature = paddle.flatten(self.pool(inputs), 1)
        return self.fc(feature), feature
