"""What the real PaddleHub serves in classifier.py: a module of its own form."""

import os
import time

from classifier_engine import Classifier, decode
from paddlehub.module.module import moduleinfo, serving


@moduleinfo(
    name="paddlehub_classifier", version="1.0.0", author="hubserve", author_email="", summary="Classifies images", type="cv/classification"
)
class PaddleHubClassifier:
    """The default classifier."""

    def __init__(self, enable_mkldnn=False):
        self.classifier = Classifier(os.environ["CLASSIFIER_FOLDER"], onednn=enable_mkldnn)

    @serving
    def serving_method(self, images, revert_params):
        """Map base64 of float32 (N, 3, 224, 224), its shape and dtype to one prediction per image."""
        start = time.time()
        return {"prediction": self.classifier.predict(decode(images, revert_params)), "elapse": time.time() - start}
