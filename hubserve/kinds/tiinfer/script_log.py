"""Log output of tiinfer scripts, and the last error among it."""

import logging
import sys
from types import TracebackType
from typing import Optional, Type

_FORMAT = "%(asctime)s %(levelname)s    %(module)s:%(lineno)d    %(message)s"


def start_logging() -> None:
    """Write what scripts log, from level INFO up, to the instance's log, unless this process has handlers already."""
    logging.basicConfig(stream=sys.stderr, format=_FORMAT, level=logging.INFO)


class LastError(logging.Handler):
    """Context manager that keeps the last message of level ERROR or above.

    Attributes:
        text: the message; "" for none.
    """

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a message; one whose arguments do not fit is kept without them."""
        try:
            self.text = record.getMessage()
        except Exception:
            self.text = str(record.msg)

    def __enter__(self) -> "LastError":
        logging.getLogger().addHandler(self)
        return self

    def __exit__(self, _type: Optional[Type[BaseException]], _error: Optional[BaseException], _trace: Optional[TracebackType]) -> None:
        logging.getLogger().removeHandler(self)
