"""A script of the usual form: three methods, each of which gets what the one before returned."""

import logging
import os
from typing import Dict

import tiinfer
from net import Net


class Chain(tiinfer.Model):
    """Doubles numbers."""

    def __init__(self, model_dir: str):
        super().__init__(model_dir)
        self.model_dir = model_dir
        self.model_name = "chain"
        self.model = None

    def load(self) -> bool:
        self.model = Net()
        with open(os.path.join(self.model_dir, "net.py")) as file:
            logging.info("%d bytes", len(file.read()))
        return True

    def preprocess(self, request: Dict) -> Dict:
        if not isinstance(request, dict):
            return {"error": "not an object: %s" % type(request).__name__}
        if "exit" in request:
            os._exit(3)
        if "numbers" not in request:
            return {"error": "invalid param"}
        return {"instances": request["numbers"]}

    def predict(self, request: Dict) -> Dict:
        if "instances" not in request:
            return request
        return {"outputs": [self.model(each) for each in request["instances"]]}

    def postprocess(self, request: Dict) -> Dict:
        if "outputs" not in request:
            return request
        return {"result": {"name": self.model_name, "first": request["outputs"][0], "process": os.getpid()}}
