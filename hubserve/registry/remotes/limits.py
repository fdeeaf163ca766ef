"""Time limits of calls into libraries that have none of their own, or only some."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from hubserve.registry.downloads.http import Interrupted

T = TypeVar("T")


def within(seconds: float, shown: str, call: Callable[[], T]) -> T:
    """Return the result of a call; the thread of one that takes too long is abandoned, and ends with its connection.

    Raises:
        Interrupted: it took too long.
    """
    result: list[Any] = []

    def run() -> None:
        try:
            result.append((call(), None))
        except BaseException as error:  # raised again by the caller's thread
            result.append((None, error))

    thread = threading.Thread(target=run, name="remote-call", daemon=True)
    thread.start()
    thread.join(seconds)
    if not result:
        raise Interrupted(
            f"'{shown}' has not answered within {seconds:g} s. Try again later, or wait longer: hub config install.fetch_timeout_s==SECONDS"
        )
    value, error = result[0]
    if error is not None:
        raise error
    return value  # type: ignore[no-any-return]
