"""Checks of classifiers: their ``inference.yml``, the names of their classes, and their scores."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hubserve.doctor.findings import ERROR, NOTE, WARNING, Finding, from_error
from hubserve.doctor.models import searching
from hubserve.doctor.target import Target
from hubserve.engines import find_model_files
from hubserve.engines.paddle_program import read_program
from hubserve.errors import HubError
from hubserve.models.class_names import UnfitLabels, name_classes
from hubserve.models.inference_yml import FILE, InferenceYml, read_inference_yml
from hubserve.module import find_folder
from hubserve.registry.engine_note import read_engine_note
from hubserve.types import ANY

#: settings that identify a module derived from ClassifierModule
_KEYS = {"inference_model_dir", "class_id_map_file"}


def check_classifier(target: Target) -> Iterator[Finding]:
    """Check preprocessing, names and scores of a module around a classifier, without running its code."""
    settings = {each.key: each.value for each in target.settings()}
    if not settings.keys() >= _KEYS:
        return
    with searching(target.search_path):
        try:
            folder = find_folder(settings["inference_model_dir"], target.folder)
        except (HubError, TypeError):
            return  # check_model_files reports it
        try:
            described = read_inference_yml(folder)
        except HubError as error:
            yield from_error(error, FILE, "Correct the file, or remove it", str(folder / FILE))
            return
        yield from _preprocessing(settings, described, folder)
        yield from _names(settings, described, folder, target)
    yield from score_findings(read_engine_note(target.info, target.folder))


def _preprocessing(settings: dict[str, Any], described: InferenceYml | None, folder: Path) -> Iterator[Finding]:
    keys = ("resize_short", "crop_size", "normalize", "mean", "std", "scale", "layout", "transform_ops")
    given = [key for key in keys if settings.get(key) is not None]
    file = str(folder / FILE)
    if described is None:
        source = f"{', '.join(given)} of the settings" if given else "the model's input only"
        yield Finding(NOTE, "preprocessing", f"from {source}: no {FILE} beside the model describes a classifier")
    elif described.unusable:
        yield Finding(
            NOTE if given else ERROR, "preprocessing", described.unusable, "Set it under PreProcess in params.py, or in init_args", file
        )
    else:
        over = f"; {', '.join(given)} of the settings take precedence" if given else ""
        listed = ", ".join(f"{key} {value}" for key, value in described.preprocess.items())
        yield Finding(NOTE, "preprocessing", f"from {FILE}: {listed}{over}", file=file)


def _names(settings: dict[str, Any], described: InferenceYml | None, folder: Path, target: Target) -> Iterator[Finding]:
    named = settings["class_id_map_file"]
    if not isinstance(named, (str, type(None))):
        return
    classes = _classes(folder, target)
    try:
        naming = name_classes(described, named, settings.get("default_class_id_map_file"), classes, target.folder)
    except UnfitLabels as error:
        yield from_error(error, "labels")
        return
    except HubError:
        return  # check_model_files reports it
    yield Finding(NOTE, "labels", naming.about)
    # the default names can only be checked if the number of classes is known
    for warning in naming.warnings if classes != ANY or (described and described.missing_labels) else ():
        yield from_error(HubError(warning), "labels", level=WARNING)


def _classes(folder: Path, target: Target) -> int:
    """Return the model's number of classes, from its file or as recorded when it was last served; ANY if unknown."""
    noted = (read_engine_note(target.info, target.folder) or {}).get("classes")
    if isinstance(noted, int):
        return noted
    try:
        files = find_model_files(folder)
        outputs = () if files.graph.suffix == ".onnx" else read_program(files.graph).outputs
    except HubError:
        return ANY
    return next((spec.shape[1] for spec in outputs if len(spec.shape) == 2), ANY)


def score_findings(engine: dict[str, Any] | None) -> Iterator[Finding]:
    """Yield findings about the scores that a loaded classifier reported.

    Args:
        engine: from its :class:`hubserve.kinds.description.Description`; None if it was never loaded.
    """
    kind = (engine or {}).get("scores")
    if engine is None:
        yield Finding(NOTE, "scores", "unknown whether they are probabilities until the module is loaded: hub doctor --load")
    elif isinstance(kind, str):
        yield Finding(NOTE, "scores", kind)
        for warning in engine.get("warnings", ()):
            if "scores" in warning:
                yield from_error(HubError(warning), "scores", level=WARNING)
