"""A script whose model cannot be loaded."""

import logging
import os

import tiinfer


class Unready(tiinfer.Model):
    def __init__(self, model_dir):
        super().__init__(model_dir)
        self.model_dir = model_dir

    def load(self):
        try:
            with open(os.path.join(self.model_dir, "weights.bin"), "rb"):
                pass
        except Exception as e:
            logging.error("load model failed: %s", e)
            return False
        return True
