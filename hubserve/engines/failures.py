"""Turning the engines' own exceptions into errors that say what, why and what to do."""

from contextlib import contextmanager
from typing import Dict, Iterator

import numpy as np

from hubserve.engines.base import ModelFiles
from hubserve.errors import HubError, LoadFailed, ModuleFailed

_REASON_CHARACTERS = 300


@contextmanager
def loading(engine: str, files: ModelFiles) -> Iterator[None]:
    """Around the loading of a model: whatever the engine raises becomes LoadFailed."""
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        names = " + ".join(each.name for each in files if each is not None)
        raise LoadFailed(
            f"the {engine} engine cannot load {names} from '{files.graph.parent}': {reason(error)}. "
            "The files may be damaged, cut short or not belong together: export or copy the model again.",
            detail=str(error),
        ) from error


@contextmanager
def computing(engine: str, inputs: Dict[str, np.ndarray]) -> Iterator[None]:
    """Around one computation: whatever the engine raises becomes ModuleFailed, with the shapes it was given."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items())
        raise ModuleFailed(f"the {engine} engine could not compute {shapes}: {reason(error)}", detail=str(error)) from error


def reason(error: BaseException) -> str:
    """The line of an engine's long error that says most."""
    lines = [line.strip() for line in str(error).splitlines()]
    telling = [line for line in lines if line and not line.startswith(("---", "Traceback", "Exception from", "Check ", "C++"))]
    # Paddle names the kind of error in brackets, at the start of the line that explains it
    chosen = next((line for line in telling if line.startswith("(")), telling[-1] if telling else type(error).__name__)
    return chosen[:_REASON_CHARACTERS].rstrip(". ")
