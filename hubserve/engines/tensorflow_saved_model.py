"""Read what a SavedModel contains: its signatures and their tensors, without TensorFlow.

Source: tensorflow/core/protobuf/saved_model.proto and meta_graph.proto. A damaged file is refused here, before TensorFlow is imported.
"""

from pathlib import Path
from typing import Dict, FrozenSet, List, Mapping, NamedTuple, Sequence, Tuple

from hubserve.engines.protobuf import Message, integer_of, messages_of, parse_message, text_of, texts_of
from hubserve.errors import LoadFailed
from hubserve.types import ANY, BFLOAT16, BYTES, REST, TensorSpec

GRAPH_NAME = "saved_model.pb"
#: signature and tag of models for serving, unless another one is asked for
DEFAULT_SIGNATURE, DEFAULT_TAG = "serving_default", "serve"
#: parameters of Triton that name others
SIGNATURE_SETTING, TAG_SETTING = "TF_SIGNATURE_DEF", "TF_GRAPH_TAG"
#: entries of TensorFlow's own among the signatures, such as __saved_model_init_op
_INTERNAL = "__saved_model_"
#: enum DataType of tensorflow/core/framework/types.proto
_DTYPES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: BYTES,
    9: "int64",
    10: "bool",
    14: BFLOAT16,
    17: "uint16",
    19: "float16",
    22: "uint32",
    23: "uint64",
}
_UNSERVED = {8: "complex64", 18: "complex128", 20: "resource", 21: "variant", 11: "qint8", 12: "quint8", 13: "qint32", 15: "qint16"}
_AGAIN = "Export or copy the whole folder again."


class SignatureTensors(NamedTuple):
    """One signature.

    Attributes:
        inputs, outputs: sorted by name, which is the signature's own for them.
        operands: name of an input or output -> name of the tensor in the graph; the sides may share names.
        unusable: why it cannot be served, such as a sparse input; "" if it can.
    """

    inputs: Tuple[TensorSpec, ...]
    outputs: Tuple[TensorSpec, ...]
    operands: Tuple[Mapping[str, str], Mapping[str, str]]
    unusable: str = ""


class Graph(NamedTuple):
    """One graph of a SavedModel, of which there may be several for different tags.

    Attributes:
        tags: by which it is chosen.
        signatures: by name.
        has_objects: True as TensorFlow 2 writes it; False for a graph of TensorFlow 1, which runs in a session.
    """

    tags: FrozenSet[str]
    signatures: Mapping[str, SignatureTensors]
    has_objects: bool


class Chosen(NamedTuple):
    """Choice of settings among the content of a SavedModel: a graph, the name of a signature, and the signature."""

    graph: Graph
    name: str
    tensors: SignatureTensors


def read_saved_model(folder: Path) -> List[Graph]:
    """Read the graphs of a SavedModel.

    Raises:
        LoadFailed: a file is missing, cannot be read, or is damaged.
    """
    path = folder / GRAPH_NAME
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LoadFailed(f"cannot read '{path}': {error.strerror}. {_AGAIN}") from None
    try:
        graphs = [_graph(each) for each in messages_of(parse_message(memoryview(data)), 2)]
    except (ValueError, UnicodeDecodeError) as error:
        raise LoadFailed(f"'{path}' is damaged or cut short: {error}. {_AGAIN}") from None
    if not graphs:
        raise LoadFailed(f"'{path}' is damaged: it has no graph. {_AGAIN}")
    variables = folder / "variables"
    if variables.is_dir():
        _check_variables(variables)
    return graphs


def _check_variables(folder: Path) -> None:
    names = [each.name for each in folder.iterdir()]
    if not names:  # as TensorFlow 1 writes a model of constants
        return
    shards = [name for name in names if name.startswith("variables.data-")]
    missing = "variables.index" if "variables.index" not in names else "variables.data-*"
    counts = {int(name.rpartition("-of-")[2]) for name in shards if name.rpartition("-of-")[2].isdigit()}
    if len(counts) == 1 and len(shards) < max(counts):
        missing = f"{max(counts) - len(shards)} of {max(counts)} files variables.data-*"
    elif shards and "variables.index" in names:
        return
    raise LoadFailed(f"'{folder.parent.name}' lacks {missing} in its folder 'variables', so that its weights are incomplete. {_AGAIN}")


def choose(folder: Path, graphs: Sequence[Graph], tuning: Mapping[str, str]) -> Chosen:
    """Return the signature that the settings ask for, by default the one for serving, else the only one.

    Raises:
        LoadFailed: it does not exist or cannot be served; the message lists those that exist.
    """
    graph = _tagged(folder, graphs, tuning.get(TAG_SETTING, ""))
    wanted = tuning.get(SIGNATURE_SETTING, "")
    name = wanted or (
        DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in graph.signatures or len(graph.signatures) != 1 else next(iter(graph.signatures))
    )
    tensors = graph.signatures.get(name)
    listed = ", ".join(f"'{each}'" for each in sorted(graph.signatures))
    if tensors is None and not graph.signatures:
        raise LoadFailed(
            f"'{folder.name}' has no signature, so that it cannot be served. Save it with tf.saved_model.save(model, folder, "
            "signatures=...), or a Keras model with model.export(folder)."
        )
    if tensors is None:
        raise LoadFailed(f"'{folder.name}' has no signature '{name}'; it has {listed}. Name one of these in {SIGNATURE_SETTING}.")
    if tensors.unusable:
        raise LoadFailed(f"signature '{name}' of '{folder.name}' cannot be served: {tensors.unusable}. Its signatures are {listed}.")
    return Chosen(graph, name, tensors)


def _tagged(folder: Path, graphs: Sequence[Graph], tag: str) -> Graph:
    fitting = [each for each in graphs if (tag or DEFAULT_TAG) in each.tags]
    if not tag:
        # of several graphs for serving, such as one for TPUs in addition, the one with the fewest tags
        return min(fitting or graphs, key=lambda each: len(each.tags))
    if not fitting:
        listed = "; ".join(", ".join(f"'{each}'" for each in sorted(graph.tags)) for graph in graphs)
        raise LoadFailed(f"'{folder.name}' has no graph with the tag '{tag}'; its tags are {listed}. Change {TAG_SETTING}, or remove it.")
    return min(fitting, key=lambda each: len(each.tags))


def _graph(fields: Message) -> Graph:
    (info,) = messages_of(fields, 1) or [{}]
    named = ((text_of(each, 1), each) for each in messages_of(fields, 5))
    signatures = {name: _signature(each) for name, each in named if not name.startswith(_INTERNAL)}
    return Graph(frozenset(texts_of(info, 4)), signatures, 7 in fields)


def _signature(entry: Message) -> SignatureTensors:
    (fields,) = messages_of(entry, 2) or [{}]
    sides: List[Tuple[TensorSpec, ...]] = []
    operands: List[Mapping[str, str]] = []
    unusable = ""
    for number, side in ((1, "input"), (2, "output")):
        tensors = {text_of(each, 1): (messages_of(each, 2) or [{}])[0] for each in messages_of(fields, number)}
        problems = [f"its {side} '{name}' is {why}" for name, tensor in sorted(tensors.items()) for why in [_unserved(tensor)] if why]
        unusable = unusable or "".join(problems[:1])
        sides.append(tuple(_spec(name, tensor) for name, tensor in sorted(tensors.items())))
        operands.append({name: text_of(tensor, 1) for name, tensor in tensors.items()})
    return SignatureTensors(sides[0], sides[1], (operands[0], operands[1]), unusable or ("" if sides[1] else "it has no outputs"))


def _unserved(tensor: Message) -> str:
    if 1 not in tensor:
        return "sparse or composite, and only plain tensors can be sent"
    dtype = integer_of(tensor, 2)
    return "" if dtype in _DTYPES else f"of type {_UNSERVED.get(dtype, dtype)}, which cannot be sent"


def _spec(name: str, tensor: Message) -> TensorSpec:
    return TensorSpec(name, _DTYPES.get(integer_of(tensor, 2), BYTES), _shape(messages_of(tensor, 3)))


def _shape(written: Sequence[Message]) -> Tuple[int, ...]:
    if not written or integer_of(written[0], 3):
        return (REST,)
    return tuple(max(integer_of(dim, 1), ANY) for dim in messages_of(written[0], 2))


def why_alone(chosen: Chosen) -> str:
    """Return why only TensorFlow computes a signature as it is meant; "" if another engine may be compared with it."""
    if chosen.name != DEFAULT_SIGNATURE or DEFAULT_TAG not in chosen.graph.tags:
        return f"other engines read the signature '{DEFAULT_SIGNATURE}' only, and '{chosen.name}' is computed"
    for spec in (*chosen.tensors.inputs, *chosen.tensors.outputs):
        if spec.dtype in (BYTES, BFLOAT16):
            kind = "texts" if spec.dtype == BYTES else "bfloat16"
            return f"'{spec.name}' has {kind}, which other engines do not compute"
    apart = _apart(chosen.graph)
    if len(apart) > 1:
        return f"it has several signatures ({', '.join(apart)}), of which other engines read one"
    return ""


def _apart(graph: Graph) -> List[str]:
    """Return the names of signatures without those that equal an earlier one but for their name: Keras exports each model under two."""
    found: Dict[str, SignatureTensors] = {}
    for name in sorted(graph.signatures, key=lambda each: (each != DEFAULT_SIGNATURE, each)):
        tensors = graph.signatures[name]
        if all((tensors.inputs, tensors.outputs) != (each.inputs, each.outputs) for each in found.values()):
            found[name] = tensors
    return list(found)
