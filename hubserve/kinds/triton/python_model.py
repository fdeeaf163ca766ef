"""Models of Triton's Python backend: pass requests to ``execute``, as a function or as a coroutine."""

import asyncio
import inspect
from functools import partial
from typing import Any, Awaitable, Dict, List

import numpy as np

from hubserve.errors import HubError, ModuleFailed
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.description import Description
from hubserve.kinds.forks import leave_if_forked
from hubserve.kinds.module_failures import as_failure
from hubserve.kinds.raw_requests import Answer, Deferred, Host, RawRequest, RawResponse, WrongAnswers, current_host
from hubserve.kinds.triton.api.loop import ModelLoop
from hubserve.kinds.triton.api.requests import PARENTS, InferenceRequest, Server, attach
from hubserve.kinds.triton.api.responses import InferenceResponseSender
from hubserve.kinds.triton.python_responses import ResponseChecker
from hubserve.kinds.triton.reshape import reshapes_of

#: the key of requests that no client sent
_NO_CLIENT = -1


class TritonPythonModule(LoadedModule):
    """An initialized model.

    An exception in ``execute`` fails all requests that it received together. If repeating them is harmless, they are halved first until
    the bad one is isolated. That requires a model that is not decoupled and has sent and called nothing, and requests outside of sequences.

    Args:
        model: the object of the author's class.
        description: of the model.
        name: the model's.
        version: the model's.
    """

    def __init__(self, model: Any, description: Description, name: str, version: str) -> None:
        config = description.config or {}
        self._iterative = bool((config.get("sequence_batching") or {}).get("iterative_sequence"))
        concurrent = inspect.iscoroutinefunction(model.execute) and not self._iterative
        self.description = description = description._replace(concurrent=concurrent)
        self._model = model
        self._name = name
        self._version = int(version) if version.isdigit() else -1
        self._dtypes = {spec.name: spec.dtype for spec in description.inputs}
        self._outputs = [spec.name for spec in description.outputs]
        self._reshapes = reshapes_of(config.get("input", []), description.batched)
        self._checker = ResponseChecker(description)
        self._loop = ModelLoop()
        self._host = current_host()

    def enable_calls(self) -> None:
        """Let the model, now that it is initialized, send requests to other models."""
        if self._host:
            attach(Server(self._host, self._host.open_keys, partial(self._sender, self._host)))

    def call_tensors(self, inputs: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Answer one request that no client sent, such as a warm-up request."""
        items = len(next(iter(inputs.values()))) if self.description.batched and inputs else 1
        (answer,) = self.call_requests([RawRequest(_NO_CLIENT, inputs, items=items)])
        if isinstance(answer, Deferred):
            return {}
        if answer.error:
            raise answer.error
        return answer.outputs

    def call_requests(self, requests: List[RawRequest]) -> List[Answer]:
        """See the base class."""
        try:
            return self._execute(requests)
        except _ExecutionFailed as failed:
            halves = _halves(requests, failed)
            if not halves:
                return [RawResponse({}, None, failed.error) for _ in requests]
            return [answer for half in halves for answer in self.call_requests(half)]

    def _execute(self, raw: List[RawRequest]) -> List[Answer]:
        requests = self._requests(raw)
        parents = PARENTS.set(tuple(each.key for each in raw))
        try:
            returned = self._model.execute(requests)
            if asyncio.iscoroutine(returned):
                if self._runs_in_background(raw):
                    self._loop.start(self._finish(returned, raw, requests))
                    return [Deferred() for _ in requests]
                returned = self._loop.start(returned).result()
            return self._checker.answers(raw, requests, returned)
        except BaseException as error:  # one bad request must not end the instance
            raise self._failure(error, raw, requests) from error
        finally:
            PARENTS.reset(parents)

    def _requests(self, raw: List[RawRequest]) -> List[InferenceRequest]:
        """Return the requests as the model sees them."""
        seen = [self._reshape_inputs(each) for each in raw] if self._reshapes else raw
        requests = [InferenceRequest.from_raw(each, self._name, self._version, self._dtypes, self._outputs) for each in seen]
        if self.description.decoupled and self._host:
            for request in requests:
                request.get_response_sender()  # its destructor ends the request if the model drops it
        return requests

    def _reshape_inputs(self, raw: RawRequest) -> RawRequest:
        reshapes = self._reshapes
        return raw._replace(inputs={name: reshapes[name].to_model(a) if name in reshapes else a for name, a in raw.inputs.items()})

    def _failure(self, error: BaseException, raw: List[RawRequest], requests: List[InferenceRequest]) -> "_ExecutionFailed":
        """Return the failure of requests that failed together, and detach their senders."""
        leave_if_forked(error)
        failure = error if isinstance(error, HubError) else as_failure(error)
        harmless = not self.description.decoupled and not isinstance(error, WrongAnswers) and not any(each.sender for each in requests)
        harmless = harmless and not (self._host and self._host.has_acted([each.key for each in raw]))
        for request in requests:
            if request.sender:
                request.sender.detach()
        return _ExecutionFailed(failure, harmless)

    def _sender(self, host: Host, raw: RawRequest) -> InferenceResponseSender:
        return InferenceResponseSender(host, raw.key, partial(self._checker.check, raw), self.description.decoupled)

    # --- async def execute ---

    def _runs_in_background(self, raw: List[RawRequest]) -> bool:
        """Return True if the instance may accept further requests while a coroutine computes these.

        The state of a sequence must be stored before its next request comes, and an iterative request must report whether it continues.
        """
        if self._iterative or self._host is None:
            return False
        return self.description.decoupled or (self.description.concurrent and not any(each.sequence or each.key < 0 for each in raw))

    async def _finish(self, returned: Awaitable[Any], raw: List[RawRequest], requests: List[InferenceRequest]) -> None:
        """Await ``execute``, and answer its requests."""
        try:
            answers = self._checker.answers(raw, requests, await returned)
        except BaseException as error:
            if self.description.decoupled:
                failure = error if isinstance(error, HubError) else as_failure(error)
                for request in requests:
                    request.get_response_sender().fail(failure)
                return
            answers = await self._execute_halves(raw, self._failure(error, raw, requests))
        for each, answer in zip(raw, answers):
            self._send(each.key, answer)

    async def _execute_halves(self, raw: List[RawRequest], failed: "_ExecutionFailed") -> List[Answer]:
        halves = _halves(raw, failed)
        answers: List[Answer] = [] if halves else [RawResponse({}, None, failed.error) for _ in raw]
        for half in halves:
            requests = self._requests(half)
            try:
                answers += self._checker.answers(half, requests, await self._model.execute(requests))
            except BaseException as error:
                answers += await self._execute_halves(half, self._failure(error, half, requests))
        return answers

    def _send(self, key: int, answer: Answer) -> None:
        assert self._host is not None, "_runs_in_background requires a host"
        if isinstance(answer, Deferred):
            if answer.reschedule:
                self._host.reschedule(key)
        elif answer.error:
            self._host.abandon(key, answer.error)
        else:
            try:
                self._host.respond(key, answer, final=True)
            except BaseException as error:  # nothing was sent
                self._host.abandon(key, ModuleFailed(f"the module's answer cannot be sent: {as_failure(error).message}"))

    def wait_if_held_up(self, limit_s: float) -> None:
        """See the base class."""
        self._loop.wait_if_held_up(limit_s)

    def close(self) -> None:
        """Finalize the model."""
        attach(None)
        try:
            if hasattr(self._model, "finalize"):
                self._model.finalize()
        finally:
            self._loop.stop()


class _ExecutionFailed(Exception):
    """``execute`` raised.

    Attributes:
        error: of its requests.
        harmless: whether they may be passed to the model again.
    """

    def __init__(self, error: HubError, harmless: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.harmless = harmless


def _halves(requests: List[RawRequest], failed: _ExecutionFailed) -> List[List[RawRequest]]:
    """Return the parts in which failed requests are passed to the model once more; none if they must not be."""
    if len(requests) == 1 or not failed.harmless or any(request.sequence for request in requests):
        return []
    middle = len(requests) // 2
    return [requests[:middle], requests[middle:]]
