"""What mosec serves in classifier.py."""

import os

import numpy as np
from classifier_engine import Classifier, decode
from mosec import Server, Worker


class ClassifierWorker(Worker):
    """The default classifier."""

    def __init__(self):
        super().__init__()
        self.classifier = Classifier(os.environ["CLASSIFIER_FOLDER"], os.environ["CLASSIFIER_ENGINE"])

    def deserialize(self, data):
        """Decode a request's body to float32 (N, 3, 224, 224)."""
        return decode(**super().deserialize(data))

    def forward(self, data):
        """Classify one request's images, or with batching a list of several requests'; return the answer, or a list of answers."""
        if not isinstance(data, list):
            return {"prediction": self.classifier.predict(data)}
        predictions = iter(self.classifier.predict(np.concatenate(data)))
        return [{"prediction": [next(predictions) for _ in images]} for images in data]


if __name__ == "__main__":
    server = Server()
    together = int(os.environ["REQUESTS_TOGETHER"])
    server.append_worker(ClassifierWorker, num=int(os.environ["WORKERS"]), max_batch_size=together, max_wait_time=1)
    server.run()
