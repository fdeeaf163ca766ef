"""Name the tensors of nested tuples, lists and dictionaries, and put named tensors together again."""

import dataclasses
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

import numpy as np

#: torch's dtypes that numpy lacks -> those that hold their values exactly
_WIDER = {"bfloat16": "float32", "float8_e4m3fn": "float32", "float8_e5m2": "float32"}


def named_leaves(tree: Any, unnamed: str = "OUTPUT__") -> List[Tuple[str, Any]]:
    """List the leaves of a tree with their names, in order; None is not a leaf.

    A leaf in a dictionary is called by the keys and places on its way, joined by dots, from the first key on: ``batch.image``,
    ``boxes.0``. Others, and those whose name is taken, are called ``OUTPUT__`` and their place.
    """
    found: Dict[str, Any] = {}
    for path, leaf in _walk(tree, ()):
        first = next((place for place, key in enumerate(path) if isinstance(key, str)), len(path))
        name = ".".join(map(str, path[first:]))
        found[name if name and name not in found else f"{unnamed}{len(found)}"] = leaf
    return list(found.items())


def _walk(tree: Any, path: Tuple[Any, ...]) -> Iterator[Tuple[Tuple[Any, ...], Any]]:
    if tree is None:
        return
    inner = _inner(tree)
    if inner is None:
        yield path, tree
        return
    for key, value in inner:
        yield from _walk(value, (*path, key))


def _inner(tree: Any) -> Any:
    if isinstance(tree, Mapping):
        return [(str(key), value) for key, value in tree.items()]
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return list(zip(tree._fields, tree))
    if isinstance(tree, (tuple, list)):
        return list(enumerate(tree))
    if dataclasses.is_dataclass(tree) and not isinstance(tree, type):
        return [(each.name, getattr(tree, each.name)) for each in dataclasses.fields(tree)]
    return None


def flat(given: Any) -> Dict[str, np.ndarray]:
    """Return the tensors of a model's answer as arrays, by name; bfloat16 becomes float32, which holds the same numbers."""
    return {name: array_of(leaf) for name, leaf in named_leaves(given)}


def array_of(value: Any) -> np.ndarray:
    """Convert a tensor on any device, or a number, to an array."""
    if not hasattr(value, "detach"):
        return np.asarray(value)
    tensor = value.detach().cpu()
    array: np.ndarray = tensor.float().numpy() if served_dtype(tensor.dtype) != _name(tensor.dtype) else tensor.numpy()
    return array


def served_dtype(dtype: Any) -> str:
    """Return the datatype under which tensors of one of torch's dtypes are served: its own, or float32 for bfloat16."""
    return _WIDER.get(_name(dtype), _name(dtype))


def _name(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]


def nested(tensors: Mapping[str, Any]) -> Dict[str, Any]:
    """Put tensors with dotted names together: ``{"batch.image": t}`` is ``{"batch": {"image": t}}``; keys that count from 0 make a list."""
    tree: Dict[str, Any] = {}
    for name, tensor in tensors.items():
        *way, last = name.split(".")
        place = tree
        for key in way:
            place = place.setdefault(key, {})
        place[last] = tensor
    return {key: _listed(value) for key, value in tree.items()}


def _listed(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {key: _listed(each) for key, each in value.items()}
    return list(inner.values()) if list(inner) == [str(place) for place in range(len(inner))] else inner


def doubled(array: np.ndarray) -> np.ndarray:
    """Return a batch of twice as many items."""
    return np.concatenate([array, array])


def is_batch(arrays: Sequence[np.ndarray]) -> bool:
    """Return True if all arrays may be batches of the same number of items."""
    return bool(arrays) and all(each.ndim > 0 and each.shape[0] == arrays[0].shape[0] > 0 for each in arrays)
