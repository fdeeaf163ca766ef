"""An ensemble: a dataflow of served models, computed in the gateway. It has no instance of its own."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from hubserve.errors import HubError, InvalidInput, LoadFailed, ModuleFailed, ModuleNotFound
from hubserve.kinds.base import Description, Face
from hubserve.kinds.triton_config import DTYPES
from hubserve.serving.ensemble_plan import EnsemblePlan, EnsembleStep
from hubserve.serving.module_plan import ModulePlan
from hubserve.serving.served import ServedModule
from hubserve.types import ANY, InferRequest, InferResponse, TensorSpec, check_arrays, check_inputs

if TYPE_CHECKING:
    from hubserve.serving.dataplane import DataPlane


class ServedEnsemble(ServedModule):
    """One version of an ensemble.

    Args:
        plan: with an ``ensemble``.
        dataplane: has its models; each request looks for them again, so that they can be replaced under it.
    """

    def __init__(self, plan: ModulePlan, dataplane: "DataPlane") -> None:
        super().__init__(plan, dataplane.calls)
        assert plan.ensemble is not None, "it is an ensemble"
        assert plan.config is not None, "it is a Triton model"
        self._ensemble: EnsemblePlan = plan.ensemble
        self._config: dict[str, Any] = plan.config
        self._dataplane = dataplane

    async def start(self) -> None:
        """Wait until its models are loaded, and hold the dataflow against what they take and give; see the base class."""
        self._loop = asyncio.get_running_loop()
        batch = int(self._config["max_batch_size"])
        self.description = Description(
            faces=[Face.TENSORS],
            inputs=[_spec(each, batch) for each in self._config["input"]],
            outputs=[_spec(each, batch) for each in self._config["output"]],
            max_batch_size=max(1, batch),
            batched=batch > 0,
            config=self._config,
        )
        try:
            self._refuse_circle(self._ensemble, (self.plan.info.name,))
            for step in self._ensemble.steps:
                await self._loaded_model(step)
            self._check_datatypes()
        except HubError as error:
            self.load_error = error.message
        finally:
            self._loaded.set()

    def _refuse_circle(self, ensemble: EnsemblePlan, above: tuple[str, ...]) -> None:
        for step in ensemble.steps:
            if step.model in above:
                raise LoadFailed(f"ensemble '{self.plan.info.name}': {step.place} is part of itself: {' -> '.join([*above, step.model])}")
            inner = self._model(step).plan.ensemble
            if inner is not None:
                self._refuse_circle(inner, (*above, step.model))

    def _model(self, step: EnsembleStep) -> ServedModule:
        try:
            return self._dataplane.get(step.model, step.version)
        except ModuleNotFound as error:
            raise ModuleNotFound(f"ensemble '{self.plan.info.name}' needs the model of its {step.place}: {error.message}") from None

    async def _loaded_model(self, step: EnsembleStep) -> None:
        model, where = self._model(step), f"ensemble '{self.plan.info.name}', {step.place}"
        try:
            await model.loaded()
        except LoadFailed as error:
            raise LoadFailed(f"{where} could not be loaded: {error.message}") from None
        described = model.description
        if Face.TENSORS not in described.faces or described.decoupled:
            kind = "answers a request any number of times" if described.decoupled else "does not take tensors"
            raise LoadFailed(f"{where} {kind}, so it cannot be part of an ensemble")
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
            raise LoadFailed(f"{where} has no output '{absent}'; it gives {', '.join(sorted(given))}")

    def _check_datatypes(self) -> None:
        """Every tensor has one datatype, whoever gives and takes it."""
        known = {spec.name: (spec.dtype, "the ensemble") for spec in [*self.description.inputs, *self.description.outputs]}
        for step in self._ensemble.steps:
            described = self._model(step).description
            for specs, names in ((described.inputs, step.inputs), (described.outputs, step.outputs)):
                for spec in specs:
                    tensor = names.get(spec.name)
                    if tensor is None:
                        continue
                    dtype, who = known.setdefault(tensor, (spec.dtype, step.place))
                    if dtype != spec.dtype:
                        raise LoadFailed(
                            f"ensemble '{self.plan.info.name}': tensor '{tensor}' is {dtype} for {who}, and {spec.dtype} for {step.place}"
                        )

    @property
    def ready(self) -> bool:
        """Whether every model of it can answer."""
        return not self.not_ready_reason

    @property
    def not_ready_reason(self) -> str:
        """Why it cannot answer; "" while it can."""
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
                return f"{step.place} is not ready: {reason}"
        return ""

    def check_room(self) -> None:
        """Refuse a request that its models would refuse; see the base class."""
        for step in self._ensemble.steps:
            self._model(step).check_room()

    async def infer(self, request: InferRequest) -> InferResponse:
        """Answer one request; what goes wrong in a step names it. See the base class."""
        if not self._loaded.is_set() or self.load_error:
            await self.loaded()
        self.requests += 1
        came_at, tally = time.monotonic(), self.statistics.fail
        try:
            answer = await self._answer(request)
        except HubError:
            self.failures += 1
            raise
        else:
            tally = self.statistics.success
            return answer
        finally:
            tally.add(time.monotonic() - came_at)

    async def _answer(self, request: InferRequest) -> InferResponse:
        if request.tensors is None or request.wants_json:
            raise self.unsupported(Face.JSON if request.pictures is None else Face.PICTURE)
        if self.description.batched:
            check_inputs(self.description.inputs, request.tensors)
        else:
            check_arrays(self.description.inputs, request.tensors)
        tensors: dict[str, np.ndarray] = dict(request.tensors)
        wanted = [each for each in self._ensemble.outputs if request.outputs is None or each in request.outputs]
        waiting = self._needed(wanted)
        running: dict[asyncio.Task[dict[str, np.ndarray]], EnsembleStep] = {}
        try:
            while waiting or running:
                for step in [each for each in waiting if tensors.keys() >= set(each.inputs.values())]:
                    waiting.remove(step)
                    running[asyncio.create_task(self._run(step, tensors, request))] = step
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    del running[task]
                    tensors.update(task.result())
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return InferResponse(tensors={each: tensors[each] for each in wanted})

    def _needed(self, wanted: list[str]) -> list[EnsembleStep]:
        """The steps without which these tensors would not come about."""
        needed, tensors = set[int](), set(wanted)
        for _ in self._ensemble.steps:
            for step in self._ensemble.steps:
                if step.number not in needed and tensors.intersection(step.outputs.values()):
                    needed.add(step.number)
                    tensors.update(step.inputs.values())
        return [step for step in self._ensemble.steps if step.number in needed]

    async def _run(self, step: EnsembleStep, tensors: dict[str, np.ndarray], request: InferRequest) -> dict[str, np.ndarray]:
        """Compute one step; gives the ensemble's tensors that come of it."""
        asked = InferRequest(
            step.model,
            step.version,
            tensors={name: tensors[tensor] for name, tensor in step.inputs.items()},
            wants_json=False,
            deadline=request.deadline,
            priority=request.priority,
            outputs=list(step.outputs),
            id=request.id,
            parameters=request.parameters,
            sequence=request.sequence,
        )
        where = f"ensemble '{self.plan.info.name}', {step.place}"
        try:
            answer = await self._dataplane.infer(asked)
        except InvalidInput as error:
            # what a client sent in fits the ensemble; so does what is wrong only if it is the client's own tensor
            own = set(step.inputs.values()) <= set(self._ensemble.inputs)
            raise (type(error) if own else ModuleFailed)(f"{where}: {error.message}", error.detail) from None
        except HubError as error:
            raise type(error)(f"{where}: {error.message}", error.detail) from None
        given = answer.tensors or {}
        missing = next((name for name in step.outputs if name not in given), None)
        if missing is not None:
            raise ModuleFailed(f"{where} gave no output '{missing}'; it gave {', '.join(given) or 'none'}")
        return {tensor: given[name] for name, tensor in step.outputs.items()}


def _spec(tensor: dict[str, Any], batch: int) -> TensorSpec:
    return TensorSpec(tensor["name"], DTYPES[tensor["data_type"]], (*((ANY,) if batch else ()), *tensor["dims"]))
