"""Try a stored graph in another process before an instance loads it: OneFlow ends the process on damaged files, and on some wrong shapes.

The result, whether the graph can be rewritten for other batch sizes, is kept: it depends on the graph's text and OneFlow's version only.
"""

import hashlib
import json
import re
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Dict, Generator, List, NamedTuple, Sequence

import numpy as np

from hubserve.engines.failures import reason
from hubserve.engines.file_cache import locked, note_origin, write_text
from hubserve.engines.oneflow_graph import Graph, Loader, import_oneflow, read_folder, read_weights, set_threads
from hubserve.engines.oneflow_job import NotResizable, Ports
from hubserve.engines.package_versions import version_of
from hubserve.engines.subprocess_call import ChildFailed, Conversation
from hubserve.errors import LoadFailed
from hubserve.paths import cache_dir

#: changed with what a trial finds, so that older results are not used
_FORM = 1
_TIMEOUT_S = 300.0
#: distinct items that a graph of batch size 1 is asked
_DISTINCT = 4
_TOLERANCES = {"float16": 2e-2, "float32": 1e-4, "float64": 1e-9}
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_IN_FILE = re.compile(r'loc\(".*?":(\d+):(\d+)\): error: (.+)')
_CHECK = re.compile(r"(Check failed: .+)")


class Trial(NamedTuple):
    """Findings about a graph.

    Attributes:
        resizes: it can be rewritten for other batch sizes.
        with_constants: how; see :func:`hubserve.engines.oneflow_job.resize`.
        why: it cannot; "" if it can.
        mixes: its items change one another's answers.
    """

    resizes: bool
    with_constants: bool = False
    why: str = ""
    mixes: bool = False


class Reference:
    """The answers of a graph as it was saved to synthetic items, with which rewritten ones are compared."""

    def __init__(self, own: Graph, ports: Ports) -> None:
        self.batch = ports.batch or 1
        self._rows = self.batch if self.batch > 1 else _DISTINCT
        rng = np.random.default_rng(0)
        self._arrays = [_synthetic(rng, (self._rows, *each.spec.shape[1:]), each.spec.dtype) for each in ports.inputs]
        if self.batch > 1:
            self._answers = own.run(self._arrays)
        else:
            single = [own.run([array[i : i + 1] for array in self._arrays]) for i in range(self._rows)]
            self._answers = [np.concatenate(each) for each in zip(*single)]
        first = [each[:1].repeat(self._rows, 0) for each in self._arrays]
        self.mixes = self.batch > 1 and bool(_difference([each[:1] for each in own.run(first)], [each[:1] for each in self._answers]))

    def items(self, size: int) -> List[np.ndarray]:
        """Return a batch of the items."""
        return [array[np.arange(size) % self._rows] for array in self._arrays]

    def difference(self, graph: Graph, size: int) -> str:
        """Return how a graph's answers to :meth:`items` differ from those of the graph as it was saved; "" if they do not."""
        return _difference(graph.run(self.items(size)), [each[np.arange(size) % self._rows] for each in self._answers])


def _synthetic(rng: Any, shape: Sequence[int], dtype: str) -> np.ndarray:
    if dtype.startswith("float"):
        return np.asarray(rng.standard_normal(shape)).astype(dtype)
    return np.asarray(rng.integers(0, 2, shape)).astype(dtype)  # small: they may be indexes


def _difference(answers: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> str:
    for number, (given, right) in enumerate(zip(answers, wanted)):
        if given.shape != right.shape:
            return f"OUTPUT_{number} has shape {list(given.shape)} instead of {list(right.shape)}"
        a, b = given.astype("float64"), right.astype("float64")
        finite = np.abs(b[np.isfinite(b)])
        allowed = _TOLERANCES.get(str(right.dtype), 0.0) * max(1.0, float(finite.max()) if finite.size else 0.0)
        if not np.allclose(a, b, rtol=0, atol=allowed, equal_nan=True):
            worst = float(np.nanmax(np.abs(a - b)))
            return f"OUTPUT_{number} differs by {worst:.3g} from what the graph answers in its own batch size"
    return ""


def try_graph(folder: Path, device: str, threads: int) -> Trial:
    """Return what a trial of a graph finds, or found before.

    Raises:
        LoadFailed: it cannot be loaded; the reason as OneFlow gives it.
    """
    kept = cache_dir() / "oneflow" / f"{_key(folder, device)}.json"
    with ExitStack() as held:
        with suppress(OSError):  # a home that cannot be written keeps nothing
            held.enter_context(locked(kept))  # of the instances that start together, one tries
        with suppress(OSError, ValueError, TypeError):
            return Trial(**json.loads(kept.read_text("utf-8")))
        tried = _try(folder, device, threads)
        with suppress(OSError):
            write_text(kept, json.dumps(tried._asdict()))
            note_origin(kept, folder / "model.mlir")
    return tried


def _key(folder: Path, device: str) -> str:
    hasher = hashlib.blake2b(f"{_FORM}|{device}|{version_of('oneflow')}|".encode(), digest_size=16)
    hasher.update((folder / "model.mlir").read_bytes())
    return hasher.hexdigest()


def _try(folder: Path, device: str, threads: int) -> Trial:
    arguments = [str(folder), device, threads]
    found: Dict[str, Any] = {}
    why = ""
    for with_constants in (True, False):
        with Conversation("hubserve.engines.oneflow_trial:tried", arguments, _TIMEOUT_S) as child:
            try:
                found = child.answer()
            except ChildFailed as error:
                raise _unreadable(folder, error) from error
            try:
                differs = child.ask(with_constants)
            except ChildFailed as error:
                if not error.lasting:
                    raise LoadFailed(f"OneFlow could not be tried with '{folder}': {error.message}", error.detail) from error
                differs = death(error)
        if not differs:
            return Trial(True, with_constants, "", found["mixes"])
        why = why or differs
        if found["fixed"]:
            break
    return Trial(False, False, why, found["mixes"])


def tried(folder: str, device: str, threads: int) -> Generator[Any, Any, None]:
    """Run in a child: load a graph as it was saved, then, for each answer to ``with_constants``, rewritten for other batch sizes.

    Yields:
        ``{"mixes", "fixed"}``, then why each rewriting is wrong; "" if it is right.
    """
    oneflow = import_oneflow()
    set_threads(oneflow, threads)
    stored = read_folder(oneflow, Path(folder))
    loader = Loader(oneflow, stored, read_weights(Path(folder), stored.ports.variables), device)
    own, batch = loader.compile(), stored.ports.batch
    if batch is None:
        yield {"mixes": False, "fixed": True}
        while True:
            yield "its inputs and outputs have no first length in common"
    reference = Reference(own, stored.ports)
    with_constants = yield {"mixes": reference.mixes, "fixed": False}
    while True:
        with_constants = yield _rewritten(loader, reference, with_constants)


def _rewritten(loader: Loader, reference: Reference, with_constants: bool) -> str:
    # twice and once more, so that neither is a multiple by chance of what is in the graph
    for size in sorted({1, 2 * reference.batch + 1} - {reference.batch}):
        try:
            differs = reference.difference(loader.compile(size, with_constants), size)
        except (NotResizable, LoadFailed) as error:
            return plain(str(error))
        except RuntimeError as error:
            return plain(reason(error))
        if differs:
            return differs
    return ""


def _unreadable(folder: Path, error: ChildFailed) -> LoadFailed:
    path = folder / "model.mlir"
    if not error.lasting:
        return LoadFailed(f"OneFlow could not be tried with '{path}': {error.message}. Check the memory that is free.", error.detail)
    return LoadFailed(
        f"OneFlow cannot load '{path}': {death(error)}. The file is damaged or was cut short: copy the whole folder that flow.save "
        "wrote, or save the graph again.",
        error.detail,
    )


def death(error: ChildFailed) -> str:
    """Return the reason that a process gave on stderr before it ended."""
    said = plain(error.detail)
    in_file, check = _IN_FILE.search(said), _CHECK.search(said)
    if in_file:
        return f"{in_file.group(3).strip()} (line {in_file.group(1)}, column {in_file.group(2)})"
    if check:
        return check.group(1).strip().rstrip(".")
    return f"{error.message}; it last said: {reason(RuntimeError(said))}" if said.strip() else error.message


def plain(text: str) -> str:
    """Remove the colours of a terminal."""
    return _COLOUR.sub("", text)
