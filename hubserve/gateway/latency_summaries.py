"""Quantiles of the latencies of one served module."""

from hubserve.telemetry.summary import Summary


class LatencySummaries:
    """Summaries of successful requests, in seconds.

    Attributes:
        request: from the check to the answer.
        queue: waiting.
        compute_input, compute_infer, compute_output: the parts of computing.
    """

    __slots__ = ("compute_infer", "compute_input", "compute_output", "queue", "request")

    def __init__(self) -> None:
        self.request = Summary()
        self.queue = Summary()
        self.compute_input = Summary()
        self.compute_infer = Summary()
        self.compute_output = Summary()

    def add_computed(self, input_s: float, infer_s: float, output_s: float, at: float) -> None:
        """Add the times of one request's computing, at a time on the clock of ``time.monotonic``."""
        self.compute_input.add(input_s, at)
        self.compute_infer.add(infer_s, at)
        self.compute_output.add(output_s, at)
