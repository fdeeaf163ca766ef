"""``ImageServing``: serve ``predict`` for pictures in base64."""

from typing import Any, List

from paddlehub.utils.utils import base64_to_cv2

from hubserve.module import serving


class ImageServing:
    """Serving method of modules with a method ``predict(images=..., ...)``."""

    predict: Any

    @serving
    def serving_method(self, images: List[str], **settings: Any) -> Any:
        """Call ``predict`` with pictures in base64; further keys of the request are arguments of ``predict``."""
        return self.predict(images=[base64_to_cv2(image) for image in images], **settings)
