import base64

import cv2
import numpy as np
from paddlehub.module.module import moduleinfo, serving


@moduleinfo(
    name="old_pictures", version="1.0.0", type="CV/test", author="x", author_email="", summary="fromstring and tostring around a picture"
)
class OldPictures:
    @serving
    def serving_method(self, images, **kwargs):
        found = []
        for text in images:
            data = np.fromstring(base64.b64decode(text.encode("utf8")), np.uint8)
            picture = cv2.imdecode(data, cv2.IMREAD_COLOR)
            data[0] = 0
            encoded = cv2.imencode(".png", picture)[1]
            found.append({"height": np.asscalar(np.array([picture.shape[0]])), "data": base64.b64encode(encoded.tostring()).decode("utf8")})
        return found
