"""Instance that keeps the batches it is given until a test answers them."""

from collections import deque

from hubserve.gateway.queued_request import QueuedRequest


class FakeInstance:
    """Base of the tests' instances; a test says when they are open, answer and die."""

    def __init__(self) -> None:
        self.expected_s: deque[float] = deque()
        self.batches: list[list[QueuedRequest]] = []
        self.waiting: deque[list[QueuedRequest]] = deque()
        self.is_alive = True

    @property
    def in_flight(self) -> int:
        return len(self.waiting)

    @property
    def given(self) -> int:
        return len(self.batches)

    @property
    def unfinished(self) -> int:
        return self.in_flight

    @property
    def is_open(self) -> bool:
        return self.is_alive and len(self.waiting) < 2

    def admits(self, request: QueuedRequest) -> bool:
        return not (request.isolated and self.in_flight)

    def give(self, batch: list[QueuedRequest], call_sizes: list[int]) -> None:
        self.batches.append(batch)
        self.waiting.append(batch)
