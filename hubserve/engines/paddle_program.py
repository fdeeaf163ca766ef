"""Read the inputs and outputs of a Paddle program from its file, without Paddle."""

import json
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Tuple

from hubserve.engines.protobuf import Message, integer_of, integers_of, message_of, messages_of, parse_message, text_of
from hubserve.errors import LoadFailed
from hubserve.types import TensorSpec

#: VarType.Type of Paddle's framework.proto -> dtype
_PROTO_DTYPES = {
    0: "bool",
    1: "int16",
    2: "int32",
    3: "int64",
    4: "float16",
    5: "float32",
    6: "float64",
    20: "uint8",
    21: "int8",
}
#: the element types of Paddle 3's PIR JSON -> dtype
_PIR_DTYPES = {
    "t_bool": "bool",
    "t_i16": "int16",
    "t_i32": "int32",
    "t_i64": "int64",
    "t_f16": "float16",
    "t_f32": "float32",
    "t_f64": "float64",
    "t_ui8": "uint8",
    "t_i8": "int8",
}


class Program(NamedTuple):
    """Inputs and outputs of a Paddle program.

    Attributes:
        inputs, outputs: in the program's order and under the program's names.
        needs_weights: whether it has parameters, which a second file holds.
        parameters: their names; () for Paddle 3's programs, which have them in one file always.
    """

    inputs: Tuple[TensorSpec, ...]
    outputs: Tuple[TensorSpec, ...]
    needs_weights: bool
    parameters: Tuple[str, ...] = ()


def read_program(graph: Path) -> Program:
    """Read a ``.pdmodel`` / ``__model__`` (protobuf) or ``.json`` (PIR) file.

    Raises:
        LoadFailed: the file cannot be read, is damaged, or has inputs of a type that cannot be served.
    """
    try:
        data = graph.read_bytes()
    except OSError as error:
        raise LoadFailed(f"cannot read the model file '{graph}': {error.strerror}") from error
    try:
        return _read_pir(json.loads(data)) if graph.suffix == ".json" else _read_protobuf(data)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise LoadFailed(
            f"'{graph}' is not a Paddle program, or is damaged or cut short ({len(data)} bytes): {error}. "
            "Export the model again (tools/export_model.py does it) or copy the file again.",
            detail=repr(error),
        ) from error


def _read_protobuf(data: bytes) -> Program:
    blocks = messages_of(parse_message(data), 1)
    if not blocks:
        raise ValueError("it has no blocks")
    variables = {text_of(each, 1): each for each in messages_of(blocks[0], 3)}
    fed: Dict[int, str] = {}
    fetched: Dict[int, str] = {}
    for operator in messages_of(blocks[0], 4):
        kind = text_of(operator, 3)
        if kind == "feed":
            fed[_column(operator)] = _argument(operator, 2)
        elif kind == "fetch":
            fetched[_column(operator)] = _argument(operator, 1)
    if not fetched:
        raise ValueError("it has no outputs")
    parameters = tuple(name for name, each in variables.items() if integer_of(each, 3) and _is_dense(each))
    return Program(_proto_specs(fed, variables), _proto_specs(fetched, variables), bool(parameters), parameters)


def _column(operator: Message) -> int:
    return next((integer_of(each, 3) for each in messages_of(operator, 4) if text_of(each, 1) == "col"), 0)


def _argument(operator: Message, field: int) -> str:
    return text_of(message_of(operator, field), 2)


def _is_dense(variable: Message) -> bool:
    return integer_of(message_of(variable, 2), 1) == 7


def _proto_specs(names: Dict[int, str], variables: Dict[str, Message]) -> Tuple[TensorSpec, ...]:
    specs = []
    for _, name in sorted(names.items()):
        tensor = message_of(message_of(message_of(variables[name], 2), 3), 1)
        specs.append(_spec(name, _PROTO_DTYPES.get(integer_of(tensor, 1)), integers_of(tensor, 2)))
    return tuple(specs)


def _read_pir(described: Dict[str, Any]) -> Program:
    if described["base_code"]["magic"] != "pir":
        raise ValueError("it is JSON, but not a PIR program")
    operators = described["program"]["regions"][0]["blocks"][0]["ops"]
    inputs: List[TensorSpec] = []
    outputs: Dict[int, TensorSpec] = {}
    for operator in operators:
        kind = operator["#"].rpartition(".")[2]  # "1.data": dialect and name
        if kind not in ("data", "feed", "fetch"):
            continue
        attributes = {each["N"]: each["AT"].get("D") for each in operator["A"]}
        tensor = operator["O"][0]["TT"]["D"]
        spec = _spec(attributes["name"], _PIR_DTYPES.get(tensor[0]["#"].rpartition(".")[2]), tensor[1])
        if kind == "fetch":
            outputs[attributes.get("col", len(outputs))] = spec
        else:
            inputs.append(spec)
    if not outputs:
        raise ValueError("it has no outputs")
    ordered = tuple(spec for _, spec in sorted(outputs.items()))
    return Program(tuple(inputs), ordered, any(each["#"] == "p" for each in operators))


def _spec(name: str, dtype: Any, lengths: List[int]) -> TensorSpec:
    if dtype is None:
        raise ValueError(f"tensor '{name}' has an element type that cannot be served")
    return TensorSpec(name, dtype, tuple(int(each) for each in lengths))
