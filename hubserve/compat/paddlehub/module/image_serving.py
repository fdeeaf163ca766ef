"""``ImageServing``: pictures as base64 text in, what ``predict`` returns out."""

from typing import Any, List

from paddlehub.utils.utils import base64_to_cv2

from hubserve.module import serving


class ImageServing:
    """For modules with a method ``predict(images=..., ...)``."""

    predict: Any

    @serving
    def serving_method(self, images: List[str], **settings: Any) -> Any:
        """Pictures as base64 text; further keys of the request are arguments of ``predict``."""
        return self.predict(images=[base64_to_cv2(image) for image in images], **settings)
