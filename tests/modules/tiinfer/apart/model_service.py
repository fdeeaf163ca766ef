"""Shows on which object and in which thread each method runs."""

import threading
import time

import tiinfer


class Apart(tiinfer.Model):
    def __init__(self, model_dir):
        super().__init__(model_dir)
        self.loaded = False

    def load(self):
        self.loaded = True
        return True

    def preprocess(self, request):
        time.sleep(0.2)
        return {"n": request["n"], "preprocess": [self.loaded, threading.current_thread() is threading.main_thread()]}

    def predict(self, requests):
        return [{**each, "predict": [self.loaded, len(requests)]} for each in requests]

    def postprocess(self, request):
        return {**request, "postprocess": [self.loaded, threading.current_thread() is threading.main_thread()]}
