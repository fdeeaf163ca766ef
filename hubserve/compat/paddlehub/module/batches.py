"""Split inputs into batches, and run a model without gradients."""

from contextlib import contextmanager
from typing import Any, Iterator, List, Sequence


def in_batches(items: Sequence[Any], batch_size: int) -> Iterator[List[Any]]:
    """Yield lists of ``batch_size`` items; the last may be shorter."""
    if batch_size < 1:
        raise ValueError(f"batch_size must be 1 or more, got {batch_size}")
    for start in range(0, len(items), batch_size):
        yield list(items[start : start + batch_size])


@contextmanager
def computing(model: Any) -> Iterator[None]:
    """Run a Paddle layer in evaluation mode, without gradients, inside the ``with`` block."""
    import paddle

    model.eval()
    with paddle.no_grad():
        yield
