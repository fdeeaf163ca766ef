"""Takes pictures inside lists as PaddleHub's style modules do, with PaddleHub's own decoder; tells the mean colour of each."""

import functools

from paddlehub.module.module import moduleinfo, serving
from paddlehub.utils.utils import base64_to_cv2


def logged(method):
    @functools.wraps(method)
    def wrapper(*args, **kwargs):
        return method(*args, **kwargs)

    return wrapper


@moduleinfo(name="collage", version="1.0.0", summary="Mean colours")
class Collage:
    def means(self, images, scale=1.0, upside_down=False):
        listed = [[base64_to_cv2(each).reshape(-1, 3).mean(axis=0).round(3) * scale for each in row] for row in images]
        return listed[::-1] if upside_down else listed

    @serving
    @logged
    def serving_method(self, images, note="", **kwargs):
        rows = images if isinstance(images[0], list) else [images]
        return {"means": self.means(rows, **kwargs), "note": note}
