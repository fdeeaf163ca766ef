"""Computes one request of an ensemble: which of its steps are needed, and what goes from one to the next."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple, cast

import numpy as np

from hubserve.errors import HubError, InvalidInput, ModuleFailed
from hubserve.gateway.ensembles.plan import EnsembleStep
from hubserve.types import InferRequest, InferResponse

#: name -> array; None for a tensor that this request does not have
Tensors = dict[str, np.ndarray | None]


class NeededStep(NamedTuple):
    """A step that an answer depends on.

    Attributes:
        step: it.
        outputs: the model's names of the outputs that are used.
        firm: those that the answer cannot do without; others go to optional inputs alone.
        required: the ensemble's tensors that the model cannot do without.
        decoupled: whether the model answers any number of times.
    """

    step: EnsembleStep
    outputs: Sequence[str]
    firm: Collection[str]
    required: Collection[str]
    decoupled: bool


class ModelFacts(NamedTuple):
    """The facts of a step's model.

    Attributes:
        optional: its inputs that may be left out.
        decoupled: whether it answers any number of times.
    """

    optional: Collection[str]
    decoupled: bool


def needed_steps(steps: Sequence[EnsembleStep], wanted: Collection[str], facts: Callable[[EnsembleStep], ModelFacts]) -> list[NeededStep]:
    """Find the steps without which some tensors would not come about, or would be others.

    Args:
        steps: of the ensemble.
        wanted: the tensors.
        facts: tells of a step's model.
    """
    known = {step.number: facts(step) for step in steps}
    used, firm = set(wanted), set(wanted)
    size = -1
    while size != len(used) + len(firm):
        size = len(used) + len(firm)
        for step in steps:
            if used.intersection(step.outputs.values()):
                used.update(step.inputs.values())
            if firm.intersection(step.outputs.values()):
                firm.update(_required(step, known[step.number]))
    return [
        NeededStep(
            step,
            [name for name, tensor in step.outputs.items() if tensor in used],
            {name for name, tensor in step.outputs.items() if tensor in firm},
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
        tensors: those that are known.
        lacking: of each tensor that does not come, why.
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
        name: the ensemble's.
        inputs: the names of the ensemble's own inputs.
        request: the client's, checked.
        infer, stream: have a model answer.
    """

    def __init__(
        self,
        name: str,
        inputs: Sequence[str],
        request: InferRequest,
        infer: Callable[[InferRequest], Awaitable[InferResponse]],
        stream: Callable[[InferRequest], AsyncIterator[InferResponse]],
    ) -> None:
        self._name = name
        self._inputs = inputs
        self._request = request
        self._infer = infer
        self._stream = stream

    def start(self, needed: Sequence[NeededStep]) -> State:
        """Return where an answer begins."""
        sent = self._request.tensors or {}
        lacking = {name: f"the request does not have the optional input '{name}'" for name in self._inputs if name not in sent}
        return State({**dict.fromkeys(lacking), **sent}, lacking, list(needed))

    async def answer(self, state: State, wanted: Sequence[str]) -> InferResponse:
        """Compute all steps, each as soon as its inputs are there, and return the answer.

        Raises:
            HubError: a step failed, or a tensor that is wanted cannot be computed; the message names the step.
        """
        running: dict[asyncio.Task[InferResponse], NeededStep] = {}
        try:
            while True:
                for needed in self._ready(state, decoupled=False):
                    running[asyncio.create_task(self._run(needed.step, self._asked(needed, state)))] = needed
                if not running:
                    break
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    self._take(running.pop(task), task.result(), state)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        return InferResponse(tensors={} if state.waiting else self._outputs(state, wanted), final=state.final)

    async def answers(self, state: State, wanted: Sequence[str]) -> AsyncIterator[InferResponse]:
        """Compute all steps, those that follow a decoupled one once for each of its responses, and give each answer.

        Raises:
            HubError: see :meth:`answer`; also after some answers.
        """
        answer = await self.answer(state, wanted)
        needed = next(iter(self._ready(state, decoupled=True)), None)
        if needed is None:
            yield answer
            return
        async with aclosing(self._responses(needed.step, self._asked(needed, state))) as responses:
            async for response in responses:
                next_state = State(dict(state.tensors), dict(state.lacking), list(state.waiting), state.final and response.final)
                self._take(needed, response, next_state)
                async with aclosing(cast("AsyncGenerator[InferResponse]", self.answers(next_state, wanted))) as following:
                    async for each in following:
                        yield each

    def _ready(self, state: State, decoupled: bool) -> list[NeededStep]:
        """Take out the steps that can be computed now; what cannot be computed at all is noted."""
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

    def _asked(self, needed: NeededStep, state: State) -> InferRequest:
        step, request = needed.step, self._request
        tensors = {name: state.tensors[tensor] for name, tensor in step.inputs.items()}
        return InferRequest(
            step.model,
            step.version,
            tensors={name: array for name, array in tensors.items() if array is not None},
            wants_json=False,
            deadline=request.deadline,
            priority=request.priority,
            # a model that leaves out an output requested by name has failed; outputs for optional inputs alone may be left out
            outputs=list(needed.outputs) if len(needed.firm) == len(needed.outputs) else None,
            id=request.id,
            parameters=request.parameters,
            sequence=request.sequence,
        )

    async def _run(self, step: EnsembleStep, asked: InferRequest) -> InferResponse:
        try:
            return await self._infer(asked)
        except HubError as error:
            raise self._placed(step, error) from None

    async def _responses(self, step: EnsembleStep, asked: InferRequest) -> AsyncGenerator[InferResponse]:
        try:
            async with aclosing(cast("AsyncGenerator[InferResponse]", self._stream(asked))) as responses:
                async for response in responses:
                    yield response
        except HubError as error:
            raise self._placed(step, error) from None

    def _placed(self, step: EnsembleStep, error: HubError) -> HubError:
        """Return the error of a step, with its place."""
        # the client's input fits the ensemble, so the client is to blame only if all of the step's inputs are the client's tensors
        is_clients = set(step.inputs.values()) <= set(self._inputs)
        kind = ModuleFailed if isinstance(error, InvalidInput) and not is_clients else type(error)
        return kind(f"{self._where(step)}: {error.message}", error.detail)

    def _where(self, step: EnsembleStep) -> str:
        return f"ensemble '{self._name}', {step.place}"

    def _take(self, needed: NeededStep, response: InferResponse, state: State) -> None:
        """Note what a step gave."""
        given: Mapping[str, np.ndarray] = response.tensors or {}
        for name in needed.outputs:
            tensor = needed.step.outputs[name]
            if name in given:
                state.tensors[tensor] = given[name]
                continue
            message = f"{self._where(needed.step)} gave no output '{name}'; it gave {', '.join(given) or 'none'}"
            if name in needed.firm:
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
