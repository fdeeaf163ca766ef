"""What a peer is: it makes its environment, and says how a server is started and asked."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np

from bench.peers.environments import Environment, Interpreter, make
from bench.peers.exchange import Request
from bench.peers.failures import CannotRun, WrongAnswer

ROOT = Path(__file__).resolve().parents[3]
MODULES = ROOT / "bench" / "peers" / "modules"
MODEL = ROOT / "inference"
CAT_CLASS = 285  # ImageNet's Egyptian cat
JSON = {"Content-Type": "application/json"}
#: Numerical libraries would start a thread for each core in each worker.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
#: What do_nothing.py sends and wants back; exact as float32.
VALUES = [0.25 * number for number in range(16)]
ENGINE_PACKAGES = {"paddle": "paddlepaddle", "openvino": "openvino"}


class Classifying(NamedTuple):
    """The classifier's work.

    Attributes:
        workers: processes (or instances) that compute.
        engine: one of those that the peer's ``engines`` gave.
        images: float32 (N, 3, 224, 224), what each request carries: the same cat N times.
    """

    workers: int
    engine: str
    images: np.ndarray


class Launch(NamedTuple):
    """Command that starts a server, and the request to send.

    Attributes:
        command: its program and arguments.
        environ: added to this process's environment.
        request: the request to send to it.
        ready_path: answers 200 once everything is loaded; None if only an answer shows it.
    """

    command: list[str]
    environ: dict[str, str]
    request: Request
    ready_path: str | None = None


class Peer(ABC):
    """One kind of server.

    Attributes:
        title: what tables call it.
        environment: what it is installed into; None where it runs in this interpreter.
    """

    title: ClassVar[str]
    cache: Path

    @property
    def environment(self) -> Environment | None:
        """See the class."""
        return None

    @cached_property
    def interpreter(self) -> Interpreter:
        """The environment's; it is made when it is first asked for.

        Raises:
            CannotRun: it cannot be made.
        """
        assert self.environment
        return make(self.environment, self.cache)

    def engines(self, engine: str) -> Sequence[str]:
        """Return the ways in which this peer runs the classifier when ``engine`` is requested."""
        return [engine]

    def engine_in_use(self, port: int) -> str | None:  # noqa: ARG002  # others compute with the requested one
        """Return the engine that the server on this port chose itself, or None if it was given."""
        return None

    @abstractmethod
    def do_nothing(self, workers: int, port: int, folder: Path) -> Launch:
        """Serve what costs nothing.

        Args:
            workers: processes that it runs in.
            port: to listen on.
            folder: an empty one, for the server's files.

        Raises:
            CannotRun: this peer cannot.
        """

    def tensors(self, size_bytes: int, workers: int, port: int, folder: Path) -> Launch:  # noqa: ARG002  # for those that override it
        """Serve a model that returns its float32 tensor of ``size_bytes``; see do_nothing.

        Raises:
            CannotRun: this peer cannot.
        """
        raise CannotRun(f"{self.title} is not made to be measured with tensors")

    def repository(self, work: Classifying, delay_us: int, port: int, folder: Path) -> Launch:  # noqa: ARG002  # as above
        """Serve a Triton repository with the classifier, as a model of the Python backend with dynamic batching; see do_nothing.

        Args:
            work: the classifier's.
            delay_us: max_queue_delay_microseconds.
            port: as above.
            folder: as above.

        Raises:
            CannotRun: this peer cannot serve such repositories.
        """
        raise CannotRun(f"{self.title} serves no model repositories")

    def classifier(self, work: Classifying, port: int, folder: Path) -> Launch:  # noqa: ARG002  # as above
        """Serve the classifier; see do_nothing.

        Raises:
            CannotRun: this peer cannot, or not with this engine.
        """
        raise CannotRun(f"{self.title} is not made to be measured with the classifier")


def engine_requirements() -> tuple[str, ...]:
    """Return the engines in the versions that hubserve runs."""
    return (*(f"{package}=={version(package)}" for package in ENGINE_PACKAGES.values()), "setuptools", "numpy")


def worker_environ(work: Classifying) -> dict[str, str]:
    """Return the environment variables that modules/classifier_engine.py and the workers' scripts read."""
    about = {"CLASSIFIER_FOLDER": str(MODEL), "CLASSIFIER_ENGINE": work.engine}
    return {"PYTHONPATH": str(MODULES), "WORKERS": str(work.workers), **about, **ONE_THREAD}


def read_json(body: bytes, *path: str) -> Any:
    """Return the value under these keys of a JSON answer.

    Raises:
        WrongAnswer: nothing does.
    """
    try:
        found = json.loads(body)
        for key in path:
            found = found[key]
    except (ValueError, KeyError, TypeError):
        raise WrongAnswer(f"an answer without {'.'.join(path)}: {body[:300]!r}") from None
    return found


def check_values(values: Any) -> None:
    """Raise WrongAnswer unless these are the numbers that were sent."""
    if values != VALUES:
        raise WrongAnswer(f"{VALUES} came back as {values}")


def check_classes(classes: Sequence[int], count: int) -> None:
    """Raise WrongAnswer unless each image was taken for the cat that it is."""
    if list(classes) != [CAT_CLASS] * count:
        raise WrongAnswer(f"{count} pictures of a cat, class {CAT_CLASS}, were taken for the classes {list(classes)}")
