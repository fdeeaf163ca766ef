"""The interfaces that every kind of module implements."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, Dict, Iterable, List, Mapping, NamedTuple, Optional

import numpy as np

from hubserve.errors import UnsupportedFace
from hubserve.kinds.description import Description, Interface
from hubserve.kinds.raw_requests import Answer, RawRequest


class ModuleInfo(NamedTuple):
    """Metadata of a module, read without running its code."""

    name: str
    version: str
    kind: str
    author: str = ""
    author_email: str = ""
    summary: str = ""
    type: str = ""
    #: the method behind ``/predict/<name>``, if any
    serving_method: str = ""
    #: whether ``hub run`` can call it
    runnable: bool = False
    #: whether the server may merge requests
    batches: bool = False
    #: the Python versions that it runs on, as a PEP 440 range; "" for any
    requires_python: str = ""
    #: the environment that it asks for; see :mod:`hubserve.registry.environments.module_requirements`
    environment: Optional[Dict[str, Any]] = None

    def to_json(self) -> Dict[str, Any]:
        """Return the metadata as a JSON object."""
        return dict(self._asdict())


class LoadedModule(ABC):
    """A module that this process has loaded.

    Its instance calls one method at a time, from the thread that loaded it; only ``preprocess`` is called from another thread, also while
    another method runs.
    """

    description: Description

    def call_json(self, arguments: Any) -> Any:  # noqa: ARG002 - used by overriding methods
        """Answer one JSON request; the result must be JSON once numpy values are converted.

        Args:
            arguments: a dict, or any JSON value if ``description.any_json`` is set.
        """
        raise self.unsupported(Interface.JSON)

    def call_jsons(self, requests: List[Any]) -> List[Any]:  # noqa: ARG002 - as above
        """Answer JSON requests that are computed together, if ``description.merges_json`` is set.

        Args:
            requests: at least one, each as :meth:`call_json` takes it.
        Returns:
            The result of each, in order.
        """
        raise self.unsupported(Interface.JSON)

    def call_tensors(self, inputs: Dict[str, np.ndarray]) -> Any:  # noqa: ARG002 - as above
        """Compute one merged batch.

        Args:
            inputs: name to array with the batch as first dimension, as in ``description.inputs``; a module that is not ``batched`` gets the
                arrays of one request.
        Returns:
            One array, or a dict of arrays, with the same first dimension.
        """
        raise self.unsupported(Interface.TENSORS)

    def call_requests(self, requests: List[RawRequest]) -> List[Answer]:  # noqa: ARG002 - as above
        """Answer a batch of requests whose arrays are not merged.

        Args:
            requests: at least one.
        Returns:
            For each, in order, its response, or :class:`~hubserve.kinds.raw_requests.Deferred`.
        """
        raise self.unsupported(Interface.TENSORS)

    def wait_if_held_up(self, limit_s: float) -> None:  # noqa: B027 - most modules compute in this thread only
        """Block, before the instance answers a ping, while the module's own thread has made no progress for ``limit_s`` seconds."""

    def close(self) -> None:  # noqa: B027 - most modules have nothing to release
        """Release resources; called once, after the last request."""

    def preprocess(self, picture: bytes) -> np.ndarray:  # noqa: ARG002 - as above
        """Turn one encoded picture into one item of the first input, without the batch dimension."""
        raise self.unsupported(Interface.PICTURE)

    def call_pictures(self, pictures: Iterable[np.ndarray], arguments: Dict[str, Any]) -> Any:  # noqa: ARG002 - as above
        """Answer one request of pictures that are not items of a batch.

        Args:
            pictures: uint8 (H, W, 3) BGR each, decoded when the iteration reaches it, which raises InvalidInput or TooLarge if that fails;
                it has a ``len``.
            arguments: of the module's method, from the server's settings.
        """
        raise self.unsupported(Interface.PICTURE)

    def postprocess(self, outputs: Any, elapse_s: float) -> Any:  # noqa: ARG002 - as above
        """Turn one request's share of the result of ``call_tensors`` into its JSON answer."""
        raise self.unsupported(Interface.JSON)

    def run(self, argv: List[str]) -> Any:  # noqa: ARG002 - as above
        """Run the module's command line, for ``hub run``."""
        raise UnsupportedFace("'hub run' cannot run this module: modules of its kind have no command line. Use hub serving start.")

    def create_app(self) -> Any:
        """Return the page that ``/gradio/<module>`` shows: an object with gradio's ``launch``."""
        raise UnsupportedFace("this module has no page (no method create_gradio_app)")

    def unsupported(self, interface: str) -> UnsupportedFace:
        """Return the error for an interface that the module does not have."""
        return UnsupportedFace(
            f"this module does not take {interface} requests; it takes {', '.join(self.description.interfaces) or 'none'}"
        )


class Kind(ABC):
    """One kind of module."""

    name: str
    #: the files by which it recognises a folder, for messages
    looks_for: str
    #: the file by which users may name its folder
    main_file: str = ""

    @abstractmethod
    def recognises(self, folder: Path) -> bool:
        """Return True if the folder is a module of this kind, judged by its files alone."""

    @abstractmethod
    def describe(self, folder: Path) -> ModuleInfo:
        """Read the metadata without running any of the folder's code.

        Raises:
            LoadFailed: the metadata cannot be read; the message names file, line and reason.
        """

    def code_file(self, folder: Path, init_args: Dict[str, Any]) -> Path:  # noqa: ARG002 - used by overriding methods
        """Return the file of the module's code, for ``sys.argv``; the arguments are those of :meth:`load`."""
        return folder

    def instance_count(self, folder: Path, environ: Mapping[str, str]) -> int:  # noqa: ARG002 - as above
        """Return the number of instances that a module asks for; 0 if it leaves that to the settings.

        Args:
            folder: the module's files.
            environ: the variables of its instances.
        """
        return 0

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
        """Import the module's code without constructing it, to find missing packages at install time.

        Raises:
            LoadFailed: with the reason.
        """
