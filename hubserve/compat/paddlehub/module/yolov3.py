"""``Yolov3Module``: boxes in pictures. It was written with an operator that Paddle no longer has; one published module uses it."""

from typing import Any

from paddlehub.module.image_serving import ImageServing
from paddlehub.module.not_trained import NotTrained
from paddlehub.module.run_module import RunModule

from hubserve.errors import UnsupportedFace


class Yolov3Module(NotTrained, RunModule, ImageServing):
    """Base class of modules with a ``predict`` of their own."""

    def predict(self, *_args: Any, **_settings: Any) -> Any:
        """Raise: this is not supported here."""
        raise UnsupportedFace(
            "Yolov3Module.predict is not offered: the operator it was written with, multiclass_nms, is no longer in Paddle. "
            "Give the module a predict method of its own, or serve an exported detection model"
        )
