"""Adds up the numbers of each sequence; says where, and with how many others."""

import os
import time

import numpy as np

from hubserve.module import ANY, TensorSpec, batch, moduleinfo


@moduleinfo(name="adder", version="1.0.0", summary="Adds up the numbers of sequences")
class Adder:
    def __init__(self, by="id", delay_s=0.0, gate=""):
        self.by = by
        self.delay_s, self.gate = delay_s, gate
        self.sums = {}
        self.inputs = [TensorSpec("x", "float32", (ANY, 1))]
        self.outputs = [TensorSpec(name, "float32", (ANY, 1)) for name in ("sum", "pid", "place", "together", "started", "ended")]

    @batch(max_batch_size=4)
    def add(self, x, START, END, READY, CORRID, SUM=None):
        time.sleep(self.delay_s)
        while self.gate and os.path.exists(self.gate):
            time.sleep(0.01)
        if np.isinf(x[READY[:, 0] == 1]).any():
            os._exit(9)
        answer = np.zeros_like(x)
        for place, number in enumerate(x[:, 0]):
            if not READY[place, 0]:
                continue
            if np.isnan(number):
                raise ValueError("not a number among the numbers")
            if self.by == "state":
                answer[place] = SUM[place] + number
                continue
            key = place if self.by == "place" else CORRID[place, 0]
            if START[place, 0]:
                self.sums[key] = 0.0
            self.sums[key] += number
            answer[place] = self.sums[key]
        places = np.arange(len(x), dtype=np.float32)[:, np.newaxis]
        together = np.full_like(x, READY.sum())
        told = {"place": places, "together": together, "started": START.astype(np.float32), "ended": END.astype(np.float32)}
        states = {"NEXT_SUM": answer} if self.by == "state" else {}
        return {"sum": answer, "pid": np.full_like(x, os.getpid()), **told, **states}
