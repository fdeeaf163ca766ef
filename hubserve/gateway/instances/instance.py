"""One instance as the gateway sees it: the other end of a connection, wherever its process runs."""

import asyncio
import errno
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from hubserve.errors import HubError, InstanceDied, LoadFailed, from_wire
from hubserve.gateway.instances.connection import Answered, Connection
from hubserve.gateway.instances.frame_reader import FrameProtocol
from hubserve.gateway.instances.frame_records import FrameRecords, ids_of
from hubserve.gateway.instances.instance_spec import InstanceSpec
from hubserve.gateway.instances.module_output import ModuleOutput
from hubserve.gateway.instances.side_channel import SideChannel
from hubserve.kinds.description import Description
from hubserve.wire import frames
from hubserve.wire.arena import Arena
from hubserve.wire.model_access import ModelAccess

log = logging.getLogger("hubserve")

_STOP_TIMEOUT_S = 5.0
#: an idle instance answers a ping at once; one that does not is stuck
PING_TIMEOUT_S = 10.0
#: begins the reason for ending an instance that violated the protocol
BROKEN = "broke the protocol with the gateway: "
#: a frame that has begun continues, unless its writer has stopped
_STALL_TIMEOUT_S = 30.0
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN)


class Instance(ABC):
    """A running instance. It computes its frames one after the other, and answers them in that order.

    Args:
        spec: what it runs.
        models: returns the models that its module may use.

    Attributes:
        description: of the module, once :meth:`start` has returned.
        times: items and seconds of the calls that warmed it up.
        dead: set when it has ended unasked, after its frames were answered with the reason.
        side_channel: its second socket, if its module takes raw requests.
        output: what its process writes; None if that is on another machine.
        frames: the requests of its frames.
        lacks_resources: whether :meth:`start` failed for lack of descriptors, processes or memory, which may pass soon.
        died_loading: whether :meth:`start` failed because the process ended, which may not be the module's fault.
        crash: how the process ended, if a signal ended it while it loaded: completes "the process of module ..."; "" otherwise.
    """

    description: Description

    def __init__(self, spec: InstanceSpec, models: Callable[[], ModelAccess]) -> None:
        self.spec = spec
        self.side_channel: SideChannel | None = None
        self.output: ModuleOutput | None = None
        self.frames = FrameRecords()
        self.times: list[tuple[int, float]] = []
        self.dead = asyncio.Event()
        self.lacks_resources = False
        self.died_loading = False
        self.crash = ""
        self._models = models
        self._loop = asyncio.get_running_loop()
        self._connection: Connection | None = None
        self._end_reason = ""
        self._is_hung = False
        self._stopping = False

    # --- where it runs ---

    @property
    @abstractmethod
    def pid(self) -> int:
        """The process id on this machine; 0 for none."""

    @property
    @abstractmethod
    def location(self) -> str:
        """Its location, for messages."""

    @abstractmethod
    def memory_bytes(self) -> int:
        """Return its resident memory; 0 if unknown."""

    @abstractmethod
    def kill(self) -> None:
        """End it at once; its frames are answered with the reason."""

    @abstractmethod
    async def _connect(self) -> None:
        """Start the process or find it, and connect to it.

        Raises:
            OSError: there are too few descriptors or processes, or too little memory.
            LoadFailed: the place where it should run is not available.
        """

    @abstractmethod
    async def _wait_until_ended(self, deadline: float) -> None:
        """Wait until its process has ended, and kill it at ``deadline`` on the event loop's clock."""

    @abstractmethod
    def _how_it_ended(self) -> str:
        """Complete "the process of module ..."."""

    @abstractmethod
    def _may_have_crashed(self) -> bool:
        """Return whether a signal ended its process, as far as is known."""

    def _on_lost(self, error: Exception | None) -> None:
        """Handle the closing of the socket."""
        log.debug("instance of '%s' closed its socket: %s", self.spec.module, error, extra=self.spec.log_fields())
        self._announce_death()

    def _new_connection(self, arena: Arena | None) -> Connection:
        connection = Connection(arena, self._end_hung, self._end_broken, self._on_lost)
        connection.log_fields = self.spec.log_fields()
        return connection

    # --- state ---

    @property
    def is_dead(self) -> bool:
        """True if it can no longer be given frames."""
        return self._connection is None or self._connection.closed

    @property
    def is_idle(self) -> bool:
        """True if it has answered every frame."""
        return self._connection is None or not self._connection.unanswered

    @property
    def silent_s(self) -> float:
        """Seconds since it last sent anything."""
        return time.monotonic() - self._connection.heard_at if self._connection else 0.0

    # --- loading ---

    async def start(self, measure: bool = False) -> None:
        """Start the process and load the module.

        Args:
            measure: measure how long batches take; see :attr:`times`.
        Raises:
            LoadFailed: the module cannot be loaded, its process ended while it tried, or it took too long.
        """
        try:
            await self._connect()
            frame = await self._load(measure)
            if frame.header["op"] == "failed":
                raise from_wire(frame.header["error"])
            self.description = Description.from_json(frame.header["description"])
        except InstanceDied as error:
            if not self._end_reason and self._may_have_crashed():  # looked at before stop() kills it
                self.crash = self._how_it_ended()
            await self.stop(grace_s=0)
            if self._is_hung:
                raise LoadFailed(f"'{self.spec.module}' did not load within {self.spec.load_timeout_s:g} s; see the server log") from None
            self.died_loading = True
            raise LoadFailed(f"'{self.spec.module}' cannot be loaded: {error.message}") from None
        except OSError as error:
            await self.stop(grace_s=0)
            self.lacks_resources = error.errno in _OUT_OF_RESOURCES
            raise LoadFailed(f"'{self.spec.module}' cannot be started: {error}") from None
        except HubError:
            await self.stop(grace_s=1)
            raise
        except BaseException:
            await self.stop(grace_s=0)
            raise
        self.times = [(int(items), float(seconds)) for items, seconds in frame.header["times"]]
        if self.side_channel and not self.description.raw_requests:
            self.side_channel.close()
            self.side_channel = None
        if self.side_channel:
            self.side_channel.concurrent, self.side_channel.decoupled = self.description.concurrent, self.description.decoupled
            self.frames.keep_more()

    async def _load(self, measure: bool) -> frames.Frame:
        loaded: asyncio.Future[frames.Frame] = self._loop.create_future()

        def on_answer(frame: frames.Frame | InstanceDied) -> None:
            if loaded.done():  # loading was cancelled
                return
            if isinstance(frame, InstanceDied):
                loaded.set_exception(frame)
            else:
                loaded.set_result(frame)

        self._exchange(self.spec.load_order(measure), (), self.spec.load_timeout_s, on_answer)
        return await loaded

    # --- computing ---

    def infer(self, header: dict[str, Any], buffers: Sequence[Any], answered: Answered) -> None:
        """Send one frame of calls to compute; see :mod:`hubserve.instance.frame_calls`.

        Args:
            header: of the frame.
            buffers: of the frame.
            answered: called with the results; with InstanceDied if the instance ended first, or NotComputed if it had not begun
                with this frame.
        """
        self._exchange(header, buffers, self.spec.compute_timeout_s, answered)

    def ping(self) -> None:
        """Send a ping; an instance that does not answer it in time is ended as hung."""
        self._exchange({"op": "ping"}, (), PING_TIMEOUT_S, lambda _: None)

    def _exchange(self, header: dict[str, Any], buffers: Sequence[Any], timeout_s: float, answered: Answered) -> None:
        assert self._connection is not None, "it is started"
        self._connection.exchange(header, buffers, timeout_s, answered)

    def check_frames(self) -> None:
        """End it if it began a frame and does not continue it."""
        ends: list[FrameProtocol | None] = [self._connection, self.side_channel]
        for each in ends:
            if each and each.stalled_s > _STALL_TIMEOUT_S:
                each.break_off(f"it began a frame and sent nothing more of it for {_STALL_TIMEOUT_S:g} s")

    # --- its end ---

    async def stop(self, grace_s: float = _STOP_TIMEOUT_S) -> None:
        """Close the socket, at which an instance ends by itself; kill it if it does not within ``grace_s``."""
        self._stopping = True
        if self._connection:
            self._connection.close()
        if self.side_channel:
            self.side_channel.close()
        if grace_s <= 0:
            self.kill()
        await self._wait_until_ended(self._loop.time() + grace_s)
        self._announce_death()

    def end(self, how: str) -> None:
        """End it at once, for a reason.

        Args:
            how: completes "the process of module ...".
        """
        self._end_reason = self._end_reason or how
        self.kill()
        if self._connection:
            self._connection.close()

    @property
    def end_cause(self) -> str:
        """Return in a word why it ended: it hung, sent what it must not, or crashed."""
        if self._is_hung:
            return "hung"
        return "protocol" if self._end_reason.startswith(BROKEN) else "crash"

    def _end_hung(self, limit_s: float) -> None:
        self._is_hung = True
        self.end(f"was ended because it did not answer within {limit_s:g} s")

    def _end_broken(self, reason: str) -> None:
        if not self._stopping:
            self.end(BROKEN + reason)

    def _announce_death(self) -> None:
        error = InstanceDied("the instance was stopped") if self._stopping else self.death()
        if not (self._stopping or self.dead.is_set()):
            self.dead.set()
            computed = self._connection.unanswered if self._connection else 0
            ids = ids_of(self.frames.latest(computed)) if computed else ""
            log.error("%s", error.message, extra={**self.spec.log_fields(), "request_id": ids})
        if self._connection:
            self._connection.fail(error)
        if self.side_channel:
            self.side_channel.fail(error)

    def death(self, how: str = "") -> InstanceDied:
        """Return the error for the requests that the end of the process affects.

        Args:
            how: completes "the process of module ..."; "" for the known reason.
        """
        how = how or self._end_reason or self._how_it_ended()
        return InstanceDied(f"the process of module '{self.spec.module}' ({self.location}) {how}; see the server log")
