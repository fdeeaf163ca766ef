"""Arguments that Paddle's predictor no longer takes. This file is imported while Paddle is still being imported."""

import os
from typing import Any, Callable, Optional


def config(present: Any, log: Callable[[], None]) -> Optional[Any]:
    """Return a ``Config`` that takes folders of Paddle 2's models: since 3.0 ``Config(folder, "inference")`` looks for a .json only."""

    class Config(present):  # type: ignore[misc]  # a class of whichever Paddle there is
        """Paddle's own class, which also takes a folder that holds ``<name>.pdmodel``."""

        def __init__(self, *args: Any) -> None:
            files = _old_model(*args) if len(args) == 2 else None
            if files:
                log()
            super().__init__(*(files or args))

    Config.__qualname__ = "Config"
    return Config


def _old_model(folder: Any, prefix: Any) -> Any:
    """Return the two files of a Paddle 2 model in a folder; None if the arguments do not name such a model."""
    if not (isinstance(folder, str) and isinstance(prefix, str) and os.path.isdir(folder)):
        return None
    name = os.path.join(folder, prefix)
    model, weights = name + ".pdmodel", name + ".pdiparams"
    is_old = os.path.isfile(model) and os.path.isfile(weights) and not os.path.exists(name + ".json")
    return (model, weights) if is_old else None
