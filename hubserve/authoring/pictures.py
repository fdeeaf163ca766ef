"""Preprocessing of a classifier's pictures, from options or from the ``inference.yml`` that PaddleClas writes beside a model."""

from pathlib import Path
from typing import Any, NamedTuple

from hubserve.errors import ConfigError
from hubserve.models.inference_yml import FILE, InferenceYml, override_preprocess, read_inference_yml
from hubserve.models.labels import read_labels

_REMEDY = f"Set the preparation with --image_size, --resize_short, --mean, --std; or remove {FILE} to convert without pictures."


class Pictures(NamedTuple):
    """Settings of :class:`hubserve.models.ClassifierModule` that differ from its defaults.

    Attributes:
        preprocess: under ``PreProcess``.
        topk: under ``PostProcess``.
        labels: class to name.
        notes: sentences for the user.
    """

    preprocess: dict[str, Any]
    topk: dict[str, Any]
    labels: dict[int, str]
    notes: tuple[str, ...] = ()


def picture_settings(folder: Path, preprocess: dict[str, Any], topk: dict[str, Any], labels: Path | None) -> Pictures | None:
    """Return the settings of a model's pictures.

    Args:
        folder: the model's; its ``inference.yml`` is read, if there is one.
        preprocess: options as in :class:`Pictures`; they override the file.
        topk: likewise.
        labels: a file of class names, from an option.
    Returns:
        None if neither options nor the file say that the model takes pictures.
    Raises:
        ConfigError: the file describes a classifier in an unsupported way.
        InvalidInput: the labels cannot be read.
    """
    described = read_inference_yml(folder)
    if described is None and not (preprocess or topk or labels):
        return None
    described = described or InferenceYml({}, {}, {})
    if described.unusable and not preprocess:
        raise ConfigError(f"{described.unusable}. {_REMEDY}")
    notes: tuple[str, ...] = ()
    if described.missing_labels and not labels:
        notes = (
            f"{FILE} names the label file '{described.missing_labels}', which does not exist: classes have no names. "
            "Give them with --labels FILE.",
        )
    named = read_labels(labels) if labels else described.labels
    return Pictures(override_preprocess(described.preprocess, preprocess), {**described.topk, **topk}, named, notes)
