"""Reduce TensorFlow's errors, which carry traces of the code that made a graph, to the sentence that says what happened."""

import re
from contextlib import contextmanager
from typing import Any, Iterator

from hubserve.errors import HubError

#: of the node, where it was made, and the colours of Keras
_NODE = re.compile(r"\s*\[\[|\[Op:|\s*\(defined at |\n\s*Original stack trace|\n\s*Call arguments received|\n\s*Arguments received by")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_HEADING = re.compile(
    r"Graph execution error:|Detected at node|<stack traces unavailable>|\d+ root error\(s\) found|File \"|Traceback|"
    r"Exception encountered when"
)
_CODE = re.compile(r"^(?:\(\d+\) )?(?:[A-Z_]{4,}: +)?")
#: follows a missing file, and is about machines beside this one
_ADVICE = re.compile(r"\s+You may be trying to load on a different device.*", re.DOTALL)
_SHORTAGE = "out of memory: "


class Plain(Exception):
    """An error of TensorFlow in one sentence."""


@contextmanager
def plainly(tensorflow: Any) -> Iterator[None]:
    """Replace any error of TensorFlow or Keras by a :class:`Plain` one.

    An error of code that a model runs in Python, by ``tf.py_function``, keeps its type in the sentence.
    """
    try:
        yield
    except (MemoryError, HubError):
        raise
    except tensorflow.errors.ResourceExhaustedError as error:
        raise Plain(_SHORTAGE + sentence(str(error))) from error
    except Exception as error:
        raise Plain(sentence(str(error)) or type(error).__name__) from error


def sentence(text: str) -> str:
    """Return the line of an error's text that says what happened."""
    text = _ADVICE.sub("", _COLOURS.sub("", text))
    # of several errors that were found together the first one
    lines = [line for line in _NODE.split(text.strip())[0].splitlines() if line.strip()]
    telling = [line.strip() for line in lines if not _HEADING.match(line.strip())]
    if any(line.startswith("Traceback") for line in lines) or any(_HEADING.match(line.strip()) for line in lines):
        telling = telling[-1:]  # what precedes it is code
    return _CODE.sub("", " ".join(telling)).strip()
