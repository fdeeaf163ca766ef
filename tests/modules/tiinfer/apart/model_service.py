"""Shows on which object and in which thread each method runs, and whether several requests are prepared at once."""

import contextlib
import os
import threading

import tiinfer

_MEETING = threading.Barrier(2)


class Apart(tiinfer.Model):
    def __init__(self, model_dir):
        super().__init__(model_dir)
        self.loaded = False

    def load(self):
        self.loaded = True
        return True

    def preprocess(self, request):
        at_once = 1
        if os.environ.get("TI_PREPROCESS_NUMS", "1") != "1":
            with contextlib.suppress(threading.BrokenBarrierError):
                _MEETING.wait(20)
                at_once = 2
        return {
            "prepared_at_once": at_once,
            "n": request["n"],
            "preprocess": [self.loaded, threading.current_thread() is threading.main_thread()],
        }

    def predict(self, requests):
        return [{**each, "predict": [self.loaded, len(requests)]} for each in requests]

    def postprocess(self, request):
        return {**request, "postprocess": [self.loaded, threading.current_thread() is threading.main_thread()]}
