"""``hub convert``: turn a folder of model files into an installable module."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hubserve.authoring.new import fill, module_dir, new_folder
from hubserve.authoring.pictures import Pictures
from hubserve.authoring.python_source import Source, class_name, literal, quoted
from hubserve.authoring.trial import Trial, try_model
from hubserve.engines import ModelFiles, find_model_files
from hubserve.engines.model_formats import FORMATS, backend_of_file
from hubserve.engines.table import AUTO, ENGINES, engine_class, environment_for
from hubserve.kinds import model_file
from hubserve.models.classifier import ClassifierModule, find_scores
from hubserve.models.items import UNBATCHED
from hubserve.models.labels import check_labels, write_labels
from hubserve.models.settings import merged
from hubserve.registry.names import folder_name
from hubserve.registry.progress import Progress, silent
from hubserve.types import ANY, TensorSpec

_DEFAULT_BATCH = 8
_MODEL, _LABELS = "model", "labels.txt"
#: backends whose models get the names of files that PaddleHub's modules have; "" is Paddle's with another name
_RENAMED = ("onnxruntime", "paddle", "")
_COMMENTS = {
    "batch_size": "maximum items per batch; requests are merged up to it",
    "batched": "whether the first dimension of all inputs and outputs is the batch; None: decided by the model's signature",
    "class_id_map_file": 'lines of "<class id> <name>"; None: no names',
    "PreProcess": "preparation of pictures; omitted settings follow the model's input",
    "softmax": "turn scores that are not probabilities into probabilities",
}


class Request(NamedTuple):
    """Options of ``hub convert``.

    Attributes:
        name, version, summary: of the module.
        output_dir: parent of the module's folder.
        batch_size: maximum items per batch; None: 8, or 1 if items cannot be merged.
        pictures: settings of a classifier's pictures; None for a module without pictures.
    """

    name: str
    version: str
    summary: str
    output_dir: Path
    batch_size: int | None = None
    pictures: Pictures | None = None


class Converted(NamedTuple):
    """Result of ``hub convert``.

    Attributes:
        folder: the module's, absolute.
        inputs, outputs: the model's signature.
        batch_size: maximum items per batch.
        notes: sentences for the user.
    """

    folder: Path
    inputs: Sequence[TensorSpec]
    outputs: Sequence[TensorSpec]
    batch_size: int
    notes: Sequence[str]


def convert(request: Request, files: ModelFiles, progress: Progress = silent) -> Converted:
    """Make a module around a model.

    Args:
        request: the options.
        files: the model, from :func:`hubserve.authoring.model_files.find_model`.
        progress: called with a text for each step.
    Raises:
        HubError: the model cannot be loaded, the pictures do not fit it, or the folder cannot be written. Nothing is created.
    """
    pictures = request.pictures
    with new_folder(request.output_dir, request.name, request.version) as folder:
        progress("copying the model")
        copied = _copy(files, folder / _MODEL)
        progress("loading it once, in a separate process")
        settings = merged(ClassifierModule.defaults["PreProcess"], pictures.preprocess) if pictures else None
        engine = _engine(copied)
        trial = try_model(copied, engine, settings)
        if pictures:
            scores = find_scores(trial.inputs, trial.outputs, trial.per_run)
            check_labels(pictures.labels, scores.shape[1])
        if pictures and pictures.labels:
            write_labels(folder / _LABELS, pictures.labels)
        notes = _notes(request, trial)
        params = _params(request, trial, engine)
        _write(folder, request, trial, engine, params, notes)
    batch_size = min(params["Global"]["batch_size"], _max_items(trial))
    return Converted(module_dir(request.output_dir, request.name), trial.inputs, trial.outputs, batch_size, notes)


def _copy(files: ModelFiles, folder: Path) -> ModelFiles:
    """Copy the model under the file names that engines expect."""
    folder.mkdir()
    if backend_of_file(files.graph) not in _RENAMED:
        for each in model_file.all_files(files.graph):
            target = folder / each.relative_to(files.graph.parent)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(each, target)
        return find_model_files(folder, files.graph.name)
    graph = folder / f"inference{files.graph.suffix or '.pdmodel'}"  # Paddle 1's __model__ has the form of a .pdmodel
    shutil.copyfile(files.graph, graph)
    weights = None
    if files.weights is not None:
        weights = folder / "inference.pdiparams"
        shutil.copyfile(files.weights, weights)
    return ModelFiles(graph, weights)


def _engine(files: ModelFiles) -> str:
    """Return the engine of the model's format, or "auto"."""
    return FORMATS[backend_of_file(files.graph)].engine if backend_of_file(files.graph) not in _RENAMED else AUTO


def _max_items(trial: Trial) -> int:
    return max(trial.per_run, 1) if trial.per_run != ANY else 1 << 20


def _notes(request: Request, trial: Trial) -> list[str]:
    what = (
        "Each request is computed separately, with the model's own shapes"
        if trial.per_run == UNBATCHED
        else "Items are computed one at a time"
    )
    notes = [f"{what}: {trial.why.rstrip('.')}."] if trial.why else []
    if request.pictures is None:
        return [*notes, *_picture_hint(trial)]
    notes += request.pictures.notes
    if trial.probabilities is False and not request.pictures.topk.get("softmax"):
        notes.append("The model's scores are not probabilities; --softmax turns them into probabilities.")
    return notes


def _picture_hint(trial: Trial) -> list[str]:
    """Return a hint for a model that takes three planes and returns a score per class, like a classifier of pictures."""
    shape = trial.inputs[0].shape if len(trial.inputs) == 1 else ()
    scores = any(len(each.shape) == 2 for each in trial.outputs)
    if trial.per_run == UNBATCHED or len(shape) != 4 or 3 not in (shape[1], shape[3]) or not scores:
        return []
    size = next((length for length in shape[2:] if length > 3), 224)
    return [f"It looks like a classifier of pictures but takes prepared arrays only; with --image_size {size} it also takes pictures."]


def _params(request: Request, trial: Trial, engine: str) -> dict[str, Any]:
    """Return the contents of ``params.py``."""
    batch_size = request.batch_size or (_DEFAULT_BATCH if trial.merges else 1)
    params: dict[str, Any] = {
        "Global": {
            "inference_model_dir": _beside_params(_MODEL),
            "engine": engine,
            "batch_size": batch_size,
            "batched": None if trial.merges is None else trial.per_run != UNBATCHED,
        }
    }
    if request.pictures:
        labels = _beside_params(_LABELS) if request.pictures.labels else None
        topk = {"topk": 5, "class_id_map_file": labels, "softmax": False, **request.pictures.topk}
        params["PreProcess"] = request.pictures.preprocess
        params["PostProcess"] = {"main_indicator": "Topk", "Topk": topk}
    return params


def _beside_params(name: str) -> Source:
    return Source(f"str(HERE / {quoted(name)})")


def _write(folder: Path, request: Request, trial: Trial, engine: str, params: dict[str, Any], notes: Sequence[str]) -> None:
    values = {
        "name": request.name,
        "folder": folder_name(request.name),
        "quoted_name": quoted(request.name),
        "quoted_version": quoted(request.version),
        "quoted_summary": quoted(request.summary),
        "summary": request.summary.rstrip(".").replace("\\", "/").replace('"', "'"),
        "type": quoted("cv/classification" if request.pictures else ""),
        "environment": _environment(engine),
        "class_name": class_name(request.name),
        "base": "ClassifierModule" if request.pictures else "ModelModule",
        "params": literal(params, {"engine": _engines(folder / _MODEL), **_COMMENTS}, 4),
        "signature": "".join(_row("input", each) for each in trial.inputs) + "".join(_row("output", each) for each in trial.outputs),
        "notes": "".join(f"\n{each}\n" for each in notes),
        "usage": _usage(request, trial),
    }
    fill("converted", folder, values)


def _engines(model_folder: Path) -> str:
    """Return the comment on the setting ``engine``: those that read the model."""
    graph = find_model_files(model_folder).graph
    readers = [name for name in ENGINES if engine_class(name).reads(graph)]
    return f"{' | '.join(readers)} | auto: the fastest on this machine of those that agree" if readers[1:] else f"{readers[0]} reads it"


def _environment(engine: str) -> str:
    """Return the argument of ``moduleinfo`` for a model whose engine runs in an environment of its own."""
    asked = environment_for(engine)
    return f"\n    environment={json.dumps(asked)}," if asked else ""


def _row(direction: str, spec: TensorSpec) -> str:
    return f"| {direction} | `{spec.name}` | {spec.dtype} | {list(spec.shape)} |\n"


def _usage(request: Request, trial: Trial) -> str:
    """Return the commands in the module's README."""
    url = f"http://127.0.0.1:8866/predict/{request.name}"
    if request.pictures:
        return f"$ curl -s --data-binary @photo.jpg -H 'Content-Type: image/jpeg' {url}\n$ hub run {request.name} --image_file photo.jpg"
    inputs = ", ".join(f'"{spec.name}": [...]' for spec in trial.inputs)
    body = f'{{"inputs": {{{inputs}}}}}'
    return f"$ curl -s {url} -H 'Content-Type: application/json' -d '{body}'\n$ hub run {request.name} --inputs request.json"
