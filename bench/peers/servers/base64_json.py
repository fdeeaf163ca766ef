"""The classifier's request as hubserve, mosec's worker here and PaddleHub's module here take it: a base64 array in JSON."""

import base64
import json

import numpy as np

from bench.peers.exchange import Request
from bench.peers.servers.base import JSON, check_classes, read_json


def images_request(path: str, images: np.ndarray, *where: str) -> Request:
    """Return a request with a batch of images.

    Args:
        path: of the URL.
        images: float32 (N, 3, 224, 224).
        where: the keys of the answer under which the list of predictions lies.
    """
    data = base64.b64encode(images.tobytes()).decode()
    body = json.dumps({"images": data, "revert_params": {"shape": list(images.shape), "dtype": images.dtype.name}}).encode()

    def check(answer: bytes) -> None:
        check_classes([prediction["class_ids"][0] for prediction in read_json(answer, *where)], len(images))

    return Request(path, JSON, body, check, b'"class_ids"')
