"""Read the description in an ONNX file, without an engine and without copying its weights.

Source of the field numbers: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
"""

import mmap
from pathlib import Path, PurePosixPath
from typing import Any, Dict, FrozenSet, Iterator, List, NamedTuple, Sequence, Set, Tuple

from hubserve.engines.protobuf import Message, integer_of, integers_of, message_of, messages_of, parse_message, text_of, texts_of
from hubserve.errors import LoadFailed

_MODEL_GRAPH = 7
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_NODE_OUTPUT, _NODE_TYPE, _NODE_ATTRIBUTE = 2, 4, 5
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_INTEGERS, _ATTRIBUTE_TEXTS, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 8, 9, 10, 11
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_EXTERNAL = 1
_TYPE_TENSOR, _TENSOR_SHAPE = 1, 2


class OnnxGraph(NamedTuple):
    """The facts of an ONNX file that serving depends on.

    Attributes:
        without_rank: inputs and outputs without a number of dimensions in the file.
        classes: output of a ``ZipMap`` -> the classes that its maps have as keys, in order.
        outside: files that hold weights, as the file names them: paths relative to its folder.
    """

    without_rank: FrozenSet[str]
    classes: Dict[str, Sequence[Any]]
    outside: Tuple[str, ...]


def read_onnx(path: Path) -> OnnxGraph:
    """Read an ONNX file's graph.

    Raises:
        LoadFailed: it cannot be read, or is damaged or no ONNX model.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # let go with the last part of it that is looked at
        return _read(message_of(parse_message(memoryview(mapped)), _MODEL_GRAPH))
    except OSError as error:
        raise LoadFailed(f"cannot read the model file '{path}': {error.strerror}. Check that it is there and may be read.") from error
    except ValueError as error:
        raise LoadFailed(
            f"'{path}' is not an ONNX model, or is damaged or cut short ({path.stat().st_size} bytes): {error}. Export or copy it again."
        ) from error


def _read(graph: Message) -> OnnxGraph:
    tensors = [*messages_of(graph, _INPUT), *messages_of(graph, _OUTPUT)]
    without_rank = frozenset(text_of(each, 1) for each in tensors if _lacks_rank(each))
    return OnnxGraph(without_rank, _classes(graph), tuple(sorted(set(_outside(graph)))))


def _lacks_rank(value: Message) -> bool:
    kinds = message_of(value, 2) if 2 in value else {}
    return _TYPE_TENSOR in kinds and _TENSOR_SHAPE not in message_of(kinds, _TYPE_TENSOR)


def _classes(graph: Message) -> Dict[str, Sequence[Any]]:
    """Return the keys of the maps that ZipMaps give."""
    found: Dict[str, Sequence[Any]] = {}
    for node in messages_of(graph, _NODE):
        if text_of(node, _NODE_TYPE) == "ZipMap":
            attributes = {text_of(each, 1): each for each in messages_of(node, _NODE_ATTRIBUTE)}
            numbers = attributes.get("classlabels_int64s", {})
            texts = attributes.get("classlabels_strings", {})
            keys: List[Any] = [*integers_of(numbers, _ATTRIBUTE_INTEGERS), *texts_of(texts, _ATTRIBUTE_TEXTS)]
            found[text_of(node, _NODE_OUTPUT)] = keys
    return found


def _outside(graph: Message) -> Iterator[str]:
    for tensor in messages_of(graph, _INITIALIZER):
        yield from _location(tensor)
    for node in messages_of(graph, _NODE):
        for attribute in messages_of(node, _NODE_ATTRIBUTE):
            for number in (_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS):
                for tensor in messages_of(attribute, number):
                    yield from _location(tensor)
            for number in (_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS):
                for inner in messages_of(attribute, number):
                    yield from _outside(inner)


def _location(tensor: Message) -> Iterator[str]:
    if integer_of(tensor, _TENSOR_DATA_LOCATION) == _EXTERNAL:
        entries = {text_of(each, 1): text_of(each, 2) for each in messages_of(tensor, _TENSOR_EXTERNAL_DATA)}
        yield entries.get("location", "")


def files_outside(path: Path, graph: OnnxGraph) -> List[Path]:
    """Find the files beside an ONNX file that hold its weights.

    Raises:
        LoadFailed: one is missing, or lies outside the file's folder.
    """
    folder, found = path.parent, []
    missing: Set[str] = set()
    # where the model's file is a link, its weights may be links beside it, to the same folder
    inside = (folder.resolve(), path.resolve().parent)
    for location in graph.outside:
        relative = PurePosixPath(location)
        place = folder / relative
        if not location or relative.is_absolute() or ".." in relative.parts or not any(each in place.resolve().parents for each in inside):
            raise LoadFailed(
                f"'{path}' names '{location}' as the file of its weights, which is outside its own folder and so is not read. Save it "
                "again with the weights beside it: onnx.save(model, 'model.onnx', save_as_external_data=True)"
            )
        if place.is_file():
            found.append(place)
        else:
            missing.add(location)
    if missing:
        raise LoadFailed(
            f"'{path.name}' keeps its weights in other files, and {', '.join(repr(each) for each in sorted(missing)[:3])} "
            f"{'is' if len(missing) == 1 else 'are'} missing from '{path.parent}'. Copy all files of the model there."
        )
    return found
