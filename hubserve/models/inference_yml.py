"""Read the ``inference.yml`` that PaddleClas and PaddleX write beside a classifier: its preprocessing, and the names of its classes."""

from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

from hubserve.errors import ConfigError, HubError, MissingDependency
from hubserve.models.labels import read_labels
from hubserve.vision.operators import create_operators

FILE = "inference.yml"


class InferenceYml(NamedTuple):
    """Contents of ``inference.yml``, as settings of :class:`hubserve.models.ClassifierModule`.

    Attributes:
        preprocess: under ``PreProcess``; empty if it is not supported.
        topk: under ``PostProcess.Topk``: ``topk`` and ``softmax``.
        labels: class -> name.
        missing_labels: the label file that it names, if that does not exist; else "".
        unusable: why its preprocessing is not supported; "" if it is.
    """

    preprocess: Dict[str, Any]
    topk: Dict[str, Any]
    labels: Dict[int, str]
    missing_labels: str = ""
    unusable: str = ""


def read_inference_yml(folder: Path) -> Optional[InferenceYml]:
    """Read the file beside a model.

    Returns:
        None if there is no file, or it does not describe a classifier.
    Raises:
        ConfigError: it is not valid YAML.
        InvalidInput: the label file that it names cannot be used.
        MissingDependency: PyYAML is not installed.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    document = _parse(path)
    post = document.get("PostProcess")
    topk = post.get("Topk") if isinstance(post, dict) else None
    if not isinstance(topk, dict):
        return None
    labels, missing = _labels(topk, folder)
    try:
        preprocess, unusable = _preprocess((document.get("PreProcess") or {}).get("transform_ops")), ""
    except (HubError, AttributeError, TypeError) as error:
        preprocess, unusable = {}, f"'{path}' prepares pictures in a way that hubserve does not: {error}"
    return InferenceYml(preprocess, _topk(topk), labels, missing, unusable)


def override_preprocess(described: Dict[str, Any], given: Dict[str, Any]) -> Dict[str, Any]:
    """Override the file's settings under ``PreProcess`` by others, which replace a list of operators completely."""
    return dict(given) if given and "transform_ops" in described else {**described, **given}


def _parse(path: Path) -> Dict[str, Any]:
    try:
        import yaml
    except ImportError:
        raise MissingDependency(
            f"'{path}' cannot be read without the package PyYAML. Install it with: pip install pyyaml (for a module with an environment "
            "of its own: add pyyaml to its requirements.txt), or move the file away."
        ) from None
    try:
        document = yaml.safe_load(path.read_bytes())
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"'{path}' cannot be read as YAML: {str(error)[:200]}. Fix it, or move it away.") from None
    return document if isinstance(document, dict) else {}


def _topk(topk: Dict[str, Any]) -> Dict[str, Any]:
    settings: Dict[str, Any] = {}
    if isinstance(topk.get("topk"), int) and topk["topk"] > 0:
        settings["topk"] = int(topk["topk"])
    if isinstance(topk.get("softmax"), bool):
        settings["softmax"] = topk["softmax"]
    return settings


def _labels(topk: Dict[str, Any], folder: Path) -> Tuple[Dict[int, str], str]:
    listed = topk.get("label_list")
    if isinstance(listed, list):
        return {number: str(name) for number, name in enumerate(listed)}, ""
    named = topk.get("class_id_map_file")
    if not named:
        return {}, ""
    for path in (folder / str(named), folder / Path(str(named)).name):
        if path.is_file():
            return read_labels(path), ""
    return {}, str(named)


def _preprocess(operators: Any) -> Dict[str, Any]:
    """Convert ``transform_ops`` to settings: the usual chain to its parameters, which is faster, any other to a list of operators.

    Raises:
        HubError: an operator or parameter is unknown.
        TypeError: it is not such a list.
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
        usual = _usual_chain([next(iter(each.values())) or {} for each in chain[:3]])
        if usual is not None:
            return usual
    return {"transform_ops": [*([{"ToRGB": None}] if to_rgb else []), *chain]}


def _usual_chain(parameters: List[Dict[str, Any]]) -> Optional[Dict[str, Any]]:
    resize, crop, normalize = parameters
    plain = set(resize) == {"resize_short"} and isinstance(crop.get("size"), int) and resize["resize_short"] >= crop["size"]
    usual = normalize.get("order", "") in ("", "hwc") and not normalize.get("output_fp16") and normalize.get("channel_num", 3) == 3
    if not (plain and usual):
        return None
    numbers = {key: normalize[key] for key in ("mean", "std", "scale") if normalize.get(key) is not None}
    return {"resize_short": resize["resize_short"], "crop_size": crop["size"], **numbers}
