"""``RunModule``: the base class that ``@moduleinfo`` adds to every module."""

import inspect
import os
import sys
from typing import Any, Callable, Dict, List, Optional

from paddlehub._training import refuse


class RunModule:
    """Base class of every published module.

    As in the original, once Paddle is imported the methods of a module that is not a ``paddle.nn.Layer`` run in Paddle's static mode:
    modules from before Paddle 2 build and run programs.
    """

    def __init__(self, *_args: Any, **_settings: Any) -> None:
        super().__init__()

    def __getattribute__(self, name: str) -> Any:
        """Return a method, wrapped to run in static mode if needed, or any other attribute."""
        found = object.__getattribute__(self, name)
        paddle = sys.modules.get("paddle")
        if name.startswith("__") or not inspect.ismethod(found) or not hasattr(paddle, "nn"):
            return found
        if isinstance(self, paddle.nn.Layer):  # type: ignore[union-attr]  # the line above has looked
            return found
        from paddlehub.compat.paddle_utils import run_in_static_mode

        return run_in_static_mode(found)

    def _marked(self, marker: str) -> Optional[str]:
        for cls in type(self).__mro__:
            for name, member in vars(cls).items():
                if getattr(member, marker, None):
                    return name
        return None

    @property
    def _run_func_name(self) -> Optional[str]:
        """Name of the ``@runnable`` method."""
        return self._marked("_runnable")

    @property
    def _run_func(self) -> Optional[Callable[[List[str]], Any]]:
        return getattr(self, self._run_func_name) if self._run_func_name else None

    @property
    def is_runnable(self) -> bool:
        """True if ``hub run`` works."""
        return self._run_func_name is not None

    @property
    def serving_func_name(self) -> Optional[str]:
        """Name of the ``@serving`` method."""
        return self._marked("_serving")

    @classmethod
    def get_py_requirements(cls) -> List[str]:
        """Return the lines of the module's ``requirements.txt``."""
        path = os.path.join(os.path.dirname(str(sys.modules[cls.__module__].__file__)), "requirements.txt")
        if not os.path.isfile(path):
            return []
        with open(path, encoding="utf-8") as file:
            return file.read().splitlines()

    def sub_modules(self, recursive: bool = True) -> Dict[str, Any]:
        """Return the modules that are attributes of this one, by attribute; nested ones as ``attribute/attribute``."""
        found: Dict[str, Any] = {}
        for name, value in vars(self).items():
            if value is self or not isinstance(value, RunModule):
                continue
            found[name] = value
            if recursive:
                found.update({f"{name}/{inner}": each for inner, each in value.sub_modules().items()})
        return found

    def save_inference_model(self, *_args: Any, **_settings: Any) -> None:
        """Raise: this is not supported here."""
        raise refuse("exporting a module's model")

    def export_onnx_model(self, *_args: Any, **_settings: Any) -> None:
        """Raise: this is not supported here."""
        raise refuse("exporting a module's model")
