"""Modules that are a model's own files: ``model.onnx``, ``inference.pdmodel`` with its weights, a SavedModel's folder.

Such a module is one of :data:`hubserve.engines.model_formats.FORMATS`, or a folder that holds the files of one model. An installed one
has a card beside them, ``hub-model.json``, with its name, its version and the file of the model, because the folder of an installed
version has another name.
"""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Sequence

from hubserve.engines.model_files import find_model_files
from hubserve.engines.model_formats import (
    FORMATS,
    KNOWN,
    backend_of_file,
    check_form,
    graphs_in,
    is_model_folder,
    is_model_name,
    others_in,
)
from hubserve.engines.table import environment_for
from hubserve.engines.torch_code import files_of_code
from hubserve.engines.torch_files import look_at
from hubserve.errors import LoadFailed
from hubserve.kinds.base import Kind, LoadedModule, ModuleInfo

KIND = "model"
CARD = "hub-model.json"
#: the version of a file that is served without an install: Triton's name of a model's first version
FIRST_VERSION = "1"
_MOST_NAME_BYTES = 100


class Card(NamedTuple):
    """The card of an installed model.

    Attributes:
        name, version: the module's.
        file: name of the model's file, or of the folder that is the model, in the module's folder.
    """

    name: str
    version: str
    file: str


class ModelKind(Kind):
    """Models without code or configuration. ``init_args`` are the settings of :mod:`hubserve.kinds.model_settings`."""

    name = KIND
    looks_for = f"a model's own files: {KNOWN}"

    def recognises(self, folder: Path) -> bool:
        """See the base class; a file is recognised by its name, even if it cannot be served: the error then says why."""
        if is_model(folder):
            return True
        return (folder / CARD).is_file() or bool(graphs_in(folder) or others_in(folder))

    def describe(self, folder: Path) -> ModuleInfo:
        """See the base class."""
        card = card_of(folder)
        backend = backend_of_file(folder if is_model(folder) else folder / card.file)
        return ModuleInfo(
            card.name,
            card.version,
            KIND,
            summary=f"{card.file}, as it is",
            serving_method="infer",
            runnable=True,
            batches=True,
            type=f"model/{backend}",
            environment=environment_for(FORMATS[backend].engine),
        )

    def import_only(self, folder: Path, import_name: str) -> None:  # noqa: ARG002 - the base class's signature
        """Check that the model's files exist; they are loaded when they are served."""
        files_of(folder)

    def load(self, folder: Path, import_name: str, init_args: Dict[str, Any], defaults: Dict[str, Any]) -> LoadedModule:
        """See the base class; the module's name is its import name, unless it has a card."""
        from hubserve.kinds.triton.file_backend import load_plain_model

        name = card_of(folder).name if has_card(folder) else import_name
        return load_plain_model(files_of(folder), name, init_args, use_gpu=bool(defaults.get("use_gpu")))


def is_model(path: Path) -> bool:
    """Return True for a file that is named like a model, and for a folder that is one, such as a SavedModel."""
    return is_model_name(path) if path.is_file() else is_model_folder(path)


def has_card(folder: Path) -> bool:
    """Return True for the folder of an installed model."""
    return (folder / CARD).is_file()


def card_of(folder: Path) -> Card:
    """Read the card of an installed model, or make one for a file or folder that is not installed.

    Raises:
        LoadFailed: the card is damaged, or the folder holds no model, or several.
    """
    if is_model(folder):
        check_form(folder)
        # files such as Paddle's __model__, and folders such as OneFlow's model, are called alike for all models
        named = folder.parent.resolve().name if _is_general(folder) else folder.stem
        return Card(valid_name(named), FIRST_VERSION, folder.name)
    path = folder / CARD
    if path.is_file():
        try:
            card = Card(**json.loads(path.read_text("utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise LoadFailed(f"'{path}' is damaged: {error}. Install the model again.") from None
        if Path(card.file).name != card.file:
            raise LoadFailed(f"'{path}' names {card.file!r} as the model, which is not a file beside it. Install the model again.")
        return card
    return Card(valid_name(folder.resolve().name), FIRST_VERSION, only_graph(folder).name)


def _is_general(path: Path) -> bool:
    if path.is_file():
        return bool(backend_of_file(path)) and not path.suffix
    return path.name in FORMATS[backend_of_file(path)].stored


def only_graph(folder: Path) -> Path:
    """Find the one model of a folder.

    Raises:
        LoadFailed: it holds none, or several.
    """
    graphs = graphs_in(folder)
    if len(graphs) == 1:
        return graphs[0]
    if graphs:
        names = ", ".join(each.name for each in graphs)
        raise LoadFailed(
            f"'{folder}' holds {len(graphs)} models: {names}. Name one of the files, such as '{graphs[0]}'; hub serving start -m "
            f"'{folder}' serves all of them."
        )
    for each in others_in(folder):
        check_form(each)
    raise LoadFailed(f"'{folder}' holds no model that can be served here. Supported files are {KNOWN}.")


def all_graphs(folder: Path) -> List[Path]:
    """List the models of a folder that holds several; an empty list for any other folder."""
    if has_card(folder) or not folder.is_dir() or is_model(folder):
        return []
    graphs = graphs_in(folder)
    return graphs if len(graphs) > 1 else []


def files_of(folder: Path) -> Any:
    """Find the files of the model in a file or folder.

    Raises:
        LoadFailed: one is missing.
    """
    graph = folder if is_model(folder) else folder / card_of(folder).file
    check_form(graph)
    return find_model_files(graph.parent, graph.name)


def all_files(graph: Path) -> Sequence[Path]:
    """List all files of a model, its own first.

    Raises:
        LoadFailed: one is missing, or lies outside the model's folder.
    """
    check_form(graph)
    if graph.suffix.lower() == ".onnx":
        from hubserve.engines.onnx_graph import files_outside, read_onnx

        return [graph, *files_outside(graph, read_onnx(graph))]
    files = find_model_files(graph.parent, graph.name)
    if backend_of_file(graph) == "pytorch" and look_at(graph).form == "weights":
        return [graph, *files_of_code(graph)]
    found = [each for each in files if each is not None]
    return [file for each in found for file in (sorted(each.rglob("*")) if each.is_dir() else [each]) if not file.is_dir()]


def valid_name(text: str) -> str:
    """Turn the name of a file or folder into a valid module name."""
    name = re.sub(r"[^\w-]+", "_", unicodedata.normalize("NFC", text)).lstrip("-").strip("_") or KIND
    while len(name.encode("utf-8")) > _MOST_NAME_BYTES:
        name = name[:-1]
    return name
