"""Models that Keras saved: ``.keras`` files, and the older ``.h5``."""

import os
import re
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from hubserve.engines.package_imports import import_package
from hubserve.engines.tensorflow_signatures import Arrays, Computation
from hubserve.errors import LoadFailed
from hubserve.types import ANY, BFLOAT16, BYTES, DTYPES, REST, TensorSpec

_INSTALL = "Install it with: pip install 'keras>=3'."
#: Keras's words for a class or function that its own packages lack
_OWN_CODE = re.compile(r"(?:Could not (?:locate|find)|Unknown) (?:class|function|object|layer):? '?([\w.>]+)")


class Keras(Computation):
    """A model that Keras loads without running code from its file."""

    def __init__(self, tensorflow: Any, path: Path) -> None:
        os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's own configuration of Keras says
        keras: Any = import_package("keras", "a .keras model", _INSTALL)
        self._tensorflow, self._keras = tensorflow, keras
        self._model = _load(keras, path)
        given = _structure(keras, self._model, path)
        self._names = _names(keras, given)
        self._given = given
        tensors = dict(zip(self._names, keras.tree.flatten(given)))
        self.inputs = [_spec(tensorflow, name, tensor) for name, tensor in tensors.items()]
        # one trace for batches of all sizes
        signature = [
            tensorflow.TensorSpec(tensor.shape, tensor.dtype, name=f"input_{index}") for index, tensor in enumerate(tensors.values())
        ]
        self._compute = tensorflow.function(self._flat, input_signature=signature).get_concrete_function()
        self._output_names, self.outputs = self._described_outputs()
        self.described = {"keras": keras.__version__}

    def _flat(self, *tensors: Any) -> List[Any]:
        answer = self._model(self._keras.tree.pack_sequence_as(self._given, list(tensors)), training=False)
        self._answer = answer
        return self._keras.tree.flatten(answer)  # type: ignore[no-any-return]  # Keras has no types

    def _described_outputs(self) -> Tuple[List[str], List[TensorSpec]]:
        layers = list(getattr(self._model, "output_names", None) or [self._model.layers[-1].name])
        paths = [path for path, _ in self._keras.tree.flatten_with_path(self._answer)]
        named = [_path_name(path) or (layers[place] if place < len(layers) else "") for place, path in enumerate(paths)]
        names = _distinct(named)
        specs = [_spec(self._tensorflow, name, tensor) for name, tensor in zip(names, self._compute.outputs)]
        del self._answer  # tensors of the trace
        return names, specs

    def run(self, arrays: Arrays) -> Dict[str, Any]:
        """See the base class."""
        given = self._compute(*(self._tensorflow.constant(arrays[name]) for name in self._names))
        return {name: tensor.numpy() for name, tensor in zip(self._output_names, given)}

    def export(self, folder: Path) -> None:
        """Write a SavedModel whose inputs are ``i000``, ``i001`` ..., and its outputs ``o000`` ..., in the order of this model's."""
        tensorflow = self._tensorflow
        places = [f"i{place:03d}" for place in range(len(self.inputs))]
        holder = tensorflow.Module()
        holder.model = self._model
        tensors = [tensorflow.TensorSpec(spec.shape, spec.dtype) for spec in self._compute.structured_input_signature[0]]

        def named(**arrays: Any) -> Dict[str, Any]:
            answers = self._flat(*(arrays[place] for place in places))
            return {f"o{place:03d}": answer for place, answer in enumerate(answers)}

        function = tensorflow.function(named).get_concrete_function(**dict(zip(places, tensors)))
        tensorflow.saved_model.save(holder, str(folder), signatures=function)


def _load(keras: Any, path: Path) -> Any:
    try:
        # safe_mode refuses Python code inside the file
        return keras.saving.load_model(str(path), compile=False, safe_mode=True)
    except Exception as error:
        text = str(error)
        if "lambda" in text.lower() and ("safe_mode" in text or "unsafe_deserialization" in text):
            raise LoadFailed(
                f"'{path.name}' has a Lambda layer, which is Python code inside the file, and is not run. Replace the layer, or export the "
                "model as a SavedModel: model.export(folder)."
            ) from error
        own = _OWN_CODE.search(text)
        if own:
            raise LoadFailed(
                f"'{path.name}' uses '{own.group(1)}', code of its own project, which the file does not contain. Export the model as a "
                "SavedModel, which does: model.export(folder)."
            ) from error
        raise


def _structure(keras: Any, model: Any, path: Path) -> Any:
    """Return the inputs of a model as it takes them: one tensor, or tensors in lists and dictionaries.

    Raises:
        LoadFailed: it was never built, or its inputs cannot be sent.
    """
    sequential = isinstance(model, keras.Sequential)
    try:
        given = model.inputs[0] if sequential else model.input
    except (AttributeError, IndexError, TypeError, ValueError):
        given = None
    if not keras.tree.flatten(given) or any(each is None for each in keras.tree.flatten(given)):
        raise LoadFailed(
            f"'{path.name}' does not say what it takes: the model was saved before it was built, or has no fixed inputs. Begin it with "
            "keras.Input, or export it as a SavedModel: model.export(folder)."
        )
    for tensor in keras.tree.flatten(given):
        if getattr(tensor, "sparse", False) or getattr(tensor, "ragged", False):
            raise LoadFailed(
                f"'{path.name}' takes the input '{tensor.name}' as a sparse or ragged tensor, and only plain ones can be sent."
            )
    return given


def _names(keras: Any, given: Any) -> List[str]:
    """Return the names of inputs: keys of dictionaries, else those of the layers ``keras.Input``."""
    return _distinct([_path_name(path) or tensor.name for path, tensor in keras.tree.flatten_with_path(given)])


def _path_name(path: Sequence[Any]) -> str:
    """Return the keys on the way to a tensor, ``outer.inner``; "" unless all are texts."""
    return ".".join(path) if all(isinstance(key, str) for key in path) else ""


def _distinct(names: Sequence[str]) -> List[str]:
    """Return names with a number behind those that occur again."""
    found: Dict[str, None] = {}
    for place, name in enumerate(names):
        known = name or f"output_{place}"
        found[known if known not in found else f"{known}_{place}"] = None
    return list(found)


def _spec(tensorflow: Any, name: str, tensor: Any) -> TensorSpec:
    dtype = tensorflow.as_dtype(tensor.dtype).name
    dtype = BYTES if dtype == "string" else dtype
    if dtype not in (*DTYPES, BYTES, BFLOAT16):
        raise LoadFailed(f"tensor '{name}' is {dtype}, which cannot be sent")
    shape = tensor.shape
    if getattr(shape, "rank", 0) is None:
        return TensorSpec(name, dtype, (REST,))
    return TensorSpec(name, dtype, tuple(ANY if length is None else int(length) for length in shape))
