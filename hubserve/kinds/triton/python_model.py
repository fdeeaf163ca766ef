"""Models of Triton's Python backend: a ``model.py`` with a class ``TritonPythonModel``."""

import asyncio
import importlib
import inspect
import json
import sys
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Awaitable, Dict, List

import numpy as np

from hubserve.errors import HubError, LoadFailed, ModuleFailed
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.description import Description
from hubserve.kinds.forks import leave_if_forked
from hubserve.kinds.import_hooks import share_with_children
from hubserve.kinds.module_failures import as_failure, failures_named
from hubserve.kinds.raw_requests import Answer, Deferred, Host, RawRequest, RawResponse, WrongAnswers, current_host
from hubserve.kinds.triton.api.config import set_model_dir
from hubserve.kinds.triton.api.loop import ModelLoop
from hubserve.kinds.triton.api.requests import PARENTS, InferenceRequest, Server, attach
from hubserve.kinds.triton.api.responses import InferenceResponse, InferenceResponseSender
from hubserve.kinds.triton.python_config import complete, describe
from hubserve.kinds.triton.reshape import reshapes_of
from hubserve.types import BFLOAT16

#: the modules that models import; the second one is compiled in Triton, and imported for the types in it
_API = ("triton_python_backend_utils", "c_python_backend_utils")


def load_python_model(
    version_folder: Path,
    config: Dict[str, Any],
    model_name: str,
    model_version: str,
    instance_index: int = 0,
    instance_kind: str = "CPU",
    device_id: int = 0,
) -> "TritonPythonModule":
    """Import ``model.py``, complete the configuration, and construct and initialize the model.

    Args:
        version_folder: ``<model>/<version>``; its parent is what the model is told as its repository.
        config: the JSON form of ``inference.ModelConfig``, with the field names of the ``.proto`` file; numbers may be texts.
        model_name: as clients say it.
        model_version: as above.
        instance_index: counted from 0 among the model's instances.
        instance_kind: "CPU" or "GPU".
        device_id: the GPU's number.
    Returns:
        A module with ``raw_requests``; its ``description.config`` is the completed configuration.
    Raises:
        LoadFailed: with the reason.
    """
    model_file = version_folder / (config.get("default_model_filename") or "model.py")
    if not model_file.is_file():
        raise LoadFailed(f"'{model_name}' version {model_version} has no '{model_file}'. Put the model's code there.")
    set_model_dir(str(version_folder))
    with failures_named(f"cannot import '{model_file}'"):
        cls = getattr(_import(version_folder, model_file), "TritonPythonModel", None)
    if cls is None:
        raise LoadFailed(f"'{model_file}' has no class TritonPythonModel. Give its class that name.")
    if not callable(getattr(cls, "execute", None)):
        raise LoadFailed(f"the class TritonPythonModel in '{model_file}' has no method execute(self, requests). Add it.")
    completed = complete(cls, config, model_name, model_file)
    description = describe(completed, model_name)
    arguments = {
        "model_config": json.dumps(completed),
        "model_instance_kind": instance_kind,
        "model_instance_name": f"{model_name}_0_{instance_index}",
        "model_instance_device_id": str(device_id),
        "model_repository": str(version_folder.parent),
        "model_version": str(model_version),
        "model_name": model_name,
    }
    with failures_named(f"cannot construct TritonPythonModel of '{model_file}'"):
        model = cls()
    module = TritonPythonModule(model, description, model_name, str(model_version))
    if hasattr(model, "initialize"):
        with failures_named(f"initialize() of '{model_file}' failed"):
            model.initialize(arguments)
    module.begin()
    return module


def _import(version_folder: Path, model_file: Path) -> ModuleType:
    """Import it as ``<version>.model``, so that it may say ``from .other import ...`` as well as ``import other``."""
    for name in _API:
        sys.modules[name] = importlib.import_module("hubserve.compat." + name)
    for folder in (version_folder, version_folder.parent):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    share_with_children()
    importlib.invalidate_caches()
    relative = model_file.relative_to(version_folder).with_suffix("")
    return importlib.import_module(".".join([version_folder.name, *relative.parts]))


# --- the model ---


class TritonPythonModule(LoadedModule):
    """One initialized model.

    An exception in ``execute`` fails the requests that it was given together. Where giving it them again can do no harm they are halved
    first until the bad one is alone: that is where the model is not decoupled, has sent and called nothing, and the requests are of no
    sequence.

    Args:
        model: the object of the author's class.
        description: what it answers.
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
        self._bfloat16 = {spec.name for spec in description.outputs if spec.dtype == BFLOAT16}
        self._reshaped_inputs = reshapes_of(config.get("input", []), description.batched)
        self._reshaped_outputs = reshapes_of(config.get("output", []), description.batched)
        self._loop = ModelLoop()
        self._host = current_host()

    def begin(self) -> None:
        """The model is initialized: it may make requests of others from now on."""
        if self._host:
            attach(Server(self._host, self._host.open_keys, partial(self._sender, self._host)))

    def call_tensors(self, inputs: Dict[str, np.ndarray]) -> Dict[str, np.ndarray]:
        """Answer one request that no client sent, as for warming up."""
        items = len(next(iter(inputs.values()))) if self.description.batched and inputs else 1
        (answer,) = self.call_requests([RawRequest(-1, inputs, items=items)])  # no client has such a key
        if isinstance(answer, Deferred):
            return {}
        if answer.error:
            raise answer.error
        return answer.outputs

    def call_requests(self, requests: List[RawRequest]) -> List[Answer]:
        """See the base class."""
        try:
            return self._execute(requests)
        except _Failed as failed:
            halves = self._halves(requests, failed)
            if not halves:
                return [RawResponse({}, None, failed.error) for _ in requests]
            return [answer for half in halves for answer in self.call_requests(half)]

    @staticmethod
    def _halves(requests: List[RawRequest], failed: "_Failed") -> List[List[RawRequest]]:
        """Return the parts in which requests that failed together are given to the model once more; none where that is not to be."""
        if len(requests) == 1 or not failed.harmless or any(request.sequence for request in requests):
            return []
        middle = len(requests) // 2
        return [requests[:middle], requests[middle:]]

    def _execute(self, whole: List[RawRequest]) -> List[Answer]:
        requests = self._requests(whole)
        parents = PARENTS.set(tuple(each.key for each in whole))
        try:
            returned = self._model.execute(requests)
            if asyncio.iscoroutine(returned):
                if self._goes_on(whole):
                    self._loop.start(self._answer_later(returned, whole, requests))
                    return [Deferred() for _ in requests]
                returned = self._loop.start(returned).result()
            return self._answers(whole, requests, returned)
        except BaseException as error:  # one bad request must not end the instance
            raise self._failure(error, whole, requests) from error
        finally:
            PARENTS.reset(parents)

    def _requests(self, whole: List[RawRequest]) -> List[InferenceRequest]:
        """Return the requests as the model sees them."""
        seen = [self._as_model_sees(each) for each in whole] if self._reshaped_inputs else whole
        requests = [InferenceRequest.from_raw(each, self._name, self._version, self._dtypes, self._outputs) for each in seen]
        if self.description.decoupled and self._host:
            for request in requests:
                request.get_response_sender()  # so that its end is noticed if the model lets go of it
        return requests

    def _failure(self, error: BaseException, whole: List[RawRequest], requests: List[InferenceRequest]) -> "_Failed":
        """Return why requests failed together, and let go of their senders."""
        leave_if_forked(error)
        failure = error if isinstance(error, HubError) else as_failure(error)
        harmless = not self.description.decoupled and not isinstance(error, WrongAnswers) and not any(each.sender for each in requests)
        harmless = harmless and not (self._host and self._host.has_acted([each.key for each in whole]))
        for request in requests:
            if request.sender:
                request.sender.let_go()
        return _Failed(failure, harmless)

    def _as_model_sees(self, whole: RawRequest) -> RawRequest:
        reshapes = self._reshaped_inputs
        return whole._replace(inputs={name: reshapes[name].to_model(a) if name in reshapes else a for name, a in whole.inputs.items()})

    def _answers(self, whole: List[RawRequest], requests: List[InferenceRequest], returned: Any) -> List[Answer]:
        if self.description.decoupled:
            if returned is not None and any(each is not None for each in (returned if isinstance(returned, (list, tuple)) else [returned])):
                raise WrongAnswers("execute() of a decoupled model must return None; it sends its responses by get_response_sender()")
            return [self._later(request) for request in requests]
        if returned is None:
            returned = [None] * len(requests)
        if not isinstance(returned, (list, tuple)):
            raise WrongAnswers(f"execute() must return a list with an InferenceResponse for each request, got {type(returned).__name__}")
        if len(returned) != len(requests):
            raise WrongAnswers(f"execute() was given {len(requests)} requests and returned {len(returned)} responses; return one for each")
        return [
            self._answer(*each, f"response {number} of {len(requests)}") for number, each in enumerate(zip(whole, requests, returned), 1)
        ]

    def _answer(self, whole: RawRequest, request: InferenceRequest, response: Any, which: str) -> Answer:
        if response is None:
            if request.is_rescheduled or request.sender:
                return self._later(request)
            raise WrongAnswers(f"{which} that execute() returned is None; return an InferenceResponse, or send it by get_response_sender()")
        if not isinstance(response, InferenceResponse):
            raise WrongAnswers(f"{which} that execute() returned is a {type(response).__name__}; return an InferenceResponse")
        if request.sender:
            if request.sender.sent:
                raise WrongAnswers(f"{which} was sent by get_response_sender() and returned, too; return None for that request")
            request.sender.let_go()
        try:
            return self._checked(whole, response.to_raw())
        except HubError as error:
            return RawResponse({}, None, error)

    @staticmethod
    def _later(request: InferenceRequest) -> Deferred:
        again = request.is_rescheduled and not (request.sender and request.sender.closed)
        if again and request.sender:
            request.sender.let_go()
        return Deferred(again)

    def _checked(self, whole: RawRequest, response: RawResponse) -> RawResponse:
        """Return the response with the requested outputs, as clients see them; datatypes are not compared with the configuration's.

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
        reshapes = self._reshaped_outputs
        if reshapes:
            response = response._replace(
                outputs={n: reshapes[n].from_model(a) if n in reshapes else a for n, a in response.outputs.items()}
            )
        if whole.outputs is None:
            return response
        missing = [name for name in whole.outputs if name not in response.outputs]
        if missing and not self.description.decoupled:
            raise ModuleFailed(f"the model's answer lacks the outputs {missing}, which were asked for")
        return response._replace(outputs={name: response.outputs[name] for name in whole.outputs if name in response.outputs})

    def _sender(self, host: Host, whole: RawRequest) -> InferenceResponseSender:
        return InferenceResponseSender(host, whole.key, partial(self._checked, whole), self.description.decoupled)

    # --- async def execute ---

    def _goes_on(self, whole: List[RawRequest]) -> bool:
        """Return whether the instance may take further requests while a coroutine computes these.

        The state of a sequence must be stored before its next request comes, and an iterative request must have said whether it goes on.
        """
        if self._iterative or self._host is None:
            return False
        return self.description.decoupled or (self.description.concurrent and not any(each.sequence or each.key < 0 for each in whole))

    async def _answer_later(self, returned: Awaitable[Any], whole: List[RawRequest], requests: List[InferenceRequest]) -> None:
        """Run the rest of ``execute``, and answer its requests."""
        try:
            answers = self._answers(whole, requests, await returned)
        except BaseException as error:
            if self.description.decoupled:
                failure = error if isinstance(error, HubError) else as_failure(error)
                for request in requests:
                    request.get_response_sender().fail(failure)
                return
            answers = await self._answered_by_halves(whole, self._failure(error, whole, requests))
        for each, answer in zip(whole, answers):
            self._send(each.key, answer)

    async def _answered_by_halves(self, whole: List[RawRequest], failed: "_Failed") -> List[Answer]:
        halves = self._halves(whole, failed)
        answers: List[Answer] = [] if halves else [RawResponse({}, None, failed.error) for _ in whole]
        for half in halves:
            requests = self._requests(half)
            try:
                answers += self._answers(half, requests, await self._model.execute(requests))
            except BaseException as error:
                answers += await self._answered_by_halves(half, self._failure(error, half, requests))
        return answers

    def _send(self, key: int, answer: Answer) -> None:
        assert self._host is not None, "it was looked at before"
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


class _Failed(Exception):
    """``execute`` raised.

    Attributes:
        error: why its requests have no answer.
        harmless: whether they may be given to it again.
    """

    def __init__(self, error: HubError, harmless: bool) -> None:
        super().__init__(error.message)
        self.error = error
        self.harmless = harmless
