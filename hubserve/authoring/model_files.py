"""Search for the one model in a folder of files, whatever their names."""

from pathlib import Path

from hubserve.authoring.onnx_file import check_onnx
from hubserve.engines import ModelFiles, find_model_files
from hubserve.engines.model_formats import is_program
from hubserve.engines.paddle_program import read_program
from hubserve.errors import InvalidInput, LoadFailed

_FORMS = "Paddle's *.pdmodel, *.json or __model__ with their weights, or one *.onnx"


def find_model(folder: Path, model_filename: str | None = None, params_filename: str | None = None) -> ModelFiles:
    """Find the model to convert, and check that its files are complete, as far as possible without an engine.

    Args:
        folder: where its files are.
        model_filename: the graph's name there, if there are several.
        params_filename: the weights' name there, if it is not the graph's.
    Raises:
        LoadFailed: there is no model, or it is damaged, or its weights are missing.
        InvalidInput: there are several models.
        InstallError: it is an ONNX model whose weights lie in other files.
    """
    folder = folder.expanduser().absolute()
    if not folder.is_dir():
        raise LoadFailed(f"there is no folder '{folder}'. Give the folder that holds the model's files with --model_dir.")
    files = find_model_files(folder, model_filename or _only_graph(folder), params_filename)
    if files.graph.suffix == ".onnx":
        check_onnx(files.graph)
    else:
        read_program(files.graph)
    return files


def _only_graph(folder: Path) -> str:
    graphs = {path.stem: path.name for path in sorted(folder.glob("*.json")) if is_program(path)}
    # the same name in both of Paddle's forms is one model, and more engines read the older form
    graphs.update({path.stem: path.name for path in sorted(folder.glob("*.pdmodel"))})
    found = [*graphs.values(), *(path.name for path in sorted(folder.glob("*.onnx")))]
    if (folder / "__model__").is_file():
        found.append("__model__")
    if len(found) == 1:
        return found[0]
    if found:
        raise InvalidInput(f"'{folder}' holds {len(found)} models: {', '.join(found)}. Say which one with --model_filename.")
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
    raise LoadFailed(f"'{folder}' holds no model: looked for {_FORMS}, and found {there}. Export the model for inference first.")
