"""Arrays as texts of JSON."""

import base64

import numpy as np


def to_text(array):
    return base64.b64encode(array.tostring()).decode("utf8"), array.shape


def from_text(text, about):
    data = base64.b64decode(text.encode("utf8"))
    return np.fromstring(data, dtype=about["dtype"]).reshape(about["shape"])
