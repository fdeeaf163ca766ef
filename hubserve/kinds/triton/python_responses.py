"""Turn the result of ``execute`` into answers, checked against the model's configuration."""

from typing import Any, List

from hubserve.errors import HubError, ModuleFailed
from hubserve.kinds.description import Description
from hubserve.kinds.raw_requests import Answer, Deferred, RawRequest, RawResponse, WrongAnswers
from hubserve.kinds.triton.api.requests import InferenceRequest
from hubserve.kinds.triton.api.responses import InferenceResponse
from hubserve.kinds.triton.reshape import reshapes_of
from hubserve.types import BFLOAT16


class ResponseChecker:
    """Checks of a model's responses.

    Args:
        description: of the model.
    """

    def __init__(self, description: Description) -> None:
        self._decoupled = description.decoupled
        self._outputs = [spec.name for spec in description.outputs]
        self._bfloat16 = {spec.name for spec in description.outputs if spec.dtype == BFLOAT16}
        self._reshapes = reshapes_of((description.config or {}).get("output", []), description.batched)

    def answers(self, raw: List[RawRequest], requests: List[InferenceRequest], returned: Any) -> List[Answer]:
        """Return an answer to each request.

        Args:
            raw: the requests.
            requests: the same, as the model received them.
            returned: the result of ``execute``.
        Raises:
            WrongAnswers: the result does not have the form that Triton's interface demands.
        """
        if self._decoupled:
            if returned is not None and any(each is not None for each in (returned if isinstance(returned, (list, tuple)) else [returned])):
                raise WrongAnswers("execute() of a decoupled model must return None; it sends its responses by get_response_sender()")
            return [_deferred(request) for request in requests]
        if returned is None:
            returned = [None] * len(requests)
        if not isinstance(returned, (list, tuple)):
            raise WrongAnswers(f"execute() must return a list with an InferenceResponse for each request, got {type(returned).__name__}")
        if len(returned) != len(requests):
            raise WrongAnswers(f"execute() was given {len(requests)} requests and returned {len(returned)} responses; return one for each")
        return [self._answer(*each, f"response {number} of {len(requests)}") for number, each in enumerate(zip(raw, requests, returned), 1)]

    def _answer(self, raw: RawRequest, request: InferenceRequest, response: Any, which: str) -> Answer:
        if response is None:
            if request.is_rescheduled or request.sender:
                return _deferred(request)
            raise WrongAnswers(f"{which} that execute() returned is None; return an InferenceResponse, or send it by get_response_sender()")
        if not isinstance(response, InferenceResponse):
            raise WrongAnswers(f"{which} that execute() returned is a {type(response).__name__}; return an InferenceResponse")
        if request.sender:
            if request.sender.sent:
                raise WrongAnswers(f"{which} was sent by get_response_sender() and returned, too; return None for that request")
            request.sender.detach()
        try:
            return self.check(raw, response.to_raw())
        except HubError as error:
            return RawResponse({}, None, error)

    def check(self, raw: RawRequest, response: RawResponse) -> RawResponse:
        """Return a response with the requested outputs, as clients see them; datatypes are not compared with the configuration's.

        Raises:
            ModuleFailed: the model has no output of that name or shape, or a requested one is missing.
        """
        if response.error:
            return response
        for name in response.dtypes or ():
            if name in self._outputs and name not in self._bfloat16:
                raise ModuleFailed(
                    f"the model answered with BF16 numbers in its output '{name}', which its configuration has of another type"
                )
        for name in response.outputs:
            if name not in self._outputs:
                raise ModuleFailed(f"the model answered with an output '{name}', which its configuration does not have: {self._outputs}")
        reshapes = self._reshapes
        if reshapes:
            response = response._replace(
                outputs={n: reshapes[n].from_model(a) if n in reshapes else a for n, a in response.outputs.items()}
            )
        if raw.outputs is None:
            return response
        missing = [name for name in raw.outputs if name not in response.outputs]
        if missing and not self._decoupled:
            raise ModuleFailed(f"the model's answer lacks the outputs {missing}, which were asked for")
        return response._replace(outputs={name: response.outputs[name] for name in raw.outputs if name in response.outputs})


def _deferred(request: InferenceRequest) -> Deferred:
    reschedule = request.is_rescheduled and not (request.sender and request.sender.closed)
    if reschedule and request.sender:
        request.sender.detach()
    return Deferred(reschedule)
