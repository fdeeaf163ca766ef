"""Calls other models as its input, a JSON text, says."""

import asyncio
import json
import threading
import time

import numpy as np
import triton_python_backend_utils as pb_utils


def request_for(plan):
    if plan["call"] == "sum":
        return pb_utils.InferenceRequest(
            model_name="pb_sum",
            requested_output_names=["SUM"],
            inputs=[pb_utils.Tensor("A", np.array([plan["values"]], np.float32))],
            request_id="inner",
            parameters=plan.get("parameters"),
            timeout=plan.get("timeout", 0),
        )
    if plan["call"] == "repeat":
        return pb_utils.InferenceRequest(
            model_name="pb_repeat",
            requested_output_names=["OUT"],
            inputs=[pb_utils.Tensor("COUNT", np.array([plan["count"]], np.int32))],
            parameters={"how": plan.get("how", "")},
        )
    text = np.array([json.dumps(plan.get("plan"))], dtype=np.object_)
    return pb_utils.InferenceRequest(model_name=plan["call"], requested_output_names=["RESULT"], inputs=[pb_utils.Tensor("PLAN", text)])


def value_of(response):
    if response.has_error():
        return {"error": response.error().message(), "code": response.error().code()}
    (tensor,) = response.output_tensors()
    array = tensor.as_numpy()
    return json.loads(array.ravel()[0]) if array.dtype == object else array.ravel().tolist()


class TritonPythonModel:
    def initialize(self, args):
        try:
            request_for({"call": "sum", "values": [1]}).exec()
            self.early = ""
        except pb_utils.TritonModelException as error:
            self.early = str(error)

    async def run(self, plan):
        if plan.get("async"):
            requests = [request_for(each) for each in plan["async"]]
            decoupled = plan.get("decoupled", False)
            responses = await asyncio.gather(*(request.async_exec(decoupled=decoupled) for request in requests))
            if decoupled:
                return [[value_of(each) for each in many] for many in responses]
            return [value_of(each) for each in responses]
        return self.run_sync(plan)

    def run_sync(self, plan):
        if plan.get("sleep"):
            time.sleep(plan["sleep"])
        if plan.get("early"):
            return self.early
        if plan.get("ready"):
            return [pb_utils.is_model_ready(name) for name in plan["ready"]]
        if plan.get("load"):
            try:
                pb_utils.load_model(plan["load"])
            except pb_utils.TritonModelException as error:
                return str(error)
        if plan.get("first"):
            responses = request_for(plan["first"]).exec(decoupled=True)
            return value_of(next(responses))
        if plan.get("thread"):
            results = []
            thread = threading.Thread(target=lambda: results.append(value_of(request_for(plan["thread"]).exec())))
            thread.start()
            thread.join()
            return results[0]
        if plan.get("all"):
            return [value_of(each) for each in request_for(plan["all"]).exec(decoupled=True)]
        return value_of(request_for(plan).exec()) if plan.get("call") else "done"

    async def execute(self, requests):
        responses = []
        for request in requests:
            plan = json.loads(pb_utils.get_input_tensor_by_name(request, "PLAN").as_numpy()[0])
            result = np.array([json.dumps(await self.run(plan))], dtype=np.object_)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("RESULT", result)]))
        return responses
