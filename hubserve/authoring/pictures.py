"""How pictures become a classifier's input: from options, or from the ``inference.yml`` that PaddleClas writes beside a model."""

from pathlib import Path
from typing import Any, NamedTuple

from hubserve.errors import ConfigError
from hubserve.models.inference_yml import FILE, Described, lay_over, read_inference_yml
from hubserve.models.labels import read_labels

_REMEDY = (
    f"Say how pictures are prepared with --image_size, --resize_short, --mean, --std; or move {FILE} away to convert without pictures."
)


class Pictures(NamedTuple):
    """Settings of :class:`hubserve.models.ClassifierModule` that are not its defaults.

    Attributes:
        preprocess: under ``PreProcess``.
        topk: under ``PostProcess``.
        labels: class to name.
        notes: what the user should know of them.
    """

    preprocess: dict[str, Any]
    topk: dict[str, Any]
    labels: dict[int, str]
    notes: tuple[str, ...] = ()


def gather(folder: Path, preprocess: dict[str, Any], topk: dict[str, Any], labels: Path | None) -> Pictures | None:
    """What is known of a model's pictures.

    Args:
        folder: the model's; its ``inference.yml`` is read, if there is one.
        preprocess: as :class:`Pictures` has it, from options, which count more.
        topk: as ``preprocess``.
        labels: a file of class names, from an option.
    Returns:
        None where neither options nor file say that the model takes pictures.
    Raises:
        ConfigError: the file describes a classifier and cannot be followed.
        InvalidInput: the labels cannot be read.
    """
    told = read_inference_yml(folder)
    if told is None and not (preprocess or topk or labels):
        return None
    told = told or Described({}, {}, {})
    if told.unusable and not preprocess:
        raise ConfigError(f"{told.unusable}. {_REMEDY}")
    notes: tuple[str, ...] = ()
    if told.missing_labels and not labels:
        notes = (
            f"{FILE} names the label file '{told.missing_labels}', which is not there: classes have no names. --labels FILE gives them.",
        )
    named = read_labels(labels) if labels else told.labels
    return Pictures(lay_over(told.preprocess, preprocess), {**told.topk, **topk}, named, notes)
