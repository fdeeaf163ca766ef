"""The forms of models, one row each: their files, the engine of each, and other files that people take for models."""

from pathlib import Path, PurePath
from typing import Dict, List, Mapping, NamedTuple, Tuple

from hubserve.engines.keras_files import KERAS_ENDINGS, KERAS_H5, check_keras, is_whole_h5
from hubserve.engines.tensorflow_saved_model import GRAPH_NAME, read_saved_model
from hubserve.engines.torch_files import check_file, is_servable
from hubserve.errors import LoadFailed


class Format(NamedTuple):
    """The files of one of Triton's backends.

    Attributes:
        engine: the engine that computes them unless another one is asked for; "auto" for the fastest that agrees.
        stored: names of the model in a version's folder of a model repository, a file or a folder; the first that exists is used.
        endings: of files.
        file_names: whole names of files that have no ending of their own.
        marker: the file by which a folder is recognised as one model; "" if models are files.
        platforms: Triton's names of the platform, by which older configurations name the backend; the first is shown in metadata.
        maker: of the files, for messages: "Paddle's ".
        texts: whether its tensors may be texts (``TYPE_STRING``).
        bfloat16: whether its tensors may be ``TYPE_BF16``.
    """

    engine: str
    stored: Tuple[str, ...]
    endings: Tuple[str, ...] = ()
    file_names: Tuple[str, ...] = ()
    marker: str = ""
    platforms: Tuple[str, ...] = ()
    maker: str = ""
    texts: bool = False
    bfloat16: bool = False


#: Triton's name of the backend -> its files
FORMATS: Mapping[str, Format] = {
    "onnxruntime": Format(
        "onnxruntime", ("model.onnx", "model"), endings=(".onnx",), platforms=("onnxruntime_onnx",), texts=True, bfloat16=True
    ),
    "paddle": Format(
        "auto",
        ("model.pdmodel", "model.json", "inference.pdmodel", "inference.json", "model"),
        endings=(".pdmodel", ".json"),
        file_names=("__model__", "model"),  # of Paddle 1
        maker="Paddle's ",
    ),
    "openvino": Format("openvino", ("model.xml", "model"), endings=(".xml",), maker="OpenVINO's "),
    "pytorch": Format(
        "pytorch",
        ("model.pt", "model.pt2", "model.safetensors"),
        endings=(".pt", ".pt2", ".pts", ".pth", ".torchscript", ".safetensors"),
        platforms=("pytorch_libtorch", "torch_aoti"),
        maker="PyTorch's ",
    ),
    "megengine": Format("megengine", ("model.mge",), endings=(".mge",), maker="MegEngine's "),
    "oneflow": Format("oneflow", ("model",), marker="model.mlir", maker="OneFlow's "),
    "tensorflow": Format(
        "tensorflow",
        ("model.savedmodel", "model.keras"),
        endings=KERAS_ENDINGS,
        marker=GRAPH_NAME,
        platforms=("tensorflow_savedmodel",),
        maker="TensorFlow's ",
        texts=True,
        bfloat16=True,
    ),
}


def _known() -> str:
    """Return the models that can be served, by backend: ``*.onnx, Paddle's *.pdmodel, *.json or __model__, ...``."""
    listed = []
    for each in FORMATS.values():
        names = [f"*{ending}" for ending in each.endings] + list(each.file_names[:1])
        names += [f"folder with {each.marker}"] if each.marker else []
        listed.append(each.maker + " or ".join([", ".join(names[:-1]), names[-1]] if names[1:] else names))
    return ", ".join(listed)


#: for messages
KNOWN = _known()
_ONNX = "Export it to ONNX, and serve that"
_WEIGHTS = "Export the model for inference ({}), and give what that writes"
#: ending -> description of such a file, and advice
_OTHERS: Dict[str, Tuple[str, str]] = {
    ".pdparams": ("weights that paddle.save wrote, without the model that computes with them", _WEIGHTS.format("paddle.jit.save")),
    ".pdopt": ("an optimizer's state that paddle.save wrote", _WEIGHTS.format("paddle.jit.save")),
    ".pdiparams": ("the weights of a Paddle model", "Give the *.pdmodel or *.json file of the same name"),
    ".bin": ("weights without the model that computes with them", "Give the *.xml file of the same name, or export the model to ONNX"),
    ".pb": (
        "a file of a SavedModel, or a frozen graph of TensorFlow 1",
        "Give the folder of the SavedModel. Save a frozen graph as a SavedModel (tf.compat.v1.saved_model.simple_save), and give that",
    ),
    ".tflite": ("a TensorFlow Lite model", f"{_ONNX} (python -m tf2onnx.convert --tflite FILE)"),
    ".ckpt": ("a training checkpoint", "Export the model for inference, with torch.export or as ONNX, and give that"),
    ".pkl": ("a Python pickle, which is not opened because it can run anything", f"{_ONNX} (skl2onnx for scikit-learn)"),
    ".joblib": ("a Python pickle, which is not opened because it can run anything", f"{_ONNX} (skl2onnx for scikit-learn)"),
    ".plan": ("an engine that TensorRT compiled for one GPU", "Give the ONNX model that it was made from"),
    ".engine": ("an engine that TensorRT compiled for one GPU", "Give the ONNX model that it was made from"),
    ".gguf": ("a language model for llama.cpp, which is not computed here", "Serve it with llama.cpp, or take its ONNX form"),
    ".mlmodel": ("a Core ML model", _ONNX),
}
_HEAD_BYTES = 4096


def backend_of_file(path: Path) -> str:
    """Return Triton's name for the backend of a model, by its file's name or its folder's content; "" where none serves it."""
    if path.is_dir():
        return next((backend for backend, each in FORMATS.items() if each.marker and (path / each.marker).is_file()), "")
    return backend_of_name(path)


def backend_of_name(path: PurePath) -> str:
    """Return Triton's name for the backend of a file with this name, whether it exists or not; "" where none serves it."""
    named = (backend for backend, each in FORMATS.items() if path.name in each.file_names or path.suffix.lower() in each.endings)
    return next(named, "")


def is_like_model(path: PurePath) -> bool:
    """Return True for the name of a model, whether it can be served or not, and whether it exists or not."""
    return bool(backend_of_name(path)) or path.suffix.lower() in _OTHERS


def is_model_folder(path: Path) -> bool:
    """Return True for a folder that is one model, such as a SavedModel."""
    return path.is_dir() and bool(backend_of_file(path))


def is_model_name(path: Path) -> bool:
    """Return True if a file is named like a model, whether it can be served or not."""
    return bool(backend_of_file(path)) or path.suffix.lower() in _OTHERS


def check_form(path: Path) -> None:
    """Refuse a file that cannot be served, judged by its name and its first bytes.

    Raises:
        LoadFailed: saying what it is, and what to do.
    """
    if is_model_folder(path):
        if backend_of_file(path) == "tensorflow":
            read_saved_model(path)
        return
    other = _OTHERS.get(path.suffix.lower())
    if other is not None:
        raise LoadFailed(f"'{path.name}' cannot be served: it is {other[0]}. {other[1]}.")
    if not backend_of_file(path):
        raise LoadFailed(f"'{path.name}' is not a model that can be served here. Those that can are {KNOWN}.")
    head = _head(path)
    if head.startswith(b"version https://git-lfs"):
        raise LoadFailed(f"'{path}' is a pointer of Git LFS in place of the model. Fetch the model itself with: git lfs pull")
    if head.lstrip()[:15].lower().startswith((b"<!doctype html", b"<html")):
        raise LoadFailed(f"'{path}' is a web page in place of the model: the download went wrong. Download it again.")
    if not head:
        raise LoadFailed(f"'{path}' is empty. Export or copy the model again.")
    if path.suffix.lower() == ".safetensors":
        check_file(path)
    if path.suffix.lower() in KERAS_ENDINGS:
        check_keras(path)
    if path.suffix == ".json" and not is_program(path):
        raise LoadFailed(f"'{path.name}' is JSON, but no model that Paddle 3 wrote. Give the model's own file.")


def graphs_in(folder: Path) -> List[Path]:
    """List the models in a folder, by name; of one in both of Paddle's forms the older, which more engines read.

    Weights of PyTorch, and XML files that are not networks, are left out.
    """
    found: Dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if not (is_model_folder(path) or (path.is_file() and _is_graph(path))):
            continue
        backend = backend_of_file(path)
        key = f"{backend} {path.stem}"
        if key not in found or path.suffix == ".pdmodel":
            found[key] = path
    return list(found.values())


def others_in(folder: Path) -> List[Path]:
    """List files in a folder that people take for models, and that cannot be served."""
    return sorted(
        each for each in folder.iterdir() if each.is_file() and is_model_name(each) and not _is_graph(each) and each.suffix != ".json"
    )


def is_program(path: Path) -> bool:
    """Return True for one of Paddle 3's programs, False for other JSON; a damaged program counts by its weights' name."""
    return path.with_suffix(".pdiparams").is_file() or b'"pir"' in _head(path)


def _is_graph(path: Path) -> bool:
    suffix = path.suffix.lower()
    if suffix == ".json":
        return is_program(path)
    if suffix == ".xml":
        return b"<net" in _head(path)
    if suffix in FORMATS["pytorch"].endings:
        return is_servable(path)
    if suffix in KERAS_H5:  # HDF5 holds data of any kind
        return is_whole_h5(path)
    if path.name == "model":
        return path.with_name("params").is_file()
    return bool(backend_of_file(path))


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD_BYTES)
    except OSError as error:
        raise LoadFailed(f"cannot read the model file '{path}': {error.strerror}. Check that it is there and may be read.") from None
