"""Weights (safetensors, or a state dict of ``torch.save``) with the code of their model beside them."""

import inspect
from collections import OrderedDict
from itertools import islice
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional

import numpy as np

from hubserve.engines.base import Signature
from hubserve.engines.package_imports import import_package
from hubserve.engines.pytorch_program import Opening, Program, outputs_of, placed
from hubserve.engines.torch_class import define
from hubserve.engines.torch_signature import Guess, samples
from hubserve.engines.torch_trees import array_of, doubled, is_batch, named_leaves, nested, served_dtype
from hubserve.errors import LoadFailed
from hubserve.types import ANY, REST, TensorSpec

_NAMES_SHOWN = 3
#: keys under which training code puts a model's weights beside other things
_HELD_IN = ("state_dict", "model_state_dict", "model", "module", "net", "weights", "params", "ema")
#: written by DataParallel in front of every name
_WRAPPED = "module."
_TRIES = 9


class Weights(Program):
    """A model whose class is code, and its weights.

    Its inputs and outputs are configured, or follow from ``EXAMPLE_INPUTS`` in its code, or are found by trying where it takes one tensor.
    """

    def __init__(self, opening: Opening) -> None:
        self._torch, self._device = opening.torch, opening.device
        self._definition = define(opening.torch, opening.path, dict(opening.options.tuning))
        model = self._definition.model
        _fill(model, _read(opening), opening.path.name, f"{type(model).__name__} of {self._definition.code.name}")
        self._model = model.eval().to(opening.device)
        self._parameters = _parameters(model)
        self._names: List[str] = []
        self._casts: Dict[str, Any] = {}

    def signature(self, configured: Optional[Signature], run: Callable[[Mapping[str, np.ndarray]], Dict[str, np.ndarray]]) -> Signature:
        """See the base class."""
        examples = self._examples()
        if configured is not None:
            own = list(examples) if examples else self._parameters
            inputs = placed(configured.inputs, own)
            # tensors of other names are the arguments in their order
            called = [each.name if each.name.partition(".")[0] in self._parameters else "" for each in inputs]
            self._names = called if all(called) else own[: len(inputs)]
            self._check_count(inputs)
            return Signature(inputs, placed(configured.outputs, []))
        found = self._from_examples(examples, run) if examples else self._by_trying(run)
        if found is None:
            code = self._definition.code.name
            raise LoadFailed(
                f"nothing says which tensors {type(self._model).__name__} of {code} takes ({', '.join(self._parameters)}). "
                f"Write EXAMPLE_INPUTS = (torch.zeros(1, 3, 224, 224),) into {code}, or set 'inputs' and 'outputs', or input and output in "
                "its config.pbtxt"
            )
        return found

    def _check_count(self, inputs: List[TensorSpec]) -> None:
        if len(self._names) < len(inputs):
            raise LoadFailed(
                f"{type(self._model).__name__} takes {len(self._parameters)} arguments ({', '.join(self._parameters)}), and {len(inputs)} "
                "tensors are configured"
            )

    def _examples(self) -> Dict[str, np.ndarray]:
        """Return the tensors of EXAMPLE_INPUTS by name: a tuple of arguments, a dictionary of them, or a function that gives one."""
        given = self._definition.example_inputs
        if given is None:
            return {}
        given = given() if callable(given) else given
        given = given if isinstance(given, (dict, tuple, list)) else (given,)
        named = dict(given) if isinstance(given, dict) else dict(zip(self._parameters, given))
        leaves = named_leaves(named, "INPUT__")
        self._casts = {
            name: leaf.dtype for name, leaf in leaves if hasattr(leaf, "dtype") and served_dtype(leaf.dtype) != str(leaf.dtype)[6:]
        }
        return {name: array_of(leaf) for name, leaf in leaves}

    def _from_examples(
        self, examples: Dict[str, np.ndarray], run: Callable[[Mapping[str, np.ndarray]], Dict[str, np.ndarray]]
    ) -> Optional[Signature]:
        """Describe what the examples show; the first dimension is open where the model takes twice as many items."""
        self._names = list(examples)
        given = run(examples)
        outputs = outputs_of(given, given)
        more: Optional[Dict[str, np.ndarray]] = None
        if is_batch(list(examples.values())):
            try:
                more = run({name: doubled(each) for name, each in examples.items()})
            except Exception:  # it takes as many items as the examples have
                more = None
        if more is not None and list(more) == list(given) and all(more[name].ndim == each.ndim for name, each in given.items()):
            outputs = outputs_of(given, more)
        batched = bool(outputs) and all(each.shape[:1] == (ANY,) for each in outputs)
        inputs = [TensorSpec(name, str(each.dtype), (ANY, *each.shape[1:]) if batched else each.shape) for name, each in examples.items()]
        return Signature(inputs, outputs if batched else outputs_of(given, given))

    def _by_trying(self, run: Callable[[Mapping[str, np.ndarray]], Dict[str, np.ndarray]]) -> Optional[Signature]:
        """Find the one input that the first layer shows, and the outputs of a batch made up of such."""
        if len(self._parameters) != 1:
            return None
        name = self._parameters[0]
        self._names = [name]
        for guess in _guesses(self._torch, self._model):
            for values in islice(samples([name], {name: guess}), _TRIES):
                try:
                    given = run(values)
                    more = run({name: doubled(values[name])})
                except Exception:  # noqa: S112 - a made-up batch that does not fit: the next one may
                    continue
                outputs = outputs_of(given, more)
                if all(each.shape[:1] == (ANY,) for each in outputs):
                    open_ended = REST in guess.shape
                    shapes = [(REST,) if open_ended else each.shape for each in outputs]
                    return Signature(
                        [TensorSpec(name, guess.dtype, guess.shape)],
                        [each._replace(shape=shape if len(shape) < 3 else (ANY,) * len(shape)) for each, shape in zip(outputs, shapes)],
                    )
        return None

    def call(self, tensors: Dict[str, Any]) -> Any:
        """See the base class."""
        named = {
            name: tensor.to(self._casts[name]) if name in self._casts else tensor for name, tensor in zip(self._names, tensors.values())
        }
        return self._model(**nested(named))


def _parameters(model: Any) -> List[str]:
    """Return the names of the arguments of the model's forward."""
    known = inspect.signature(model.forward).parameters.values()
    return [each.name for each in known if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]


def _guesses(torch: Any, model: Any) -> Iterator[Guess]:
    """Yield what the first layer with weights shows of the input."""
    for layer in model.modules():
        weight = getattr(layer, "weight", None)
        if weight is None or not hasattr(weight, "shape"):
            continue
        dtype = served_dtype(weight.dtype)
        if isinstance(layer, torch.nn.Embedding):
            yield Guess(dtype="int64")
        elif hasattr(layer, "in_channels") and hasattr(layer, "kernel_size"):
            yield Guess((ANY, int(layer.in_channels), *[ANY] * len(layer.kernel_size)), dtype)
        elif hasattr(layer, "in_features"):
            yield Guess((REST,), dtype, int(layer.in_features))
        else:
            continue
        return


def _read(opening: Opening) -> Dict[str, Any]:
    """Read the weights; nothing but tensors is unpickled."""
    if opening.path.suffix.lower() == ".safetensors":
        reader: Any = import_package("safetensors.torch", "reading .safetensors", "Install it with: pip install safetensors")
        return dict(reader.load_file(str(opening.path), device=str(opening.device)))
    held = opening.torch.load(str(opening.path), map_location=opening.device, weights_only=True)
    state = _state_in(opening.torch, held)
    if state is None:
        raise LoadFailed(f"'{opening.path.name}' holds no state dict: write one with torch.save(model.state_dict(), 'model.pt')")
    return state


def _state_in(torch: Any, held: Any) -> Optional[Dict[str, Any]]:
    """Find the dictionary of tensors in what a file holds: itself, or one of its values."""
    if not isinstance(held, dict) or not held:
        return None
    if all(isinstance(each, torch.Tensor) or str(name).endswith("_extra_state") for name, each in held.items()):
        return dict(held)
    inner = {name: _state_in(torch, each) for name, each in held.items() if isinstance(each, (dict, OrderedDict))}
    found = {name: each for name, each in inner.items() if each}
    return next((found[name] for name in _HELD_IN if name in found), next(iter(found.values())) if len(found) == 1 else None)


def _fill(model: Any, state: Dict[str, Any], file: str, what: str) -> None:
    """Load weights into a model.

    Raises:
        LoadFailed: they are not those of this class; with the first names that differ.
    """
    own = model.state_dict()
    if state and all(name.startswith(_WRAPPED) for name in state) and not all(name.startswith(_WRAPPED) for name in own):
        state = {name[len(_WRAPPED) :]: each for name, each in state.items()}
    shaped = [name for name, each in state.items() if name in own and _shape(each) != _shape(own[name])]
    # tensors that are one in the model are saved once
    shared = {own[name].data_ptr() for name in state if name in own and hasattr(own[name], "data_ptr")}
    lacks = [name for name, each in own.items() if name not in state and not (hasattr(each, "data_ptr") and each.data_ptr() in shared)]
    unknown = [name for name in state if name not in own]
    problems = [
        f"{file} lacks {_listed(lacks)}" if lacks else "",
        f"has {_listed(unknown)}, unknown to the class" if unknown else "",
        f"{shaped[0]} is {_shape(state[shaped[0]])} where the class has {_shape(own[shaped[0]])}" if shaped else "",
    ]
    if any(problems):
        raise LoadFailed(
            f"the weights do not fit {what}: {', and '.join(each for each in problems if each)}. Give the class and the arguments "
            "(config.json, MODEL_ARGS) that they were saved from"
        )
    model.load_state_dict(state, strict=False)


def _shape(tensor: Any) -> Any:
    return list(tensor.shape) if hasattr(tensor, "shape") else None


def _listed(names: List[str]) -> str:
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else "")
