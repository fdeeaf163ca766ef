"""Image classification with any PaddleClas inference model."""

import sys

import numpy as np

from hubserve.models import ClassifierModule
from hubserve.models.classifier import read_picture
from hubserve.module import moduleinfo

if __package__:
    from .params import get_default_confg
else:  # run as a script
    from params import get_default_confg


@moduleinfo(
    name="clas_system",
    version="1.0.0",
    author="hubserve",
    summary="Classifies images: top-k classes and scores",
    type="cv/classification",
)
class ClasSystem(ClassifierModule):
    """Image classifier; see params.py for its settings."""

    get_config = staticmethod(get_default_confg)


if __name__ == "__main__":
    import os

    module = ClasSystem()
    module.directory = os.path.dirname(os.path.abspath(__file__))
    module._initialize()
    photo = read_picture(sys.argv[1]) if len(sys.argv) > 1 else np.full((300, 400, 3), 127, np.uint8)
    print(module.predict([module.preprocess(photo)]))
