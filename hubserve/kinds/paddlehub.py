"""Modules of PaddleHub: a folder whose ``module.py`` has a class under ``@moduleinfo``."""

import inspect
import json
from pathlib import Path
from typing import Any, Callable, Dict, Iterable, List, Optional, Tuple, Type

import numpy as np

from hubserve.errors import LoadFailed, UnsupportedFace, WrongArguments, usage_sentence
from hubserve.kinds import source
from hubserve.kinds.annotations import import_leniently
from hubserve.kinds.base import Kind, LoadedModule, ModuleInfo
from hubserve.kinds.called_methods import CalledMethod, as_json
from hubserve.kinds.description import Description, Interface
from hubserve.kinds.import_hooks import install_package
from hubserve.kinds.module_failures import failures_named
from hubserve.kinds.removed_names import runtime
from hubserve.module import BatchSpec, JsonArray
from hubserve.types import TensorSpec

#: the key of pictures in a JSON request to a module that names none
_PICTURES = "images"
_LONGEST_EXAMPLE = 64 << 10


class PaddleHubKind(Kind):
    """Modules of PaddleHub's form, old (``_initialize``) and new (``__init__``), with or without a ``@batch`` method."""

    name = "paddlehub"
    looks_for = "a module.py with a class under @moduleinfo"
    main_file = "module.py"

    def recognises(self, folder: Path) -> bool:
        """See the base class; a ``module.py`` is enough, :meth:`describe` reports errors inside it."""
        return (folder / "module.py").is_file()

    def describe(self, folder: Path) -> ModuleInfo:
        """See the base class."""
        return source.read_module_class(folder / "module.py").to_info(self.name)

    def code_file(self, folder: Path, init_args: Dict[str, Any]) -> Path:  # noqa: ARG002 - the base class's signature
        """See the base class."""
        return folder / "module.py"

    def import_only(self, folder: Path, import_name: str) -> None:
        """See the base class."""
        _import_class(folder, import_name)

    def load(self, folder: Path, import_name: str, init_args: Dict[str, Any], defaults: Dict[str, Any]) -> "PaddleHubModule":
        """See the base class."""
        cls = _import_class(folder, import_name)
        with failures_named(f"cannot construct '{cls.__name__}'"):
            return PaddleHubModule(_construct(cls, folder, init_args, defaults))


class PaddleHubModule(LoadedModule):
    """A constructed PaddleHub module.

    Attributes:
        module: the object of the author's class.
    """

    def __init__(self, module: Any) -> None:
        self.module = module
        self._serving = _find_marked(module, "_serving", named_by="serving_func_name")
        self._run = _find_marked(module, "_runnable", named_by="_run_func_name")
        self._batch = _find_marked(module, "_batch")
        self._pictures = _find_marked(module, "_pictures")
        self._answer_json = CalledMethod(self._serving, usage=str(getattr(module, "serving_usage", ""))) if self._serving else None
        self._answer_pictures = CalledMethod(self._pictures, given=1) if self._pictures else None
        self.description = self._describe()

    def _describe(self) -> Description:
        interfaces = [Interface.JSON] if self._serving or self._batch else []
        engine = getattr(self.module, "engine_info", None)
        if not self._batch:
            interfaces += [Interface.PICTURE] if self._pictures else []
            types: Dict[str, str] = {}
            for each in (self._answer_pictures, self._answer_json):
                types.update(each.types if each else {})
            return Description(
                interfaces=interfaces, engine=engine, usage=self._usage(None, ""), argument_types=types, **self._documentation()
            )
        spec: BatchSpec = self._batch._batch  # type: ignore[attr-defined]  # set by the decorator
        inputs, outputs = self._specs("inputs"), self._specs("outputs")
        picture_item = None
        if hasattr(self.module, "preprocess"):
            item = np.asarray(self.module.preprocess(np.zeros((32, 32, 3), np.uint8)))
            picture_item = TensorSpec(inputs[0].name, item.dtype.name, item.shape)
        json_array: Optional[JsonArray] = getattr(self.module, "json_array", spec.json)
        json_pictures = ""
        if picture_item and (json_array or not self._serving):
            json_pictures = json_array.data if json_array else _PICTURES
        return Description(
            interfaces=[Interface.TENSORS, *interfaces, *([Interface.PICTURE] if picture_item or self._pictures else [])],
            inputs=inputs,
            outputs=outputs,
            json_array=json_array,
            json_pictures=json_pictures,
            usage=self._usage(json_array and (json_array, inputs[0]), json_pictures),
            argument_types=self._answer_json.types if self._answer_json else None,
            picture_item=picture_item,
            max_batch_size=int(getattr(self.module, "max_batch_size", spec.max_batch_size)),
            engine=engine,
            labels=getattr(self.module, "output_labels", None),
            **self._documentation(),
        )

    def _documentation(self) -> Dict[str, Any]:
        """Return what the description of the server says about JSON requests."""
        documented = self._answer_json or self._answer_pictures
        if documented is None:
            return {"doc": CalledMethod(self._batch).doc} if self._batch else {}
        example = getattr(self.module, "serving_example", None)
        return {
            "arguments": documented.arguments,
            "takes_any": documented.takes_any,
            "doc": documented.doc,
            "example": as_json(example, _LONGEST_EXAMPLE) if isinstance(example, dict) else "",
        }

    def _usage(self, array: Optional[Tuple[JsonArray, TensorSpec]], pictures: str) -> str:
        """Return the form of JSON requests, in words and examples."""
        forms = [json.dumps({pictures: ["<base64 of a picture>"]})] if pictures else []
        if array:
            keys, spec = array
            about = {"shape": [max(1, length) for length in spec.shape], "dtype": spec.dtype}
            forms.append(json.dumps({keys.data: "<base64 of the array>", keys.about: about}))
        if self._answer_json and self._answer_json.usage:
            forms.append(self._answer_json.usage)
        return "; or ".join(forms)

    def _specs(self, attribute: str) -> List[TensorSpec]:
        specs = getattr(self.module, attribute, None)
        if not specs or not all(isinstance(each, TensorSpec) for each in specs):
            raise LoadFailed(
                f"a module with a @batch method needs an attribute '{attribute}', a list of TensorSpec, once it is constructed; "
                f"it has {specs!r}. Set self.{attribute} in _initialize or __init__."
            )
        return list(specs)

    def call_json(self, arguments: Dict[str, Any]) -> Any:
        """See the base class."""
        if self._answer_json is None:
            raise self.unsupported(Interface.JSON)
        try:
            return self._answer_json(arguments)
        except WrongArguments as error:
            raise self._with_usage(error) from None

    def call_tensors(self, inputs: Dict[str, np.ndarray]) -> Any:
        """See the base class."""
        if self._batch is None:
            raise self.unsupported(Interface.TENSORS)
        return self._batch(**inputs)

    def call_pictures(self, pictures: Iterable[np.ndarray], arguments: Dict[str, Any]) -> Any:
        """See the base class."""
        if self._answer_pictures is None:
            raise self.unsupported(Interface.PICTURE)
        try:
            return self._answer_pictures(arguments, pictures)
        except WrongArguments as error:
            raise WrongArguments(f"{error.message}. The pictures come with {self._answer_pictures.usage}") from None

    def _with_usage(self, error: WrongArguments) -> WrongArguments:
        return WrongArguments(error.message + usage_sentence(self.description.usage))

    def preprocess(self, picture: bytes) -> np.ndarray:
        """See the base class."""
        from hubserve.vision.codecs import decode_picture

        if self.description.picture_item is None:
            raise self.unsupported(Interface.PICTURE)
        return np.asarray(self.module.preprocess(decode_picture(picture)))

    def postprocess(self, outputs: Any, elapse_s: float) -> Any:
        """See the base class; without a method of that name the outputs are the answer."""
        if hasattr(self.module, "postprocess"):
            return self.module.postprocess(outputs, elapse_s)
        return outputs

    def run(self, argv: List[str]) -> Any:
        """See the base class."""
        if not self._run:
            raise UnsupportedFace("this module has no method for 'hub run' (none is marked @runnable)")
        return self._run(argv)

    def create_app(self) -> Any:
        """See the base class."""
        create = getattr(self.module, "create_gradio_app", None)
        return create() if create else super().create_app()


def _import_class(folder: Path, import_name: str) -> Type[Any]:
    class_name = source.read_module_class(folder / "module.py").class_name
    import_name = import_name.replace(".", "_")  # a dot would make it a package inside another
    runtime.install()
    install_package(import_name, folder)
    with failures_named(f"cannot import '{folder / 'module.py'}'"):
        cls: Type[Any] = getattr(import_leniently(import_name + ".module"), class_name)
    _refuse_unfinished(cls, folder / "module.py")
    return cls


def _refuse_unfinished(cls: Type[Any], path: Path) -> None:
    """Refuse methods for requests that return something else than an answer.

    Raises:
        LoadFailed: one is a generator function or a coroutine function.
    """
    methods = [_marked_name(cls, marker) for marker in ("_serving", "_batch", "_pictures")]
    for name in {*methods, getattr(cls, "serving_func_name", None), "postprocess"}:
        method = getattr(cls, name, None) if isinstance(name, str) and name else None
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            raise LoadFailed(
                f"'{path}': {cls.__name__}.{name} is 'async def', which is never awaited: an instance computes one request at a time. "
                "Make it 'def', and call asyncio.run(...) in it to wait for coroutines."
            )
        if inspect.isgeneratorfunction(method):
            raise LoadFailed(
                f"'{path}': {cls.__name__}.{name} is a generator (it has 'yield'), and a request has one answer. "
                "Collect its values in a list, and return that."
            )


def _construct(cls: Type[Any], folder: Path, init_args: Dict[str, Any], defaults: Dict[str, Any]) -> Any:
    """Construct a module as PaddleHub does, but pass ``directory`` only to constructors that take it."""
    cls.directory = str(folder)
    initialize = getattr(cls, "_initialize", None)
    if initialize is None:
        return cls(**_with_defaults(cls.__init__, init_args, defaults))
    takes_directory = "directory" in _with_defaults(cls.__init__, {}, {"directory": ""})
    module = cls(directory=str(folder)) if takes_directory else cls()
    module._initialize(**_with_defaults(initialize, init_args, defaults))
    return module


def _with_defaults(function: Callable[..., Any], given: Dict[str, Any], defaults: Dict[str, Any]) -> Dict[str, Any]:
    """Add the defaults that a function takes; explicit arguments are never dropped, so a wrong name still fails."""
    if function is object.__init__:
        return given
    parameters = inspect.signature(function).parameters.values()
    takes_any = any(each.kind is each.VAR_KEYWORD for each in parameters)
    names = {each.name for each in parameters if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)}
    return {**{key: value for key, value in defaults.items() if takes_any or key in names}, **given}


def _find_marked(module: Any, marker: str, named_by: str = "") -> Optional[Callable[..., Any]]:
    """Return the method that carries a decorator's mark, also on a base class; the real paddlehub names it in an attribute instead."""
    name = _marked_name(type(module), marker)
    if name is not None:
        return getattr(module, name)  # type: ignore[no-any-return]  # a bound method
    named = getattr(module, named_by, None) if named_by else None
    return getattr(module, named) if isinstance(named, str) and named else None


def _marked_name(cls: Type[Any], marker: str) -> Optional[str]:
    for each in cls.__mro__:
        for name, member in vars(each).items():
            if getattr(member, marker, None) and callable(member):
                return name
    return None
