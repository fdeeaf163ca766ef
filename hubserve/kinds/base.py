"""What every kind of module provides."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from hubserve.errors import UnsupportedFace
from hubserve.kinds.raw_requests import Answer, WholeRequest
from hubserve.module import JsonArray
from hubserve.types import ANY, TensorSpec, specs_from_json, specs_to_json


class ModuleInfo(NamedTuple):
    """What can be said of a module without running its code."""

    name: str
    version: str
    kind: str
    author: str = ""
    author_email: str = ""
    summary: str = ""
    type: str = ""
    #: the method behind ``/predict/<name>``, if any
    serving_method: str = ""
    #: whether ``hub run`` works
    runnable: bool = False
    #: whether the server may merge requests
    batches: bool = False
    #: the Pythons that it runs on, as PEP 440 writes ranges; "" for any
    requires_python: str = ""
    #: its wishes for its environment; see :mod:`hubserve.registry.environments.module_requirements`
    environment: Optional[Dict[str, Any]] = None

    def to_json(self) -> Dict[str, Any]:
        """As a JSON object."""
        return dict(self._asdict())


class Face:
    """The names of the three forms of request."""

    TENSORS = "tensors"
    JSON = "json"
    PICTURE = "picture"


class Description(NamedTuple):
    """What a loaded module answers; the instance sends it to the gateway.

    Attributes:
        faces: those of :class:`Face` that it supports.
        inputs, outputs: of the tensors face.
        json_array: where a JSON request carries the tensors, if it may.
        picture_item: dtype and shape of the item that one picture becomes; None for a module that answers pictures as they are, or none.
        max_batch_size: the most items in one call; 1 where requests cannot be merged.
        engine: what computes, for people to read: ``{"name", "reason", ...}``.
        batched: whether the first dimension of its tensors is the batch; False: each request is computed as it is.
        whole_requests: whether it is given requests (:meth:`LoadedModule.call_requests`) rather than merged arrays.
        decoupled: whether it may answer one request by any number of responses; see :meth:`hubserve.gateway.dataplane.DataPlane.stream`.
        concurrent: whether it may be given further requests before it has answered; only with ``whole_requests``.
        optional: names of inputs that a request may leave out; only with ``whole_requests``.
        ragged: names of inputs that requests of one batch may bring in different shapes; only with ``whole_requests``.
        config: the completed configuration of a Triton model, in the JSON form of ``inference.ModelConfig``; None for other kinds.
        labels: output name -> what its classes are called, by index; None for a module without.
        json_pictures: the key under which a JSON request may carry pictures as base64, to be items of a batch; "" for none.
        usage: what JSON requests hold, in words and examples, for messages; "" where that is not known.
        argument_types: of JSON arguments, by name: "bool", "int", "float", "str", "list", "dict", or "" where that is not known.
    """

    faces: Sequence[str]
    inputs: Sequence[TensorSpec] = ()
    outputs: Sequence[TensorSpec] = ()
    json_array: Optional[JsonArray] = None
    picture_item: Optional[TensorSpec] = None
    max_batch_size: int = 1
    engine: Optional[Dict[str, Any]] = None
    batched: bool = True
    whole_requests: bool = False
    decoupled: bool = False
    concurrent: bool = False
    optional: Sequence[str] = ()
    ragged: Sequence[str] = ()
    config: Optional[Dict[str, Any]] = None
    labels: Optional[Dict[str, List[str]]] = None
    json_pictures: str = ""
    usage: str = ""
    argument_types: Optional[Dict[str, str]] = None

    def item_shapes(self) -> Optional[Dict[str, Tuple[str, Tuple[int, ...]]]]:
        """Input name -> dtype and shape of one item, without the batch dimension; None for modules without tensors.

        A picture's item says more than the input's specification, which may leave lengths open.
        """
        if Face.TENSORS not in self.faces:
            return None
        if self.picture_item is not None and len(self.inputs) == 1:
            return {self.inputs[0].name: (self.picture_item.dtype, tuple(self.picture_item.shape))}
        return {spec.name: (spec.dtype, tuple(spec.shape[1:])) for spec in self.items_first()}

    def items_first(self) -> List[TensorSpec]:
        """The inputs as they cross the wire: the items as first dimension, also for a module that is not :attr:`batched`."""
        return list(self.inputs) if self.batched else [spec._replace(shape=(ANY, *spec.shape)) for spec in self.inputs]

    def to_json(self) -> Dict[str, Any]:
        """As a JSON object, for the wire."""
        return {
            "faces": list(self.faces),
            "inputs": specs_to_json(self.inputs),
            "outputs": specs_to_json(self.outputs),
            "json_array": self.json_array and list(self.json_array),
            "picture_item": self.picture_item and self.picture_item.to_json(),
            "max_batch_size": self.max_batch_size,
            "engine": self.engine,
            "batched": self.batched,
            "whole_requests": self.whole_requests,
            "decoupled": self.decoupled,
            "concurrent": self.concurrent,
            "optional": list(self.optional),
            "ragged": list(self.ragged),
            "config": self.config,
            "labels": self.labels,
            "json_pictures": self.json_pictures,
            "usage": self.usage,
            "argument_types": self.argument_types,
        }

    @classmethod
    def from_json(cls, described: Dict[str, Any]) -> "Description":
        """The reverse of :meth:`to_json`."""
        return cls(
            faces=described["faces"],
            inputs=specs_from_json(described["inputs"]),
            outputs=specs_from_json(described["outputs"]),
            json_array=described["json_array"] and JsonArray(*described["json_array"]),
            picture_item=described["picture_item"] and TensorSpec.from_json(described["picture_item"]),
            max_batch_size=described["max_batch_size"],
            engine=described["engine"],
            batched=described["batched"],
            whole_requests=described["whole_requests"],
            decoupled=described["decoupled"],
            concurrent=described["concurrent"],
            optional=described["optional"],
            ragged=described["ragged"],
            config=described["config"],
            labels=described["labels"],
            json_pictures=described.get("json_pictures", ""),
            usage=described.get("usage", ""),
            argument_types=described.get("argument_types"),
        )


class LoadedModule(ABC):
    """A module that is loaded in this process.

    Its instance calls one method at a time, from the thread that loaded it; only ``preprocess`` is called from another thread, while
    something else may be computed.
    """

    description: Description

    def call_json(self, arguments: Dict[str, Any]) -> Any:  # noqa: ARG002 - for those that override it
        """Answer one JSON request; the result must be JSON once numpy values are converted."""
        raise self.unsupported(Face.JSON)

    def call_tensors(self, inputs: Dict[str, np.ndarray]) -> Any:  # noqa: ARG002 - as above
        """Compute one merged batch.

        Args:
            inputs: name to array with the batch as first dimension, as ``description.inputs`` says; the arrays of one request for a module
                that is not ``batched``.
        Returns:
            One array, or a dict of arrays, with the same first dimension.
        """
        raise self.unsupported(Face.TENSORS)

    def call_requests(self, requests: List[WholeRequest]) -> List[Answer]:  # noqa: ARG002 - as above
        """Answer requests that were put together, but not merged.

        Args:
            requests: at least one.
        Returns:
            For each, in order, its response, or :class:`~hubserve.kinds.raw_requests.Later`.
        """
        raise self.unsupported(Face.TENSORS)

    def wait_if_held_up(self, limit_s: float) -> None:  # noqa: B027 - most have nothing beside it
        """Wait, before the instance says that it lives, while what computes beside this thread has stood still for so many seconds."""

    def close(self) -> None:  # noqa: B027 - most have nothing to do
        """Called once, when no more requests will come."""

    def preprocess(self, picture: bytes) -> np.ndarray:  # noqa: ARG002 - as above
        """Turn one encoded picture into one item of the first input, without the batch dimension."""
        raise self.unsupported(Face.PICTURE)

    def call_pictures(self, pictures: Iterable[np.ndarray], arguments: Dict[str, Any]) -> Any:  # noqa: ARG002 - as above
        """Answer one request of pictures that are no items of a batch.

        Args:
            pictures: uint8 (H, W, 3) BGR each, decoded when it is asked for: InvalidInput or TooLarge comes out of it where that fails.
                How many there are is its ``len``.
            arguments: the server's, for the module's method.
        """
        raise self.unsupported(Face.PICTURE)

    def postprocess(self, outputs: Any, elapse_s: float) -> Any:  # noqa: ARG002 - as above
        """Turn one request's share of what ``call_tensors`` returned into its JSON answer."""
        raise self.unsupported(Face.JSON)

    def run(self, argv: List[str]) -> Any:  # noqa: ARG002 - as above
        """What ``hub run`` calls."""
        raise UnsupportedFace("this module has no method for 'hub run' (none is marked @runnable)")

    def create_app(self) -> Any:
        """Return the page that ``/gradio/<module>`` shows: an object with gradio's ``launch``."""
        raise UnsupportedFace("this module has no page (no method create_gradio_app)")

    def unsupported(self, face: str) -> UnsupportedFace:
        """The error for a face that the module does not have."""
        return UnsupportedFace(f"this module does not take {face} requests; it takes {', '.join(self.description.faces) or 'none'}")


class Kind(ABC):
    """One kind of module."""

    name: str
    #: what makes a folder one of this kind, in words
    looks_for: str
    #: the file that stands for its folder where a user names it
    main_file: str = ""

    @abstractmethod
    def recognises(self, folder: Path) -> bool:
        """Whether the folder is a module of this kind, judged by its files alone."""

    @abstractmethod
    def describe(self, folder: Path) -> ModuleInfo:
        """Read the metadata without running any of the folder's code.

        Raises:
            LoadFailed: they cannot be read; the message names file, line and reason.
        """

    def code_file(self, folder: Path, init_args: Dict[str, Any]) -> Path:  # noqa: ARG002 - for those that override it
        """Return the file of the module's code, as ``sys.argv`` names it; the arguments are those of :meth:`load`."""
        return folder

    @abstractmethod
    def load(self, folder: Path, import_name: str, init_args: Dict[str, Any], defaults: Dict[str, Any]) -> LoadedModule:
        """Import and construct the module in this process.

        Args:
            folder: the module's files.
            import_name: the package name under which they are imported.
            init_args: keyword arguments for its constructor.
            defaults: the server's own settings (``use_gpu``), passed only to a constructor that takes them.
        Raises:
            LoadFailed: with the reason.
        """

    @abstractmethod
    def import_only(self, folder: Path, import_name: str) -> None:
        """Import the module's code and construct nothing, to find what is missing before it is needed.

        Raises:
            LoadFailed: with the reason.
        """
