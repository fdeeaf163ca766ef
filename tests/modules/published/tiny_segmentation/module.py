"""A segmentation in the style of those for Cityscapes: the class of a pixel is its strongest colour."""

import os

import paddle
import paddle.nn as nn
import paddlehub.vision.segmentation_transforms as T
from paddlehub.module.cv_module import ImageSegmentationModule
from paddlehub.module.module import moduleinfo


@moduleinfo(
    name="tiny_segmentation", type="CV/semantic_segmentation", summary="Finds colours.", version="1.0.0", meta=ImageSegmentationModule
)
class TinySegmentation(nn.Layer):
    def __init__(self, pretrained: str = None):
        super(TinySegmentation, self).__init__()
        self.head = nn.Conv2D(3, 3, 1)
        self.transforms = T.Compose([T.Resize((24, 16)), T.Padding((32, 32)), T.Normalize()])
        self.set_dict(paddle.load(pretrained or os.path.join(self.directory, "tiny.pdparams")))

    def transform(self, img):
        return self.transforms(img)

    def forward(self, x):
        return [self.head(x)]
