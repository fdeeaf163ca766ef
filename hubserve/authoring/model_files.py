"""Find the model in a folder, whatever its files' names."""

from pathlib import Path

from hubserve.engines import ModelFiles, find_model_files
from hubserve.engines.model_formats import backend_of_file, check_form, graphs_in, is_program
from hubserve.engines.onnx_graph import read_onnx
from hubserve.engines.paddle_program import read_program
from hubserve.errors import InstallError, InvalidInput, LoadFailed
from hubserve.kinds import model_file

_FORMS = "Paddle's *.pdmodel, *.json or __model__ with their weights, or one *.onnx"


def find_model(folder: Path, model_filename: str | None = None, params_filename: str | None = None) -> ModelFiles:
    """Find the model to convert, and check that its files are complete, as far as possible without an engine.

    Args:
        folder: the folder of its files, or the model itself: a file, or a folder such as a SavedModel.
        model_filename: the graph's name there, if there are several.
        params_filename: the weights' name there, if it is not the graph's.
    Raises:
        LoadFailed: the folder has no model, or it is damaged, or its weights are missing.
        InvalidInput: the folder has several models.
        InstallError: the model is an ONNX file with weights in other files.
    """
    folder = folder.expanduser().absolute()
    if model_file.is_model(folder) and not model_filename:
        folder, model_filename = folder.parent, folder.name
    if not folder.is_dir():
        raise LoadFailed(f"there is no folder '{folder}'. Give the folder of the model's files, or the model itself.")
    name = model_filename or _only_graph(folder)
    if model_filename:
        check_form(folder / name)
    files = find_model_files(folder, name, params_filename)
    backend = backend_of_file(files.graph)
    if backend == "onnxruntime":
        _check_onnx(files.graph)
    elif backend in ("paddle", ""):
        read_program(files.graph)
    return files


def _only_graph(folder: Path) -> str:
    graphs = {path.stem: path.name for path in sorted(folder.glob("*.json")) if is_program(path)}
    # the same name in both of Paddle's forms is one model, and more engines read the older form
    graphs.update({path.stem: path.name for path in sorted(folder.glob("*.pdmodel"))})
    found = [*graphs.values(), *(path.name for path in sorted(folder.glob("*.onnx")))]
    if (folder / "__model__").is_file():
        found.append("__model__")
    found = found or [path.name for path in graphs_in(folder)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidInput(f"'{folder}' holds {len(found)} models: {', '.join(found)}. Say which one with --model_filename.")
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise LoadFailed(f"'{folder}' holds no model: looked for {_FORMS}, and found {there}. Export the model for inference first.")


def _check_onnx(path: Path) -> None:
    """Refuse an ONNX file with weights in other files.

    Raises:
        LoadFailed: the file is unreadable, damaged, or not an ONNX model.
        InstallError: its weights are in other files.
    """
    outside = read_onnx(path).outside
    if outside:
        named = ", ".join(outside[:3]) + (", ..." if len(outside) > 3 else "")
        raise InstallError(
            f"'{path}' keeps weights in other files ({named}), but hub convert needs a single file. Install it as it is with "
            f"'hub install {path.name}', or write one file with the package onnx: "
            f"onnx.save(onnx.load('{path.name}'), 'whole.onnx', save_as_external_data=False), and convert that."
        )
