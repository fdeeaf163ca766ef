"""Preparation of a picture before it is classified: a list of steps, each a name and its arguments."""

import importlib
import sys

import cv2
import numpy as np
import six
from PIL import Image

STEPS = [{"Resize": {"short": 256}}, {"Crop": {"size": 224}}, {"Normalize": {}}, {"Transpose": None}]


def make_steps(wanted):
    here = importlib.import_module(__name__)
    steps = []
    for each in wanted:
        ((name, arguments),) = six.iteritems(each)
        steps.append(getattr(here, name)(**(arguments or {})))
    return steps


class Resize(object):
    def __init__(self, short):
        self.short = int(short) if isinstance(short, six.integer_types) else short

    def __call__(self, picture):
        height, width = picture.shape[:2]
        scale = float(self.short) / min(height, width)
        return cv2.resize(picture, (int(round(width * scale)), int(round(height * scale))))


class Crop(object):
    def __init__(self, size):
        self.size = size

    def __call__(self, picture):
        top, left = [np.int((side - self.size) // 2) for side in picture.shape[:2]]
        return picture[top : top + self.size, left : left + self.size]


class Normalize(object):
    def __call__(self, picture):
        mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
        return ((picture.astype("float32") / 255 - mean) / deviation).astype("float32")


class Transpose(object):
    def __call__(self, picture):
        return picture.transpose((2, 0, 1))
