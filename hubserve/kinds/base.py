"""What every kind of module provides."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Dict, Iterable, List, NamedTuple, Optional

import numpy as np

from hubserve.errors import UnsupportedFace
from hubserve.kinds.description import Description, Face
from hubserve.kinds.raw_requests import Answer, RawRequest


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

    def call_requests(self, requests: List[RawRequest]) -> List[Answer]:  # noqa: ARG002 - as above
        """Answer requests that were put together, but not merged.

        Args:
            requests: at least one.
        Returns:
            For each, in order, its response, or :class:`~hubserve.kinds.raw_requests.Deferred`.
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
