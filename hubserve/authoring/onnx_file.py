"""What is looked at in an ONNX file before an engine is given it.

Source of the field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

from pathlib import Path

from hubserve.engines.protobuf import Message, integer_of, message_of, messages_of, parse_message, text_of
from hubserve.errors import InstallError, LoadFailed

_MODEL_GRAPH = 7
_GRAPH_INITIALIZER = 5
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_EXTERNAL = 1


def check_onnx(path: Path) -> None:
    """Refuse a file that cannot become a module.

    Raises:
        LoadFailed: it cannot be read, or is damaged or no ONNX model.
        InstallError: its weights lie in other files.
    """
    try:
        graph = message_of(parse_message(path.read_bytes()), _MODEL_GRAPH)
        outside = {_location(each) for each in messages_of(graph, _GRAPH_INITIALIZER) if _is_outside(each)}
    except OSError as error:
        raise LoadFailed(f"cannot read the model file '{path}': {error.strerror}. Check that it is there and may be read.") from error
    except ValueError as error:
        raise LoadFailed(
            f"'{path}' is not an ONNX model, or is damaged or cut short ({path.stat().st_size} bytes): {error}. Export or copy it again."
        ) from error
    if outside:
        named = ", ".join(sorted(outside)[:3]) + (", ..." if len(outside) > 3 else "")
        raise InstallError(
            f"'{path}' keeps weights in other files ({named}), and a module needs them in one. Write one file with the package onnx: "
            f"onnx.save(onnx.load('{path.name}'), 'whole.onnx', save_as_external_data=False), and convert that."
        )


def _is_outside(tensor: Message) -> bool:
    return integer_of(tensor, _TENSOR_DATA_LOCATION) == _EXTERNAL


def _location(tensor: Message) -> str:
    entries = {text_of(each, 1): text_of(each, 2) for each in messages_of(tensor, _TENSOR_EXTERNAL_DATA)}
    return entries.get("location", "?")
