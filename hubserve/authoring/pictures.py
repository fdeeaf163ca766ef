"""How pictures become a classifier's input: from options, or from the ``inference.yml`` that PaddleClas writes beside a model."""

from pathlib import Path
from typing import Any, NamedTuple

from hubserve.authoring.labels import read_labels
from hubserve.errors import ConfigError, HubError, MissingDependency
from hubserve.vision.operators import create_operators

_FILE = "inference.yml"
_REMEDY = (
    f"Say how pictures are prepared with --image_size, --resize_short, --mean, --std; or move {_FILE} away to convert without pictures."
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
    told = _read_file(folder / _FILE, needed=not preprocess)
    if told is None and not (preprocess or topk or labels):
        return None
    told = told or Pictures({}, {}, {})
    merged = preprocess if preprocess and "transform_ops" in told.preprocess else {**told.preprocess, **preprocess}
    named = read_labels(labels) if labels else told.labels
    return Pictures(merged, {**told.topk, **topk}, named, told.notes if not labels else ())


def _read_file(path: Path, needed: bool) -> Pictures | None:
    """None where there is no file, or it describes no classifier."""
    if not path.is_file():
        return None
    document = _parse(path)
    post = document.get("PostProcess")
    topk = post.get("Topk") if isinstance(post, dict) else None
    if not isinstance(topk, dict):
        return None
    labels, notes = _labels(topk, path.parent)
    settings = {"topk": topk["topk"]} if isinstance(topk.get("topk"), int) else {}
    try:
        preprocess = _preprocess((document.get("PreProcess") or {}).get("transform_ops"))
    except (HubError, AttributeError, TypeError) as error:
        if needed:
            raise ConfigError(f"'{path}' prepares pictures in a way that hubserve does not: {error}. {_REMEDY}") from None
        preprocess = {}
    return Pictures(preprocess, settings, labels, notes)


def _parse(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise MissingDependency(f"'{path}' cannot be read without the package PyYAML. Install it with: pip install pyyaml") from None
    try:
        document = yaml.safe_load(path.read_bytes())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"'{path}' cannot be read as YAML: {str(error)[:200]}. Mend it, or move it away.") from None
    return document if isinstance(document, dict) else {}


def _labels(topk: dict[str, Any], folder: Path) -> tuple[dict[int, str], tuple[str, ...]]:
    listed = topk.get("label_list")
    if isinstance(listed, list):
        return {number: str(name) for number, name in enumerate(listed)}, ()
    named = topk.get("class_id_map_file")
    if not named:
        return {}, ()
    for path in (folder / str(named), folder / Path(str(named)).name):
        if path.is_file():
            return read_labels(path), ()
    return {}, (f"{_FILE} names the label file '{named}', which is not there: classes have no names. --labels FILE gives them.",)


def _preprocess(operators: Any) -> dict[str, Any]:
    """``transform_ops`` as settings: the usual chain by its numbers, which is computed faster, any other as a list.

    Raises:
        HubError: an operator or parameter is unknown.
        TypeError: it is no such list.
    """
    if not isinstance(operators, list) or not all(isinstance(each, dict) and len(each) == 1 for each in operators):
        raise TypeError("it has no list PreProcess.transform_ops of single operators")
    to_rgb, chain = True, list(operators)
    if chain and "DecodeImage" in chain[0]:
        decode = chain.pop(0)["DecodeImage"] or {}
        to_rgb = decode.get("to_rgb", True)
        if decode.get("channel_first"):
            raise ConfigError("DecodeImage with channel_first")
    create_operators(chain)
    if to_rgb and [next(iter(each)) for each in chain] == ["ResizeImage", "CropImage", "NormalizeImage", "ToCHWImage"]:
        usual = _usual_chain(*(next(iter(each.values())) or {} for each in chain[:3]))
        if usual is not None:
            return usual
    return {"transform_ops": [*([{"ToRGB": None}] if to_rgb else []), *chain]}


def _usual_chain(resize: dict[str, Any], crop: dict[str, Any], normalize: dict[str, Any]) -> dict[str, Any] | None:
    plain = set(resize) == {"resize_short"} and isinstance(crop.get("size"), int) and resize["resize_short"] >= crop["size"]
    usual = normalize.get("order", "") in ("", "hwc") and not normalize.get("output_fp16") and normalize.get("channel_num", 3) == 3
    if not (plain and usual):
        return None
    numbers = {key: normalize[key] for key in ("mean", "std", "scale") if normalize.get(key) is not None}
    return {"resize_short": resize["resize_short"], "crop_size": crop["size"], **numbers}
