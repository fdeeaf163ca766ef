"""Infer the signature of a TorchScript file, which has the names of its arguments, but neither datatypes nor shapes.

Operators with weights, behind the arguments, show both; a made-up batch shows the outputs.
"""

from itertools import islice
from typing import Any, Dict, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from hubserve.engines.base import Signature
from hubserve.types import ANY, DTYPES, REST, TensorSpec

_BATCH = 2
#: lengths that models take in an open dimension: sides of pictures, and lengths of sequences
_SIDES_PX = (224, 32, 28, 64, 299, 96)
_LENGTHS = (16, 128, 1)
#: operators that return their input in another form
_PASSING = ("aten::contiguous", "aten::clone", "aten::detach", "aten::dropout", "aten::relu", "prim::data", "aten::feature_dropout")
_MOST_STEPS = 64
#: convolutions -> the place of their number of groups
_GROUPS = {"aten::conv1d": 6, "aten::conv2d": 6, "aten::conv3d": 6, "aten::_convolution": 8}
#: operators -> the dimension of their weights that is as long as the last one of their input
_LAST = {"aten::linear": 1, "aten::matmul": 0, "aten::mm": 0}


class Guess(NamedTuple):
    """The facts known of one argument: shape (REST where its rank is not known), dtype, and length of the last dimension."""

    shape: Tuple[int, ...] = (REST,)
    dtype: str = "float32"
    last: int = 0


class Found(NamedTuple):
    """The result.

    Attributes:
        signature: of the file.
        note: what could not be found out; "" for nothing.
    """

    signature: Signature
    note: str


def keys_of(script: Any) -> List[str]:
    """Return the names of the tensors that a file takes: those of its arguments, or the keys of the one dictionary that it takes."""
    arguments = script.forward.schema.arguments[1:]
    if takes_dictionary(script):
        return list(dict.fromkeys(_dictionary_keys(script)))
    return [each.name for each in arguments if _is_tensor(each) and not each.has_default_value()]


def takes_dictionary(script: Any) -> bool:
    """Return True if the file takes its tensors by name, in one dictionary."""
    arguments = script.forward.schema.arguments[1:]
    required = [each for each in arguments if not each.has_default_value()]
    return len(required) == 1 and required[0].type.kind() == "DictType"


def _is_tensor(argument: Any) -> bool:
    return str(argument.type.kind()) == "TensorType"


def find_signature(torch: Any, script: Any, run: Any) -> Found:
    """Infer the inputs and outputs of a file.

    Args:
        torch: the package.
        script: the file, loaded.
        run: computes: name to array in, name to array out.
    """
    names = keys_of(script)
    guesses = _guesses(torch, script)
    inputs = [TensorSpec(name, guesses.get(name, Guess()).dtype, guesses.get(name, Guess()).shape) for name in names]
    given: Optional[Dict[str, np.ndarray]] = None
    for sample in islice(samples(names, guesses), len(_SIDES_PX) + len(_LENGTHS)):
        try:
            given = run(sample)
            break
        except Exception:  # noqa: S112 - a made-up batch that does not fit: the next one may
            continue
    if given is None:
        unsure = "what it gives could not be found out with a made-up batch, so float32 of any shape is taken for each output"
        return Found(Signature(inputs, _outputs_by_type(script)), unsure)
    batched = all(spec.shape[:1] == (ANY,) for spec in inputs) and all(np.shape(each)[:1] == (_BATCH,) for each in given.values())
    open_ended = [REST in spec.shape for spec in inputs]
    outputs = [TensorSpec(name, str(each.dtype), _shape(each, batched, any(open_ended))) for name, each in given.items()]
    odd = next((spec for spec in outputs if spec.dtype not in DTYPES), None)
    if odd is not None:
        return Found(Signature(inputs, outputs), f"its output '{odd.name}' is {odd.dtype}, which cannot be served")
    return Found(Signature(inputs, outputs), "")


def _shape(array: np.ndarray, batched: bool, open_ended: bool) -> Tuple[int, ...]:
    if batched and not open_ended:
        return (ANY, *([ANY] * (array.ndim - 1) if array.ndim > 2 else array.shape[1:]))
    return (REST,) if open_ended else (ANY,) * array.ndim


def _outputs_by_type(script: Any) -> List[TensorSpec]:
    returned = script.forward.schema.returns[0].type
    kind = returned.kind()
    count = len(returned.elements()) if kind == "TupleType" else 1
    return [TensorSpec(f"OUTPUT__{index}", "float32", (REST,)) for index in range(count)]


def samples(names: Sequence[str], guesses: Dict[str, Guess]) -> Iterator[Dict[str, np.ndarray]]:
    """Yield made-up batches of two items, with usual lengths for open dimensions."""
    random = np.random.default_rng(0)
    known = {name: guesses.get(name, Guess()) for name in names}
    pictures = any(len(each.shape) >= 4 for each in known.values())
    for length in _SIDES_PX if pictures else _LENGTHS:
        shapes = {name: _filled(each, length) for name, each in known.items()}
        yield {
            name: random.standard_normal(shape).astype(known[name].dtype)
            if known[name].dtype.startswith("float")
            else np.zeros(shape, known[name].dtype)
            for name, shape in shapes.items()
        }


def _filled(guess: Guess, length: int) -> Tuple[int, ...]:
    if guess.shape == (REST,):
        return (_BATCH, guess.last or length)
    return (_BATCH, *(length if each == ANY else each for each in guess.shape[1:]))


def _guesses(torch: Any, script: Any) -> Dict[str, Guess]:
    """Infer shapes and types from the first operators that use each argument."""
    try:
        graph = torch.jit.freeze(script.eval()).graph.copy()
    except Exception:  # a model that cannot be frozen keeps its weights as attributes, which its graph does not show
        graph = script.graph.copy()
    torch._C._jit_pass_inline(graph)
    values = list(graph.inputs())[1:]
    if takes_dictionary(script):
        uses = [each.user for each in values[0].uses() if each.user.kind() == "aten::__getitem__"]
        return {_constant(list(node.inputs())[1]): _guess(node.output()) for node in uses}
    names = [each.name for each in script.forward.schema.arguments[1:]]
    return {name: _guess(value) for name, value in zip(names, values)}


def _guess(value: Any) -> Guess:
    """Follow a value until an operator shows its shape or type."""
    waiting, found = [value], Guess()
    for _ in range(_MOST_STEPS):
        if not waiting:
            break
        for use in waiting.pop(0).uses():
            node, inputs = use.user, list(use.user.inputs())
            kind = node.kind()
            shown = _shown_by(kind, use.offset, inputs)
            if shown is not None:
                return shown
            if kind in _PASSING and use.offset == 0:
                waiting.append(node.output())
    return found


def _shown_by(kind: str, place: int, inputs: Sequence[Any]) -> Optional[Guess]:
    if kind == "aten::embedding" and place == 1:
        return Guess(dtype="int64")
    weight = _constant(inputs[1]) if place == 0 and len(inputs) > 1 else None
    if weight is None or not hasattr(weight, "shape"):
        return None
    dtype = str(weight.dtype).rpartition(".")[2]
    if kind in _GROUPS:
        channels = int(weight.shape[1]) * int(_constant(inputs[_GROUPS[kind]]) or 1)
        return Guess((ANY, channels, *[ANY] * (weight.dim() - 2)), dtype)
    if kind in _LAST and weight.dim() > 1:
        return Guess((REST,), dtype, int(weight.shape[_LAST[kind]]))
    return None


def _constant(value: Any) -> Any:
    return value.toIValue()


def _dictionary_keys(script: Any) -> Iterator[str]:
    graph = script.inlined_graph  # its nodes are gone with it
    for node in graph.findAllNodes("aten::__getitem__"):
        dictionary, key = list(node.inputs())[:2]
        if dictionary.type().kind() == "DictType" and isinstance(_constant(key), str):
            yield _constant(key)
