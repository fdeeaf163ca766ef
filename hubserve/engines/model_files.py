"""Find a model's files in a folder, and identify a model by its content."""

import hashlib
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List, Optional, Tuple

from hubserve.engines.base import ModelFiles
from hubserve.engines.model_formats import backend_of_file, graphs_in
from hubserve.engines.paddle_program import read_program
from hubserve.engines.separate_weights import put_together, separate_weights
from hubserve.errors import LoadFailed

_EXPORT = "Make them with: python tools/export_model.py"
#: graph and weights as Paddle 2 and later, Paddle 3 and Paddle 1 name them; the first that is there is taken
_PADDLE_NAMES = (
    ("inference.pdmodel", "inference.pdiparams"),
    ("inference.json", "inference.pdiparams"),
    ("__model__", "__params__"),
    ("model", "params"),
)
_CHUNK_BYTES = 1 << 20


def find_model_files(folder: Any, model_filename: Optional[str] = None, params_filename: Optional[str] = None) -> ModelFiles:
    """Find one model's files.

    Args:
        folder: where they are.
        model_filename: the graph's name there, if it is not a usual one (``inference.pdmodel``, ``inference.json``,
            ``__model__``, ``*.onnx``).
        params_filename: the weights' name there; by default the graph's with ``.pdiparams``.
    Raises:
        LoadFailed: they are missing, or there are several candidates; the message lists what was looked for, and where.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise LoadFailed(f"there is no model folder '{folder}'. {_EXPORT}")
    if model_filename is not None:
        graph = folder / model_filename
        default = dict(_PADDLE_NAMES).get(model_filename) or graph.with_suffix(".pdiparams").name
        return _with_weights(graph, folder / (params_filename or default))
    for graph_name, weights_name in _PADDLE_NAMES:
        if (folder / graph_name).is_file():
            return _with_weights(folder / graph_name, folder / (params_filename or weights_name))
    return _only_model(folder)


def _with_weights(graph: Path, weights: Path) -> ModelFiles:
    if not graph.exists():
        raise LoadFailed(f"the model file '{graph}' is missing. {_EXPORT}")
    if graph.suffix == ".xml":
        return ModelFiles(graph, _weights_of_ir(graph))
    if backend_of_file(graph) not in ("", "paddle"):
        return ModelFiles(graph, None)
    if weights.is_file():
        return ModelFiles(graph, weights)
    program = read_program(graph)
    if not program.needs_weights:  # Paddle writes no second file for a program without parameters
        return ModelFiles(graph, None)
    separate = separate_weights(graph, list(program.parameters)) if program.parameters else None
    if separate is None:
        raise LoadFailed(
            f"'{graph.name}' is in '{graph.parent}', but its weights '{weights.name}' are missing. Copy that file there, too; it was "
            f"written together with '{graph.name}'."
        )
    return ModelFiles(graph, put_together(separate))


def _weights_of_ir(graph: Path) -> Path:
    weights = graph.with_suffix(".bin")
    if not weights.is_file():
        raise LoadFailed(
            f"'{graph.name}' is in '{graph.parent}', but its weights '{weights.name}' are missing. Copy that file there, too; it was "
            f"written together with '{graph.name}'."
        )
    return weights


def _only_model(folder: Path) -> ModelFiles:
    found = sorted(folder.glob("*.onnx")) or graphs_in(folder)
    if len(found) == 1:
        return _with_weights(found[0], found[0].with_suffix(".pdiparams"))
    if found:
        names = ", ".join(each.name for each in found)
        raise LoadFailed(f"'{folder}' holds several models ({names}). Say which one with model_filename.")
    wanted = ", ".join(f"{graph} + {weights}" for graph, weights in _PADDLE_NAMES)
    raise LoadFailed(f"'{folder}' holds no model: looked for {wanted}, *.onnx, and the models of other frameworks. {_EXPORT}")


def digest(files: ModelFiles, *more: str) -> str:
    """Return a name for exactly this content: 32 hexadecimal digits over the files' bytes and ``more``.

    Raises:
        LoadFailed: a file cannot be read.
    """
    hasher = hashlib.blake2b(digest_size=16)
    for path in (files.graph, files.weights):
        hasher.update(b"|file|")
        if path is None:
            continue
        for each in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if each != path:
                hasher.update(b"|" + str(each.relative_to(path)).encode("utf-8") + b"|")
            if not each.is_dir():
                _hash_file(hasher, each)
    for text in (files.graph.suffix, *more):
        hasher.update(b"|" + text.encode("utf-8"))
    return hasher.hexdigest()


def _hash_file(hasher: Any, path: Path) -> None:
    try:
        with open(str(path), "rb") as opened:
            for chunk in iter(lambda: opened.read(_CHUNK_BYTES), b""):
                hasher.update(chunk)
    except OSError as error:
        raise LoadFailed(f"cannot read the model file '{path}': {error.strerror}") from error


@contextmanager
def usual_names(files: ModelFiles) -> Iterator[Tuple[Path, Path]]:
    """Yield the files under the names ``model.pdmodel`` (or ``.json``) and ``model.pdiparams``, in a folder of their own.

    Readers that judge a file by its ending, or derive one name from the other, can take any model so. The folder holds
    links, and an empty file if the model has no weights.
    """
    with tempfile.TemporaryDirectory(prefix="hubserve-model-") as folder:
        graph = Path(folder) / ("model" + (".json" if files.graph.suffix == ".json" else ".pdmodel"))
        graph.symlink_to(files.graph.absolute())
        weights = Path(folder) / "model.pdiparams"
        if files.weights is None:
            weights.touch()
        else:
            weights.symlink_to(files.weights.absolute())
        yield graph, weights


def names(files: ModelFiles) -> List[str]:
    """Return the files' names, for messages."""
    return [each.name for each in files if each is not None]
