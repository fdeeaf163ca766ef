import os
import sys

sys.path.insert(0, ".")

import time

import numpy as np
import paddle.nn as nn
from paddlehub.module.module import moduleinfo, serving

from python.predict_cls import Classifier
from serving.clas.params import get_default_settings
from utils import config
from utils.arrays import from_text


@moduleinfo(name="guide_clas", version="1.0.0", summary="classifies, as a guide has it", author="tests", author_email="", type="cv/class")
class GuideClas(nn.Layer):
    def __init__(self, use_gpu=None, enable_mkldnn=None):
        settings = config.settings_of(get_default_settings())
        if use_gpu:
            os.environ["CUDA_VISIBLE_DEVICES"]
        self.classifier = Classifier(settings)

    def predict(self, inputs):
        start = time.time()
        found = self.classifier.predict(inputs)
        return {"prediction": found, "elapse": time.time() - start}

    @serving
    def serving_method(self, images, revert_params):
        return self.predict(list(from_text(images, revert_params)))


if __name__ == "__main__":
    import cv2
    import paddlehub as hub
    from python.pictures import STEPS, make_steps

    module = hub.Module(name="guide_clas")
    picture = cv2.imread(sys.argv[1])[:, :, ::-1]
    for step in make_steps(STEPS):
        picture = step(picture)
    found = module.predict([picture])
    print("The returned result of {}: {}".format(sys.argv[1], found))
