"""``paddlehub.module.cv_module``: base classes of modules that take pictures, one file each."""

from paddlehub.module.image_classifier import ImageClassifierModule
from paddlehub.module.image_colorize import ImageColorizeModule
from paddlehub.module.image_segmentation import ImageSegmentationModule
from paddlehub.module.image_serving import ImageServing
from paddlehub.module.style_transfer import StyleTransferModule
from paddlehub.module.yolov3 import Yolov3Module

__all__ = [
    "ImageClassifierModule",
    "ImageColorizeModule",
    "ImageSegmentationModule",
    "ImageServing",
    "StyleTransferModule",
    "Yolov3Module",
]
