"""Counts its requests in metrics of its own."""

import os
import time

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def initialize(self, args):
        self.done = pb_utils.MetricFamily(name="toy_done", description="Requests that were\nanswered", kind=pb_utils.MetricFamily.COUNTER)
        self.none = self.done.Metric(labels={"what": "nothing"})
        self.open = pb_utils.MetricFamily(name="toy_open", description="Added to", kind=pb_utils.MetricFamily.GAUGE).Metric()
        self.level = pb_utils.MetricFamily(name="toy_level", description="Set", kind=pb_utils.MetricFamily.GAUGE).Metric({"place": "here"})
        sizes = pb_utils.MetricFamily(name="toy_sizes", description="Letters", kind=pb_utils.MetricFamily.HISTOGRAM)
        self.sizes = sizes.Metric(labels={}, buckets=[2, 5.5])
        self.open.increment(3)

    def execute(self, requests):
        return [self.answer(pb_utils.get_input_tensor_by_name(request, "WHAT").as_numpy()[0].decode()) for request in requests]

    def answer(self, what):
        if not what:  # the warm-up
            return self.response()
        if what == "die":
            os._exit(3)
        if what == "many":
            for number in range(2000):
                self.done.Metric(labels={"what": f"number {number}"}).increment(1)
        elif what.startswith("set "):
            self.level.set(float(what[4:]))
        else:
            time.sleep(0.05)
            self.done.Metric(labels={"what": what}).increment(1.5)
            self.sizes.observe(len(what))
        return self.response()

    def response(self):
        return pb_utils.InferenceResponse([pb_utils.Tensor("PID", np.array([os.getpid()]))])
