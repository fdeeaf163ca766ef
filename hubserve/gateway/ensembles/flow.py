"""Compute one request of an ensemble: choose the needed steps, and pass tensors from one to the next."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import numpy as np

from hubserve.errors import HubError, InvalidInput, ModuleFailed
from hubserve.gateway.call_trace import PARENT
from hubserve.gateway.ensembles.plan import EnsembleStep
from hubserve.types import InferRequest, InferResponse

#: name to array; None for a tensor that this request lacks
Tensors = dict[str, np.ndarray | None]


class NeededStep(NamedTuple):
    """A step on which an answer depends.

    Attributes:
        step: of the ensemble.
        outputs: the model's names of the used outputs.
        mandatory: those that the answer requires; others go to optional inputs only.
        required: the ensemble's tensors that the model requires.
        decoupled: whether the model answers any number of times.
    """

    step: EnsembleStep
    outputs: Sequence[str]
    mandatory: Collection[str]
    required: Collection[str]
    decoupled: bool


class ModelFacts(NamedTuple):
    """The facts of a step's model.

    Attributes:
        optional: its optional inputs.
        decoupled: whether it answers any number of times.
    """

    optional: Collection[str]
    decoupled: bool


def needed_steps(steps: Sequence[EnsembleStep], wanted: Collection[str], facts: Callable[[EnsembleStep], ModelFacts]) -> list[NeededStep]:
    """Return the steps on which some tensors depend.

    Args:
        steps: of the ensemble.
        wanted: the tensors.
        facts: returns the facts of a step's model.
    """
    known = {step.number: facts(step) for step in steps}
    used, mandatory = set(wanted), set(wanted)
    size = -1
    while size != len(used) + len(mandatory):
        size = len(used) + len(mandatory)
        for step in steps:
            if used.intersection(step.outputs.values()):
                used.update(step.inputs.values())
            if mandatory.intersection(step.outputs.values()):
                mandatory.update(_required(step, known[step.number]))
    return [
        NeededStep(
            step,
            [name for name, tensor in step.outputs.items() if tensor in used],
            {name for name, tensor in step.outputs.items() if tensor in mandatory},
            _required(step, known[step.number]),
            known[step.number].decoupled,
        )
        for step in steps
        if used.intersection(step.outputs.values())
    ]


def _required(step: EnsembleStep, facts: ModelFacts) -> set[str]:
    return {tensor for name, tensor in step.inputs.items() if name not in facts.optional}


@dataclass(slots=True)
class State:
    """The progress of one answer.

    Attributes:
        tensors: the known ones.
        lacking: the reason for each tensor that this request lacks.
        waiting: the steps that have not begun.
        final: whether no more answers follow.
    """

    tensors: Tensors
    lacking: dict[str, str] = field(default_factory=dict)
    waiting: list[NeededStep] = field(default_factory=list)
    final: bool = True


class EnsembleFlow:
    """The steps of one request.

    Args:
        name: of the ensemble.
        inputs: the names of the ensemble's own inputs.
        request: of the client, checked.
        infer, stream: answer requests to models.
        span_id: of the span below which the models are traced; 0 for none.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[str],
        request: InferRequest,
        infer: Callable[[InferRequest], Awaitable[InferResponse]],
        stream: Callable[[InferRequest], AsyncIterator[InferResponse]],
        span_id: int = 0,
    ) -> None:
        self._name = name
        self._inputs = inputs
        self._request = request
        self._infer = infer
        self._stream = stream
        self._span_id = span_id

    def start(self, needed: Sequence[NeededStep]) -> State:
        """Return the initial state of an answer."""
        sent = self._request.tensors or {}
        lacking = {name: f"the request does not have the optional input '{name}'" for name in self._inputs if name not in sent}
        return State({**dict.fromkeys(lacking), **sent}, lacking, list(needed))

    async def answer(self, state: State, wanted: Sequence[str]) -> InferResponse:
        """Compute all steps, each as soon as its inputs are known, and return the answer.

        Raises:
            HubError: a step failed, or a wanted tensor cannot be computed; the message names the step.
        """
        running: dict[asyncio.Task[InferResponse], NeededStep] = {}
        try:
            while True:
                for needed in self._ready(state, decoupled=False):
                    running[asyncio.create_task(self._run(needed.step, self._request_to(needed, state)))] = needed
                if not running:
                    break
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._store(running.pop(task), task.result(), state)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return InferResponse(tensors={} if state.waiting else self._outputs(state, wanted), final=state.final)

    async def answers(self, state: State, wanted: Sequence[str]) -> AsyncIterator[InferResponse]:
        """Compute all steps, those behind a decoupled one once for each of its responses, and yield each answer.

        Raises:
            HubError: see :meth:`answer`; also after some answers.
        """
        answer = await self.answer(state, wanted)
        needed = next(iter(self._ready(state, decoupled=True)), None)
        if needed is None:
            yield answer
            return
        async with aclosing(self._responses(needed.step, self._request_to(needed, state))) as responses:
            async for response in responses:
                next_state = State(dict(state.tensors), dict(state.lacking), list(state.waiting), state.final and response.final)
                self._store(needed, response, next_state)
                async with aclosing(cast("AsyncGenerator[InferResponse]", self.answers(next_state, wanted))) as following:
                    async for each in following:
                        yield each

    def _ready(self, state: State, decoupled: bool) -> list[NeededStep]:
        """Remove and return the steps that can be computed now; outputs that cannot be computed are marked as lacking."""
        ready: list[NeededStep] = []
        changed = True
        while changed:
            changed = False
            for needed in [each for each in state.waiting if state.tensors.keys() >= set(each.step.inputs.values())]:
                missing = next(
                    (tensor for tensor in needed.step.inputs.values() if tensor in needed.required and tensor in state.lacking), None
                )
                if missing is not None:
                    state.waiting.remove(needed)
                    changed = True
                    for tensor in needed.step.outputs.values():
                        state.tensors[tensor] = None
                        state.lacking[tensor] = state.lacking[missing]
                elif needed.decoupled == decoupled and not (decoupled and ready):
                    state.waiting.remove(needed)
                    ready.append(needed)
        return ready

    def _request_to(self, needed: NeededStep, state: State) -> InferRequest:
        step, own = needed.step, self._request
        tensors = {name: state.tensors[tensor] for name, tensor in step.inputs.items()}
        return InferRequest(
            step.model,
            step.version,
            tensors={name: array for name, array in tensors.items() if array is not None},
            wants_json=False,
            deadline=own.deadline,
            priority=own.priority,
            # a model that leaves out an output requested by name has failed; outputs for optional inputs alone may be left out
            outputs=list(needed.outputs) if len(needed.mandatory) == len(needed.outputs) else None,
            id=own.id,
            parameters=own.parameters,
            sequence=own.sequence,
        )

    async def _run(self, step: EnsembleStep, request: InferRequest) -> InferResponse:
        PARENT.set(self._span_id)  # in a task of its own
        try:
            return await self._infer(request)
        except HubError as error:
            raise self._located(step, error) from None

    async def _responses(self, step: EnsembleStep, request: InferRequest) -> AsyncGenerator[InferResponse]:
        PARENT.set(self._span_id)  # in the task that iterates, which asks no other module
        try:
            async with aclosing(cast("AsyncGenerator[InferResponse]", self._stream(request))) as responses:
                async for response in responses:
                    yield response
        except HubError as error:
            raise self._located(step, error) from None

    def _located(self, step: EnsembleStep, error: HubError) -> HubError:
        """Return the error of a step, with the step in its message."""
        # the client's request fits the ensemble, so it causes the error only if it has all of the step's inputs
        is_clients = set(step.inputs.values()) <= set(self._inputs)
        kind = ModuleFailed if isinstance(error, InvalidInput) and not is_clients else type(error)
        return kind(f"{self._where(step)}: {error.message}", error.detail)

    def _where(self, step: EnsembleStep) -> str:
        return f"ensemble '{self._name}', {step.label}"

    def _store(self, needed: NeededStep, response: InferResponse, state: State) -> None:
        """Store the outputs of a step."""
        given: Mapping[str, np.ndarray] = response.tensors or {}
        for name in needed.outputs:
            tensor = needed.step.outputs[name]
            if name in given:
                state.tensors[tensor] = given[name]
                continue
            message = f"{self._where(needed.step)} returned no output '{name}'; it returned {', '.join(given) or 'none'}"
            if name in needed.mandatory:
                raise ModuleFailed(message)
            state.tensors[tensor], state.lacking[tensor] = None, message

    def _outputs(self, state: State, wanted: Sequence[str]) -> dict[str, np.ndarray]:
        found = {}
        for name in wanted:
            array = state.tensors[name]
            if array is None:
                raise InvalidInput(f"output '{name}' of ensemble '{self._name}' cannot be computed: {state.lacking[name]}")
            found[name] = array
        return found
