"""Digits by PyTorch, with the imports and calls that scripts of tiinfer make."""

import base64
import logging
import os
import urllib
from typing import Dict

import cv2
import numpy as np
import tiinfer
import torch
from net import Net
from torchvision import transforms

WEIGHTS = "model/mnist_cnn.pt"


class Digits(tiinfer.Model):
    def __init__(self, model_dir: str):
        super().__init__(model_dir)
        self.model_dir = model_dir
        self.model_name = "digits-torch"
        self.model = None
        self.use_gpu = torch.cuda.is_available()
        self.device = torch.device("cuda:0" if self.use_gpu else "cpu")
        self.prepare = transforms.Compose([transforms.Resize((28, 28)), transforms.Grayscale()])
        self.normalize = transforms.Normalize(mean=0.1307, std=0.3081)

    def load(self) -> bool:
        try:
            if self.use_gpu:
                import torchnvjpeg

                self.decoder = torchnvjpeg.Decoder()
            model = Net().to(self.device)
            model.load_state_dict(torch.load(os.path.join(self.model_dir, WEIGHTS), map_location=self.device))
            model.eval()
            self.model = model
        except Exception as e:
            logging.error("load model failed: %s", e)
            return False
        return True

    def preprocess(self, request: Dict) -> Dict:
        try:
            if "images" not in request:
                return {"error": "invalid param"}
            inputs = []
            for data in request["images"]:
                content = urllib.request.urlopen(data).read() if data.startswith("http") else base64.b64decode(data)
                picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
                tensor = self.prepare(torch.Tensor(picture).permute((2, 0, 1))).type(torch.float32) / 255
                inputs.append(self.normalize(tensor).unsqueeze(0))
            return {"instances": inputs}
        except Exception as e:
            logging.error("Preprocess failed: %s", e)
            return {"error": "preprocess failed"}

    def predict(self, request: Dict) -> Dict:
        if "instances" not in request:
            return request
        with torch.no_grad():
            return {"pred_out": self.model(torch.cat(request["instances"], dim=0)).argmax(dim=1).tolist()}

    def postprocess(self, request: Dict) -> Dict:
        if "pred_out" not in request:
            return request
        return {"result": {"model_name": self.model_name, "pred": request["pred_out"][0]}}
