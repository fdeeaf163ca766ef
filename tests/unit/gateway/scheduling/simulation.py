"""Real batchers and dispatchers on a clock that jumps from one event to the next, with instances that compute by a formula."""

import asyncio
import contextlib
import random
import selectors
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast
from unittest import mock

from hubserve.gateway.instances.connection import Answered
from hubserve.gateway.instances.dispatcher import InstanceDispatcher
from hubserve.gateway.instances.frame_records import FrameRecords
from hubserve.gateway.instances.instance import Instance
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.side_channel import SideChannel
from hubserve.gateway.queued_request import QueuedRequest
from hubserve.gateway.scheduling.batcher import Batcher, BatchSettings
from hubserve.gateway.scheduling.latency_store import LatencyStore
from hubserve.gateway.statistics import ModuleStatistics
from hubserve.wire.frames import Frame

T = TypeVar("T")

#: time from an instance to the gateway
_WAY_S = 0.0001
#: longest time from an answer to the client's next request
_THINKING_S = 0.0005


class Clock:
    """The time of a simulation.

    Args:
        tick_s: how far each reading of the clock advances it.
    """

    def __init__(self, tick_s: float = 0.0) -> None:
        self.now = 1000.0
        self.tick_s = tick_s

    def monotonic(self) -> float:
        """Replace time.monotonic."""
        self.now += self.tick_s
        return self.now


class _Jump(selectors.DefaultSelector):
    """Never waits: the clock jumps to the next event."""

    clock: Clock

    def select(self, timeout: float | None = None) -> Any:
        assert timeout is not None, "nothing is left that could happen"
        self.clock.now += max(0.0, timeout)
        return []


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        selector = _Jump()
        selector.clock = clock
        self._simulated = clock
        super().__init__(selector)

    def time(self) -> float:
        return self._simulated.now


def simulate(scenario: Callable[[Clock], Coroutine[Any, Any, T]], clock: Clock | None = None) -> T:
    """Run a coroutine on a simulated clock."""
    clock = clock or Clock()
    with mock.patch("time.monotonic", clock.monotonic), contextlib.closing(_Loop(clock)) as loop:
        try:
            return loop.run_until_complete(scenario(clock))
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left))


class Machine:
    """Slows computing instances down.

    Args:
        slowdown: factor on the time of a call, by the number of instances that compute.
    """

    def __init__(self, slowdown: Callable[[int], float] = lambda _: 1.0) -> None:
        self._slowdown = slowdown
        self._jobs: dict[SimulatedInstance, float] = {}
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def compute(self, instance: "SimulatedInstance", seconds: float) -> None:
        """Call ``instance.computed`` after as much work as takes this many seconds on an otherwise idle machine."""
        self._progress()
        self._jobs[instance] = seconds
        self._wait()

    def _progress(self) -> None:
        now = asyncio.get_running_loop().time()
        done_s = (now - self._since) / self._slowdown(len(self._jobs)) if self._jobs else 0.0
        self._since = now
        self._jobs = {instance: left_s - done_s for instance, left_s in self._jobs.items()}

    def _wait(self) -> None:
        if self._timer:
            self._timer.cancel()
        if self._jobs:
            wait_s = max(0.0, min(self._jobs.values())) * self._slowdown(len(self._jobs))
            self._timer = asyncio.get_running_loop().call_later(wait_s, self._next)

    def _next(self) -> None:
        self._progress()
        done = [instance for instance, left_s in self._jobs.items() if left_s <= 1e-9]
        for instance in done:
            del self._jobs[instance]
        for instance in done:
            instance.computed()
        self._wait()


class SimulatedInstance:
    """An instance whose calls take ``seconds(items)``.

    Args:
        machine: the machine that it computes on.
        seconds: how long a call takes while no other instance computes.
        single_call: it computes all of a batch in one call, as models of the Python backend do.
    """

    side_channel: SideChannel | None = None
    output = None
    is_dead = False
    spec = InstanceSpec("simulated", "paddlehub", Path(), "simulated")

    def __init__(self, machine: Machine, seconds: Callable[[int], float], single_call: bool) -> None:
        self.frames = FrameRecords()
        self._machine = machine
        self._seconds = seconds
        self._whole = single_call
        self._frames: deque[tuple[dict[str, Any], Answered]] = deque()
        self._begun_at = 0.0
        self._planned: list[tuple[int, float]] = []
        self.calls: list[int] = []

    def infer(self, header: dict[str, Any], _: Sequence[Any], answered: Answered) -> None:
        """Compute a frame after those before it."""
        self._frames.append((header, answered))
        if len(self._frames) == 1:
            self._begin()

    def _begin(self) -> None:
        header, _ = self._frames[0]
        sizes = header.get("call_sizes") or [1] * _count(header)
        if self._whole:
            sizes = [sum(sizes)]
        self._begun_at = asyncio.get_running_loop().time()
        self._planned = [(size, self._seconds(size)) for size in sizes]
        self.calls += sizes
        self._machine.compute(self, sum(seconds for _, seconds in self._planned))

    def computed(self) -> None:
        """Answer the first frame and begin the next one."""
        header, answered = self._frames.popleft()
        took_s = asyncio.get_running_loop().time() - self._begun_at
        factor = took_s / (sum(seconds for _, seconds in self._planned) or 1.0)
        times = [(size, seconds * factor) for size, seconds in self._planned]
        answer = Frame({"results": [{"outputs": []}] * _count(header), "times": times, "took_s": took_s, "buffers": []}, [])
        asyncio.get_running_loop().call_later(_WAY_S, answered, answer)
        if self._frames:
            self._begin()


def _count(header: dict[str, Any]) -> int:
    """Return the number of requests in a frame."""
    return len(header["calls"] if "calls" in header else header["merged"]["calls"])


def start(
    seconds: Callable[[int], float],
    instances: int,
    *,
    limit: int = 8,
    measured: Sequence[int] = (),
    single_call: bool = False,
    slowdown: Callable[[int], float] = lambda _: 1.0,
    **settings: Any,
) -> tuple[Batcher, list[SimulatedInstance]]:
    """Make a batcher and the instances that it sends request to.

    Args:
        seconds: how long a call takes by its number of items.
        instances: number of instances.
        limit: largest number of items in one call.
        measured: sizes of the batch key "form" that were measured before, while no other instance computed.
        single_call: instances compute all of a batch in one call.
        slowdown: factor on the time of a call, by the number of instances that compute.
        settings: of the batcher.
    """
    latencies = LatencyStore(Path("nowhere"), "")
    latencies.limit = limit
    for size in measured:
        took_s = seconds(size)
        for _ in range(2):  # the first call of a size prepares the engine, the second shows how long it takes
            latencies.of("form").observe(size, took_s)
    batcher = Batcher("m", BatchSettings(**settings), latencies, schedule=asyncio.get_running_loop().call_soon)
    machine = Machine(slowdown)
    made = [SimulatedInstance(machine, seconds, single_call) for _ in range(instances)]
    for instance in made:
        batcher.add_instance(dispatcher_of(instance, batcher, latencies))
    return batcher, made


def dispatcher_of(instance: SimulatedInstance, batcher: Batcher, latencies: LatencyStore) -> InstanceDispatcher:
    """Return a real dispatcher for a simulated instance."""
    return InstanceDispatcher(cast("Instance", instance), batcher, latencies, ModuleStatistics(), lambda _: None)


def new_request(key: str | None = "form", **options: Any) -> QueuedRequest:
    """Make a request of one item."""
    return QueuedRequest({"inputs": [], "answer": "tensors"}, [], 1, key, asyncio.get_running_loop().create_future(), **options)


@dataclass
class Measured:
    """Measurements of the clients of a closed loop, after the warm-up.

    Attributes:
        latencies_s: of every answer.
        seconds: duration of the measurement.
        calls: number of items -> number of such calls, over all instances.
    """

    latencies_s: list[float] = field(default_factory=list)
    seconds: float = 0.0
    calls: Counter[int] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """Return the answers per second."""
        return len(self.latencies_s) / self.seconds

    def latency_s(self, percent: float) -> float:
        """Return a percentile of the latency."""
        return sorted(self.latencies_s)[min(len(self.latencies_s) - 1, int(len(self.latencies_s) * percent / 100))]


def closed_loop(
    seconds_of: Callable[[int], float],
    clients: int,
    instances: int,
    *,
    noise: float = 0.0,
    warm_up_s: float = 3.0,
    lasting_s: float = 10.0,
    seed: int = 1,
    **options: Any,
) -> Measured:
    """Let clients each wait for an answer before their next request of one item.

    Args:
        seconds_of: how long a call takes by its number of items.
        clients: number of clients.
        instances: number of instances.
        noise: standard deviation of the logarithm of each call's time.
        warm_up_s: duration before the measurement.
        lasting_s: duration of the measurement.
        seed: seed of the random numbers.
        options: see :func:`start`.
    """
    source = random.Random(seed)

    def seconds(items: int) -> float:
        return seconds_of(items) * source.lognormvariate(0.0, noise)

    async def scenario(clock: Clock) -> Measured:
        batcher, computing = start(seconds, instances, **options)
        seen, begin = Measured(), clock.now + warm_up_s
        end = begin + lasting_s

        async def client() -> None:
            while clock.now < end:
                asked_at, request = clock.now, new_request()
                batcher.put(request)
                await request.answer
                if begin <= clock.now < end:
                    seen.latencies_s.append(clock.now - asked_at)
                await asyncio.sleep(source.uniform(0.0, _THINKING_S))

        async def forget_warm_up() -> None:
            await asyncio.sleep(warm_up_s)
            for each in computing:
                each.calls.clear()

        await asyncio.gather(forget_warm_up(), *(client() for _ in range(clients)))
        seen.seconds = lasting_s
        seen.calls = Counter(size for each in computing for size in each.calls)
        return seen

    return simulate(scenario)
