"""Parses arguments while it is imported; writes the request's content to its second socket, or forks."""

import argparse
import os

import numpy as np
import triton_python_backend_utils as pb_utils

parser = argparse.ArgumentParser()
parser.add_argument("--size", type=int, default=3)
OPTIONS = parser.parse_args()


def sockets():
    found = []
    for name in sorted(os.listdir("/proc/self/fd"), key=int):
        try:
            found += [int(name)] if os.readlink(f"/proc/self/fd/{name}").startswith("socket:") else []
        except OSError:  # the listing's own descriptor
            continue
    return [number for number in found if number > 2]


class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            given = pb_utils.get_input_tensor_by_name(request, "WRITE").as_numpy()[0]
            if given == b"close":
                os.close(sockets()[1])
            elif given == b"fork":
                self._fork()
            elif given:
                os.write(sockets()[1], given)
            sender = request.get_response_sender()
            sender.send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([str(OPTIONS.size)], object))]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)

    def _fork(self):
        """Fork a child that calls another model and returns from execute()."""
        child = os.fork()
        if child == 0:
            answer = pb_utils.InferenceRequest(model_name="pb_sum", requested_output_names=["SUM"], inputs=[]).exec()
            assert "a process that a model forks cannot" in answer.error().message()
            raise SystemExit(7)
        assert os.waitpid(child, 0)[1] >> 8 == 7
