"""Serve an ensemble: a dataflow of served models, computed in the gateway without instances of its own."""

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractContextManager, aclosing
from typing import Any, cast

from hubserve.errors import HubError, InvalidInput, LoadFailed, ModuleNotFound
from hubserve.gateway.call_trace import CallTrace, traced_call
from hubserve.gateway.deadlock_detection import DeadlockDetector
from hubserve.gateway.ensembles.flow import EnsembleFlow, ModelFacts, State, needed_steps
from hubserve.gateway.ensembles.plan import EnsemblePlan, EnsembleStep, unordered_pair
from hubserve.gateway.first_responses import first_response_histogram
from hubserve.gateway.instances.raw_requests import check_tensors
from hubserve.gateway.model_access import ServedModels
from hubserve.gateway.module_plan import ModulePlan
from hubserve.gateway.request_checks import unsupported_interface
from hubserve.gateway.served_model import ServedModule
from hubserve.kinds.description import Description, Interface
from hubserve.kinds.triton.api.config import using_decoupled_model_transaction_policy
from hubserve.kinds.triton.config import DTYPES
from hubserve.types import ANY, InferRequest, InferResponse, TensorSpec
from hubserve.wire.model_access import ModelAccess


class ServedEnsemble(ServedModule):
    """One version of an ensemble.

    Args:
        plan: has an ``ensemble``.
        served: the served modules; each request looks its models up again, so that they can be replaced meanwhile.
        deadlocks, models: see :class:`ServedModule`.
    """

    def __init__(self, plan: ModulePlan, served: ServedModels, deadlocks: DeadlockDetector, models: Callable[[], ModelAccess]) -> None:
        super().__init__(plan, deadlocks, models)
        assert plan.ensemble is not None, "it is an ensemble"
        assert plan.config is not None, "it is a Triton model"
        self._ensemble: EnsemblePlan = plan.ensemble
        self._config: dict[str, Any] = plan.config
        self._served = served

    async def start(self) -> None:
        """Wait until its models are loaded, and check the dataflow against their inputs and outputs; see the base class."""
        batch = int(self._config["max_batch_size"])
        self.description = Description(
            interfaces=[Interface.TENSORS],
            inputs=[_spec(each, batch) for each in self._config["input"]],
            outputs=[_spec(each, batch) for each in self._config["output"]],
            max_batch_size=max(1, batch),
            batched=batch > 0,
            decoupled=using_decoupled_model_transaction_policy(self._config),
            optional=[each["name"] for each in self._config["input"] if each.get("optional")],
            config=self._config,
        )
        try:
            self._check_acyclic(self._ensemble, (self.plan.info.name,))
            for step in self._ensemble.steps:
                await self._loaded_model(step)
            self._check_datatypes()
            self._check_decoupled()
            if self.description.decoupled:
                self.statistics.first_responses = first_response_histogram(self.name, self._config)
        except HubError as error:
            self.load_error = error.message
        finally:
            self._loaded.set()

    def _check_acyclic(self, ensemble: EnsemblePlan, above: tuple[str, ...]) -> None:
        for step in ensemble.steps:
            if step.model in above:
                raise LoadFailed(f"ensemble '{self.plan.info.name}': {step.label} is part of itself: {' -> '.join([*above, step.model])}")
            inner = self._model(step).plan.ensemble
            if inner is not None:
                self._check_acyclic(inner, (*above, step.model))

    def _model(self, step: EnsembleStep) -> ServedModule:
        try:
            return self._served.get(step.model, step.version)
        except ModuleNotFound as error:
            raise ModuleNotFound(f"ensemble '{self.plan.info.name}' needs the model of its {step.label}: {error.message}") from None

    async def _loaded_model(self, step: EnsembleStep) -> None:
        model, where = self._model(step), f"ensemble '{self.plan.info.name}', {step.label}"
        try:
            await model.loaded()
        except LoadFailed as error:
            raise LoadFailed(f"{where} could not be loaded: {error.message}") from None
        described = model.description
        if Interface.TENSORS not in described.interfaces:
            raise LoadFailed(f"{where} does not take tensors, so it cannot be part of an ensemble")
        names = {spec.name for spec in described.inputs}
        unknown = next((each for each in step.inputs if each not in names), None)
        missing = next((each for each in names if each not in step.inputs and each not in described.optional), None)
        if unknown is not None or missing is not None:
            what = (
                f"has no input '{unknown}'; it takes {', '.join(sorted(names))}"
                if unknown
                else f"takes '{missing}', which input_map does not have"
            )
            raise LoadFailed(f"{where} {what}")
        given = {spec.name for spec in described.outputs}
        absent = next((each for each in step.outputs if each not in given), None)
        if absent is not None:
            raise LoadFailed(f"{where} has no output '{absent}'; it has {', '.join(sorted(given))}")

    def _check_datatypes(self) -> None:
        """Check that every tensor has one datatype for all steps that produce or consume it."""
        known = {spec.name: (spec.dtype, "the ensemble") for spec in [*self.description.inputs, *self.description.outputs]}
        for step in self._ensemble.steps:
            described = self._model(step).description
            for specs, names in ((described.inputs, step.inputs), (described.outputs, step.outputs)):
                for spec in specs:
                    tensor = names.get(spec.name)
                    if tensor is None:
                        continue
                    dtype, where = known.setdefault(tensor, (spec.dtype, step.label))
                    if dtype != spec.dtype:
                        raise LoadFailed(
                            f"ensemble '{self.plan.info.name}': tensor '{tensor}' is {dtype} for {where}, and {spec.dtype} for {step.label}"
                        )

    def _check_decoupled(self) -> None:
        """Mark an ensemble with a decoupled step as decoupled, also in the configuration that clients see."""
        decoupled = [step for step in self._ensemble.steps if self._model(step).description.decoupled]
        if not decoupled:
            return
        pair = unordered_pair(self._ensemble.steps, decoupled)
        if pair:
            raise LoadFailed(
                f"ensemble '{self.plan.info.name}': {pair[0].label} and {pair[1].label} each answer any number of times, and neither needs "
                "the other one, so it is undefined which of their answers belong together. Put one of them behind the other."
            )
        config = {**self._config, "model_transaction_policy": {"decoupled": True}}
        self.description = self.description._replace(decoupled=True, config=config)

    @property
    def ready(self) -> bool:
        """True if all of its models can answer."""
        return not self.not_ready_reason

    @property
    def not_ready_reason(self) -> str:
        """Reason why it cannot answer; "" while it can."""
        if not self._loaded.is_set():
            return "it is being loaded"
        if self.load_error:
            return self.load_error
        for step in self._ensemble.steps:
            try:
                reason = self._model(step).not_ready_reason
            except ModuleNotFound as error:
                return error.message
            if reason:
                return f"{step.label} is not ready: {reason}"
        return ""

    def check_room(self) -> None:
        """Raise the errors with which its models would refuse a request; see the base class."""
        for step in self._ensemble.steps:
            self._model(step).check_room()

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request; errors of a step name it. See the base class."""
        if not self._loaded.is_set() or self.load_error:
            await self.loaded()
        if self.description.decoupled:
            raise InvalidInput(f"ensemble '{self.plan.info.name}' is decoupled: it may give any number of responses. Ask it by a stream")
        self.statistics.requests += 1
        came_at, has_succeeded = time.monotonic(), False
        try:
            with self._traced() as traced:
                answer = await self._answer(request, traced)
        except HubError as error:
            self.statistics.failures += 1
            self.statistics.add_failure(error)
            raise
        else:
            has_succeeded = True
            return answer
        finally:
            self.statistics.add_ended(came_at, has_succeeded)

    async def _answer(self, request: InferRequest, traced: CallTrace | None) -> InferResponse:
        flow, wanted, state = self._begin(request, traced)
        return await flow.answer(state, wanted)

    async def stream(self, request: InferRequest) -> AsyncIterator[InferResponse]:
        """Answer one request by as many responses as its decoupled step gives; see the base class."""
        await self.loaded()
        if not self.description.decoupled:
            yield await self.infer(request)
            return
        self.statistics.requests += 1
        came_at, has_succeeded = time.monotonic(), False
        try:
            with self._traced() as traced:
                flow, wanted, state = self._begin(request, traced)
                counted = cast("AsyncGenerator[InferResponse]", self.statistics.streamed(flow.answers(state, wanted)))
                async with aclosing(counted) as responses:
                    async for response in responses:
                        yield response
        except HubError as error:
            self.statistics.failures += 1
            self.statistics.add_failure(error)
            raise
        else:
            has_succeeded = True
        finally:
            self.statistics.add_ended(came_at, has_succeeded)

    def _traced(self) -> AbstractContextManager[CallTrace | None]:
        return traced_call(self.plan.info.name, self.plan.info.version)

    def _begin(self, request: InferRequest, traced: CallTrace | None) -> tuple[EnsembleFlow, list[str], State]:
        """Check a request; returns its flow, the requested outputs, and the initial state."""
        if request.tensors is None or request.wants_json:
            raise unsupported_interface(self.name, self.description, Interface.JSON if request.pictures is None else Interface.PICTURE)
        check_tensors(self.plan.info.name, self.description, request.tensors)
        wanted = [each for each in self._ensemble.outputs if request.outputs is None or each in request.outputs]
        flow = EnsembleFlow(
            self.plan.info.name,
            self._ensemble.inputs,
            request,
            self._served.infer,
            self._served.stream,
            traced.context.span_id if traced else 0,
        )
        return flow, wanted, flow.start(needed_steps(self._ensemble.steps, wanted, self._facts))

    def _facts(self, step: EnsembleStep) -> ModelFacts:
        described = self._model(step).description
        return ModelFacts(described.optional, described.decoupled)


def _spec(tensor: dict[str, Any], batch: int) -> TensorSpec:
    return TensorSpec(tensor["name"], DTYPES[tensor["data_type"]], (*((ANY,) if batch else ()), *tensor["dims"]))
