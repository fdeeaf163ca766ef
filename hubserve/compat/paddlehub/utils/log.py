"""``paddlehub.utils.log``: a logger named ``logger``, and a progress bar."""

import logging
import sys
from contextlib import contextmanager
from typing import Any, Iterator

#: between INFO and WARNING
TRAIN, EVAL = 21, 22


class Logger:
    """Logger to the standard error stream, which is a server's log, with all methods of :class:`logging.Logger`.

    Attributes:
        logger: the logger of the standard library.
    """

    def __init__(self, name: str = "PaddleHub") -> None:
        logging.addLevelName(TRAIN, "TRAIN")
        logging.addLevelName(EVAL, "EVAL")
        self.logger = logging.getLogger(name)
        if not self.logger.handlers:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter("[%(asctime)s] [%(levelname)8s] - %(message)s"))
            self.logger.addHandler(handler)
            self.logger.setLevel(logging.INFO)
            self.logger.propagate = False

    def __getattr__(self, name: str) -> Any:
        """Return a method of the standard library's logger, such as ``info``."""
        return getattr(object.__getattribute__(self, "logger"), name)

    def __call__(self, level: int, message: str) -> None:
        """Write at a level given by its number."""
        self.logger.log(level, message)

    def train(self, message: str, *args: Any) -> None:
        """Write at the level TRAIN."""
        self.logger.log(TRAIN, message, *args)

    def eval(self, message: str, *args: Any) -> None:
        """Write at the level EVAL."""
        self.logger.log(EVAL, message, *args)

    def disable(self) -> None:
        """Write nothing from now on."""
        self.logger.disabled = True

    def enable(self) -> None:
        """Write again."""
        self.logger.disabled = False

    @property
    def is_enable(self) -> bool:
        """True if lines are written."""
        return not self.logger.disabled

    @contextmanager
    def use_terminator(self, terminator: str) -> Iterator[None]:
        """End lines with another terminator inside the ``with`` block."""
        handlers = [each for each in self.logger.handlers if isinstance(each, logging.StreamHandler)]
        before = [each.terminator for each in handlers]
        for each in handlers:
            each.terminator = terminator
        try:
            yield
        finally:
            for each, old in zip(handlers, before):
                each.terminator = old

    @contextmanager
    def processing(self, message: str, interval: float = 0.1) -> Iterator[None]:  # noqa: ARG002 - a log shows no animation
        """Log the running action once."""
        self.logger.info(message)
        yield


class ProgressBar:
    """Progress bar that prints a title, and a line for each tenth."""

    def __init__(self, title: str, flush_interval: float = 0.1) -> None:  # noqa: ARG002 - as above
        self.title = title
        self._tenths = 0

    def __enter__(self) -> "ProgressBar":
        """Print the title."""
        sys.stdout.write(f"{self.title}\n")
        return self

    def __exit__(self, *failure: Any) -> None:
        """Print the end, unless there was an error."""
        if failure[0] is None:
            self.update(1.0)

    def update(self, progress: float) -> None:
        """Set the progress, from 0 to 1."""
        while self._tenths < min(10, int(progress * 10)):
            self._tenths += 1
            sys.stdout.write(f"[{'#' * self._tenths:<10}] {self._tenths * 10}%\n")
            sys.stdout.flush()


logger = Logger()
