"""Counts from 0; how is told by the request's parameters."""

import json
import os
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils

FINAL = pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL


class TritonPythonModel:
    def initialize(self, args):
        self.sent = 0

    def execute(self, requests):
        for request in requests:
            how = json.loads(request.parameters()).get("how", "")
            if how == "raise":
                raise RuntimeError("execute failed")
            if how == "return":
                return [pb_utils.InferenceResponse([])]
            if how == "forget":
                continue
            work = (request.get_response_sender(), request, how)
            if how == "thread":
                threading.Thread(target=self.count, args=work).start()
            else:
                self.count(*work)
        return None

    def count(self, sender, request, how):
        count = int(pb_utils.get_input_tensor_by_name(request, "COUNT").as_numpy()[0])
        size = pb_utils.get_input_tensor_by_name(request, "SIZE")
        size = 1 if size is None else int(size.as_numpy()[0])
        for number in range(count):
            if sender.is_cancelled():
                path = json.loads(request.parameters()).get("tell")
                if path:
                    with open(path, "a") as file:
                        file.write(f"cancelled after {number}\n")
                break
            if how == "error" and number == 2:
                sender.send(pb_utils.InferenceResponse(error=pb_utils.TritonError("two is too many")), FINAL)
                return
            if how == "die" and number == 2:
                time.sleep(0.1)
                os._exit(4)
            if how == "slow" or how == "thread":
                time.sleep(0.01)
            response = pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.full(size, number, np.int32))])
            if how == "final" and number == count - 1:
                sender.send(response, FINAL)
                return
            sender.send(response)
            path = json.loads(request.parameters()).get("progress")
            if path:
                with open(path, "w") as file:
                    file.write(str(number + 1))
        sender.send(flags=FINAL)
