import base64

import cv2
import numpy as np


def base64_to_cv2(b64str):
    data = base64.b64decode(b64str.encode("utf8"))
    data = np.frombuffer(data, np.uint8)
    data = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return data


def cv2_to_base64(image):
    data = cv2.imencode(".png", image)[1]
    return base64.b64encode(data.tobytes()).decode("utf8")


def postprocess(image):
    grey = image.sum(axis=2)
    row, column = np.unravel_index(grey.argmax(), grey.shape)
    return {"data": image, "brightest": [row, column]}
