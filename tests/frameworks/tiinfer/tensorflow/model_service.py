"""Digits by TensorFlow, with the imports and calls that scripts of tiinfer make."""

import base64
import logging
import os
import urllib
from typing import Dict

import cv2  # noqa: F401 - scripts import it whether they use it or not
import numpy as np
import tensorflow as tf
import tiinfer

MODEL_PATH = "model"


class Digits(tiinfer.Model):
    def __init__(self, model_dir: str):
        super().__init__(model_dir)
        self.model_dir = model_dir
        self.model_name = "digits-tf"
        self.model = None

    def load(self) -> bool:
        try:
            tf.config.set_soft_device_placement(True)
            for gpu in tf.config.experimental.list_physical_devices("GPU"):
                tf.config.experimental.set_memory_growth(gpu, True)
            self.model = tf.keras.models.load_model(os.path.join(self.model_dir, MODEL_PATH))
            self.model.summary()
        except Exception as e:
            logging.error("load model failed: %s", e)
            return False
        return True

    def preprocess(self, request: Dict) -> Dict:
        try:
            if "images" not in request:
                return {"error": "invalid param"}
            pictures = []
            for data in request["images"]:
                content = urllib.request.urlopen(data).read() if data.startswith("http") else base64.b64decode(data)
                picture = tf.image.resize(tf.io.decode_jpeg(content, channels=3), [28, 28])
                pictures.append(tf.expand_dims(tf.image.rgb_to_grayscale(picture), 0))
            return {"instances": pictures}
        except Exception as e:
            logging.error("Preprocess failed: %s", e)
            return {"error": "preprocess failed", "message": str(e)}

    def predict(self, request: Dict) -> Dict:
        if "instances" not in request:
            return request
        try:
            output = self.model.predict(tf.concat(request["instances"], 0))
            return {"result": {"model_name": self.model_name, "pred": int(np.argmax(output, 1)[0])}}
        except Exception as e:
            logging.error("Failed to predict %s", e)
            request.pop("instances", "")
            request["predict_err"] = str(e)
            return request
