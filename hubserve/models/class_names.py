"""Choose the names of a classifier's classes: from the settings, from ``inference.yml``, or the module's defaults."""

from pathlib import Path
from typing import Any, Dict, NamedTuple, Optional, Sequence

from hubserve.errors import InvalidInput, LoadFailed
from hubserve.models.inference_yml import FILE, InferenceYml
from hubserve.models.labels import label_mismatch, names_of, read_label_file
from hubserve.module import find_file

AUTO = "auto"
_REMEDY = "Set 'class_id_map_file' to this model's label file, or to None (null in JSON) for no names."


class UnfitLabels(InvalidInput):
    """The names do not fit the model's classes."""


class Naming(NamedTuple):
    """Names of classes. Attributes: ``labels``, class -> name; ``about``, their source, for people to read; ``warnings``."""

    labels: Dict[int, str]
    about: str
    warnings: Sequence[str] = ()


def name_classes(described: Optional[InferenceYml], named: Any, default: Any, classes: int, directory: Any) -> Naming:
    """Find the names.

    Args:
        described: the ``inference.yml`` beside the model, if there is one.
        named: the configured label file; :data:`AUTO` for the next two; None for no names.
        default: the label file used otherwise, if it has as many names as there are classes; None for none.
        classes: the model's number of classes; ANY if unknown.
        directory: the module's, for relative paths.
    Raises:
        LoadFailed: the configured file does not exist.
        InvalidInput: it cannot be read.
        UnfitLabels: it, or the labels of ``inference.yml``, do not fit the model's classes.
    """
    if not named:
        return Naming({}, "none, as the settings say")
    if named != AUTO:
        return _checked(_read(find_file(named, directory)), str(named), classes)
    if described and described.labels:
        return _checked(described.labels, FILE, classes)
    missing = described.missing_labels if described else ""
    if missing and Path(missing).name != Path(str(default)).name:
        return Naming({}, "none", [f"the classes have no names: {FILE} names the label file '{missing}', which is not there. {_REMEDY}"])
    return _default(default, classes, directory) if default else Naming({}, "none")


def _checked(labels: Dict[int, str], source: str, classes: int) -> Naming:
    reason = label_mismatch(labels, classes)
    if reason:
        raise UnfitLabels(f"{reason} ({source}). {_REMEDY}")
    return Naming(labels, _count(labels, classes, source))


def _default(default: Any, classes: int, directory: Any) -> Naming:
    try:
        labels = _read(find_file(default, directory))
    except (LoadFailed, InvalidInput) as error:
        return Naming({}, "none", [f"the classes have no names: {error.message} {_REMEDY}"])
    if len(labels) == classes and not label_mismatch(labels, classes):
        return Naming(labels, _count(labels, classes, str(default)))
    there = f"has {classes}" if classes > 0 else "does not say how many it has"
    return Naming({}, "none", [f"the classes have no names: '{default}' has {len(labels)}, and the model {there}. {_REMEDY}"])


def _read(path: Path) -> Dict[int, str]:
    return names_of(read_label_file(path))


def _count(labels: Dict[int, str], classes: int, source: str) -> str:
    return f"{len(labels)} names for {classes if classes > 0 else 'an unknown number of'} classes, from {source}"
