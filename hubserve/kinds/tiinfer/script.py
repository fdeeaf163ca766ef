"""A tiinfer script that this process has loaded."""

import inspect
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Callable, Dict, List, Optional, Type

from hubserve.errors import InvalidInput, LoadFailed, one_line, safe_text
from hubserve.kinds.base import LoadedModule
from hubserve.kinds.called_methods import as_json
from hubserve.kinds.description import Description, Interface
from hubserve.kinds.module_failures import failures_named
from hubserve.kinds.tiinfer.script_log import LastError
from hubserve.kinds.tiinfer.source import SCRIPT, read_script
from hubserve.kinds.tiinfer.variables import Variables, model_dir_of

_USAGE = 'one argument, the request as JSON text or @FILE with it, as in: hub run NAME \'{"images": ["<base64 of a picture>"]}\''
_LONGEST_REASON = 500
_LONGEST_DOC = 8000
_LONGEST_EXAMPLE = 64 << 10


class TiinferScript(LoadedModule):
    """An object of a script's class, whose ``load()`` has succeeded.

    ``preprocess``, ``predict`` and ``postprocess`` are chained by the object's ``__call__``, as in tiinfer. With a largest batch above 1
    all three get a list of requests and return one. With threads for ``preprocess`` or ``postprocess`` these get one request each, on
    objects of their own, which are constructed but not loaded; ``predict`` still gets the list.

    Args:
        cls: the script's class.
        folder: the script's.
        init_args: further arguments of the constructor.
        variables: the script's.
    Raises:
        LoadFailed: the constructor fails, or ``load()`` fails or returns a false value.
    """

    def __init__(self, cls: Type[Any], folder: Path, init_args: Dict[str, Any], variables: Variables) -> None:
        model_dir = model_dir_of(folder, variables)

        def construct() -> Any:
            with failures_named(f"cannot construct '{cls.__name__}'"):
                return cls(model_dir, **init_args)

        self._model = construct()
        _load(self._model, folder / SCRIPT)
        _note_workers(self._model, folder)
        self._preprocess = _Stage("preprocess", construct, variables.preprocess_threads) if variables.preprocess_threads else None
        self._postprocess = _Stage("postprocess", construct, variables.postprocess_threads) if variables.postprocess_threads else None
        together = variables.max_batch_size
        self.description = Description(
            interfaces=[Interface.JSON],
            max_batch_size=together,
            any_json=True,
            merges_json=together > 1,
            batched=False,
            doc=safe_text(cls, _own_doc)[:_LONGEST_DOC],
            example=_example_of(self._model),
        )

    def call_json(self, arguments: Any) -> Any:
        """See the base class."""
        if self._preprocess is None and self._postprocess is None:
            return self._model(arguments)
        (request,) = _each(self._preprocess, self._model.preprocess, [arguments])
        (answer,) = _each(self._postprocess, self._model.postprocess, [self._model.predict(request)])
        return answer

    def call_jsons(self, requests: List[Any]) -> List[Any]:
        """See the base class; what the script returns is checked by the caller."""
        if self._preprocess is None and self._postprocess is None:
            return self._model(requests)  # type: ignore[no-any-return]  # the script's
        answers = self._model.predict(_each(self._preprocess, self._model.preprocess, requests))
        if not isinstance(answers, (list, tuple)) or len(answers) != len(requests):
            return answers  # type: ignore[no-any-return]  # refused by the caller
        return _each(self._postprocess, self._model.postprocess, list(answers))

    def run(self, argv: List[str]) -> Any:
        """See the base class: compute the request in the one argument."""
        if len(argv) != 1:
            raise InvalidInput(f"a tiinfer script takes {_USAGE}; got {len(argv)} arguments")
        try:
            request = json.loads(Path(argv[0][1:]).read_bytes() if argv[0].startswith("@") else argv[0])
        except OSError as error:
            raise InvalidInput(f"the file '{argv[0][1:]}' cannot be read: {error.strerror}. Give {_USAGE}") from None
        except ValueError as error:
            raise InvalidInput(f"the argument is not JSON: {error}. Give {_USAGE}") from None
        return self.call_jsons([request])[0] if self.description.merges_json else self.call_json(request)

    def close(self) -> None:
        """See the base class."""
        for stage in (self._preprocess, self._postprocess):
            if stage is not None:
                stage.close()


def _own_doc(cls: Type[Any]) -> str:
    """Return the docstring of a class, but not that of the classes that it inherits from."""
    text = vars(cls).get("__doc__")
    return inspect.cleandoc(text).encode("utf-8", "replace").decode() if isinstance(text, str) else ""


def _example_of(model: Any) -> str:
    """Return the attribute ``serving_example`` of a script's object as JSON text; "" if it has none."""
    example = getattr(model, "serving_example", None)
    return "" if example is None else as_json(example, _LONGEST_EXAMPLE)


class _Stage:
    """A method that threads run, each call on one of as many objects.

    Args:
        name: of the method.
        construct: returns a new object.
        threads: how many.
    """

    def __init__(self, name: str, construct: Callable[[], Any], threads: int) -> None:
        self._name = name
        self._objects: "SimpleQueue[Any]" = SimpleQueue()
        for _ in range(threads):
            self._objects.put(construct())
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"tiinfer-{name}")

    def map(self, values: List[Any]) -> List[Any]:
        """Return what the method makes of each value; the first error is raised once all calls have ended."""
        futures = [self._threads.submit(self._call, value) for value in values]
        errors = [error for error in (each.exception() for each in futures) if error is not None]
        if errors:
            raise errors[0]
        return [each.result() for each in futures]

    def _call(self, value: Any) -> Any:
        target = self._objects.get()
        try:
            return getattr(target, self._name)(value)
        finally:
            self._objects.put(target)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False)


def _each(stage: Optional[_Stage], method: Callable[[Any], Any], values: List[Any]) -> List[Any]:
    return [method(value) for value in values] if stage is None else stage.map(values)


def _load(model: Any, path: Path) -> None:
    base = sys.modules["tiinfer"].Model
    if type(model).load is base.load:
        return  # the script has nothing to load
    with LastError() as last, failures_named(f"'{path}': {type(model).__name__}.load() failed"):
        loaded = model.load()
    if not loaded:
        returned = "False" if loaded is not None else "None instead of True"
        logged = f", and logged: {one_line(last.text, _LONGEST_REASON)}" if last.text else " without logging an error"
        raise LoadFailed(f"'{path}': {type(model).__name__}.load() returned {returned}{logged}. Fix the cause and start it again.")


def _note_workers(model: Any, folder: Path) -> None:
    """Log a number of processes that the source does not show, because the server could not follow it."""
    asked = getattr(model, "workers", None)
    if isinstance(asked, int) and asked > 1 and not read_script(folder).workers:
        sys.stderr.write(
            f"{folder / SCRIPT}: self.workers is {asked}, but not written as a number in __init__, so that it was not known when the "
            'processes were started; set TI_INFERENCE_NUMS, or "workers" of the module in the server\'s configuration\n'
        )
