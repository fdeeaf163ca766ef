"""Convert models of PyTorch and Keras to OpenVINO's own form, once, and keep the result.

OpenVINO converts a loaded model, so that the framework is imported for it: in a child process, and instances load what it wrote.
"""

import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Sequence

from hubserve.engines.base import EngineOptions, ModelFiles, Signature, options_of, signature_of
from hubserve.engines.failures import reason
from hubserve.engines.file_cache import converted_once, put_in_place
from hubserve.engines.keras_files import KERAS_ENDINGS
from hubserve.engines.model_files import digest
from hubserve.engines.package_imports import import_package
from hubserve.engines.package_versions import package_version, version_of
from hubserve.engines.subprocess_call import ChildFailed, call_in_child
from hubserve.engines.synthetic_batch import make_sample
from hubserve.engines.table import engine_class
from hubserve.engines.torch_files import look_at
from hubserve.errors import HubError, LoadFailed, MissingDependency
from hubserve.paths import cache_dir
from hubserve.types import ANY, BFLOAT16, BYTES, REST, TensorSpec

#: endings of PyTorch's files that OpenVINO converts; packages of AOTInductor are among them, and are refused
TORCH_ENDINGS = (".pt", ".pts", ".pth", ".torchscript", ".pt2")
#: where an .xml file keeps the tensors, as the framework has them
_NOTE = ["hubserve", "tensors"]
_TIMEOUT_S = 600.0


def converts(graph: Path) -> bool:
    """Return True for a file that OpenVINO reads after a conversion only, judged by its name."""
    return graph.suffix.lower() in (*TORCH_ENDINGS, *KERAS_ENDINGS)


def ir_of(files: ModelFiles, options: EngineOptions, again: bool = False) -> Path:
    """Return OpenVINO's form of a model; convert it unless that was done before.

    Args:
        files: a model for which :func:`converts` is true.
        options: its ``signature`` describes a TorchScript file.
        again: convert even if there is a conversion, because it turned out to be damaged.
    Raises:
        MissingDependency: there is no kept conversion, and the framework is not installed here.
        LoadFailed: the model cannot be converted, or the cache cannot be written.
    """
    engine = _framework(files.graph)
    if engine == "pytorch" and look_at(files.graph).form not in ("script", "export"):
        raise LoadFailed(f"OpenVINO does not convert '{files.graph.name}', which is neither TorchScript nor an exported program")
    versions = [version_of("openvino"), package_version(engine_class(engine).package)]
    named = digest(files, *versions, json.dumps(options.signature), json.dumps(options.tuning))
    converted = cache_dir() / "openvino" / f"{named}.xml"
    return converted_once(converted, files.graph, partial(_convert, engine, files, options, converted), again)


def _framework(graph: Path) -> str:
    return "tensorflow" if graph.suffix.lower() in KERAS_ENDINGS else "pytorch"


def _convert(engine: str, files: ModelFiles, options: EngineOptions, converted: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="converting-", dir=str(converted.parent)) as folder:
        draft = Path(folder) / "model.xml"
        arguments = [engine, str(files.graph), list(options), str(draft)]
        try:
            call_in_child(f"{__name__}:convert_here", arguments, _TIMEOUT_S)
        except ChildFailed as error:
            error.args = (_explained(engine, files, error),)
            raise
        except MissingDependency:
            raise
        except LoadFailed as error:
            raise LoadFailed(_explained(engine, files, error), error.detail) from error
        put_in_place(draft.with_suffix(".bin"), converted.with_suffix(".bin"))
        put_in_place(draft, converted)


def _explained(engine: str, files: ModelFiles, error: HubError) -> str:
    return f"cannot convert {files.graph.name} to OpenVINO's form: {error.message.rstrip('.')}. Use engine '{engine}' for this model"


def convert_here(engine: str, graph: str, options: List[Any], output: str) -> None:
    """Convert in this process; :func:`ir_of` calls it in a child.

    Raises:
        HubError: a package is missing, or the model cannot be loaded or converted.
    """
    openvino: Any = import_package("openvino", "converting a model to OpenVINO's form", "Install it with: pip install openvino")
    files = ModelFiles(Path(graph), None)
    loaded = engine_class(engine)(files, options_of(options))
    for spec in (*loaded.inputs, *loaded.outputs):
        if spec.dtype in (BYTES, BFLOAT16):
            raise LoadFailed(f"it has {'texts' if spec.dtype == BYTES else 'bfloat16 tensors'} ('{spec.name}')")
    unknown = [spec.name for spec in loaded.inputs if REST in spec.shape]
    if unknown:
        raise LoadFailed(f"it does not say how many dimensions '{unknown[0]}' has: say it with inputs and outputs")
    signature = Signature(list(loaded.inputs), list(loaded.outputs))
    try:
        model = _from_keras(openvino, loaded, output) if engine == "tensorflow" else _from_torch(openvino, files.graph, signature)
        _fix_shapes(openvino, model, signature.inputs)
        ports = len(model.inputs), len(model.outputs)
        if ports != (len(signature.inputs), len(signature.outputs)):
            raise LoadFailed(f"OpenVINO has {ports[0]} inputs and {ports[1]} outputs of it, which are not those of {engine}")
        model.set_rt_info(json.dumps(signature), _NOTE)
        openvino.save_model(model, output, compress_to_fp16=False)
    except HubError:
        raise
    except Exception as error:
        raise LoadFailed(reason(error), detail=str(error)) from error


def signature_in(model: Any) -> Signature:
    """Return the tensors that a converted model was noted to have.

    Raises:
        LoadFailed: there is no such note.
    """
    try:
        found = signature_of(json.loads(model.get_rt_info(_NOTE).astype(str)))
    except (RuntimeError, ValueError, TypeError) as error:
        raise LoadFailed(f"the converted model is damaged: {error}") from error
    if found is None:
        raise LoadFailed("the converted model is damaged: it does not say what it takes")
    return found


def _from_torch(openvino: Any, graph: Path, signature: Signature) -> Any:
    torch: Any = import_package("torch", "converting a PyTorch model", "Install it with: pip install torch")
    if look_at(graph).form == "export":
        return openvino.convert_model(torch.export.load(str(graph)))
    script = torch.jit.load(str(graph), map_location="cpu").eval()
    tensors = {name: torch.from_numpy(array) for name, array in make_sample(signature.inputs).items()}
    from hubserve.engines.torch_signature import takes_dictionary

    return openvino.convert_model(script, example_input=(tensors,) if takes_dictionary(script) else tuple(tensors.values()))


def _from_keras(openvino: Any, loaded: Any, output: str) -> Any:
    folder = Path(output).with_name("saved_model")
    loaded.export(folder)
    model = openvino.Core().read_model(str(folder))
    # the ports of a SavedModel are not in order, and are named by their places
    ports = [sorted(getattr(model, side), key=lambda port: sorted(port.get_names())) for side in ("inputs", "outputs")]
    results = [port.get_node() for port in ports[1]]
    return openvino.Model(results, [port.get_node() for port in ports[0]])


def _fix_shapes(openvino: Any, model: Any, specs: Sequence[TensorSpec]) -> None:
    """Give the model the lengths that the framework knows; tracing leaves all of them open."""
    shapes: Dict[Any, Any] = {}
    for port, spec in zip(model.inputs, specs):
        shapes[port] = openvino.PartialShape([-1 if length == ANY else length for length in spec.shape])
    model.reshape(shapes)
