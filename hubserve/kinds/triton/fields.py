"""The supported fields of a Triton model's configuration, and the checks of their values.

A field that is set and is not in :data:`SUPPORTED` is refused by its name if answers could differ without it. Fields that change only
speed, place of computation or metrics are in :data:`HARMLESS`: they have no effect, and the log names them.
"""

from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Sequence, Tuple

from hubserve.engines.gpu_packages import ignores_gpu
from hubserve.engines.model_formats import FORMATS
from hubserve.engines.table import AUTO, engine_class
from hubserve.engines.tuning import PARAMETERS, is_known
from hubserve.errors import ConfigError
from hubserve.kinds.triton.config import DTYPES, ENSEMBLE, engine_of
from hubserve.kinds.triton.reshape import why_impossible

FILES = tuple(FORMATS)
#: the most instances of one model; each is a process
MOST_INSTANCES = 256
_PYTHON = ("python",)
_TEXTS = (*(name for name, each in FORMATS.items() if each.texts), *_PYTHON)
_BFLOAT16 = (*(name for name, each in FORMATS.items() if each.bfloat16), *_PYTHON)
_MODELS = (*FILES, *_PYTHON)
_ALL = (*_MODELS, ENSEMBLE)

#: field, with dots between nested messages -> the backends that support it
SUPPORTED: Dict[str, Sequence[str]] = {
    "name": _ALL,
    "platform": _ALL,
    "backend": _ALL,
    "version_policy.latest.num_versions": _ALL,
    "version_policy.all": _ALL,
    "version_policy.specific.versions": _ALL,
    "max_batch_size": _ALL,
    "input.name": _ALL,
    "input.data_type": _ALL,
    "input.format": _ALL,  # documents the meaning of the dims; nothing depends on it
    "input.dims": _ALL,
    "input.reshape": _MODELS,
    "input.allow_ragged_batch": (*_PYTHON, ENSEMBLE),
    "input.optional": (*_PYTHON, ENSEMBLE),
    "output.name": _ALL,
    "output.data_type": _ALL,
    "output.dims": _ALL,
    "output.reshape": _MODELS,
    "output.label_filename": _ALL,
    "instance_group.name": _MODELS,
    "instance_group.kind": _MODELS,
    "instance_group.count": _MODELS,
    "instance_group.gpus": _MODELS,
    "default_model_filename": _MODELS,
    "parameters": _MODELS,  # for files, those that hubserve.engines.tuning lists
    "optimization.graph.level": ("onnxruntime",),
    "optimization.execution_accelerators.cpu_execution_accelerator": ("paddle", "onnxruntime"),
    "optimization.execution_accelerators.gpu_execution_accelerator": ("paddle", "onnxruntime"),
    "dynamic_batching.preferred_batch_size": _MODELS,
    "dynamic_batching.max_queue_delay_microseconds": _MODELS,
    "dynamic_batching.preserve_ordering": _MODELS,
    "dynamic_batching.priority_levels": _MODELS,
    "dynamic_batching.default_priority_level": _MODELS,
    "dynamic_batching.default_queue_policy": _MODELS,
    "dynamic_batching.priority_queue_policy": _MODELS,
    "sequence_batching.direct.max_queue_delay_microseconds": _MODELS,
    "sequence_batching.direct.minimum_slot_utilization": _MODELS,
    "sequence_batching.oldest.max_candidate_sequences": _MODELS,
    "sequence_batching.oldest.preferred_batch_size": _MODELS,
    "sequence_batching.oldest.max_queue_delay_microseconds": _MODELS,
    "sequence_batching.iterative_sequence": _PYTHON,
    "sequence_batching.max_sequence_idle_microseconds": _MODELS,
    "sequence_batching.control_input": _MODELS,
    "sequence_batching.state.input_name": _MODELS,
    "sequence_batching.state.output_name": _MODELS,
    "sequence_batching.state.data_type": _MODELS,
    "sequence_batching.state.dims": _MODELS,
    "sequence_batching.state.initial_state": _MODELS,
    "model_warmup": _MODELS,
    "model_transaction_policy.decoupled": (*_PYTHON, ENSEMBLE),
    "response_cache.enable": _MODELS,
    "model_metrics.metric_control.metric_identifier.family": (*_PYTHON, ENSEMBLE),
    "model_metrics.metric_control.histogram_options.buckets": (*_PYTHON, ENSEMBLE),
    "ensemble_scheduling.step.model_name": (ENSEMBLE,),
    "ensemble_scheduling.step.model_version": (ENSEMBLE,),
    "ensemble_scheduling.step.input_map": (ENSEMBLE,),
    "ensemble_scheduling.step.output_map": (ENSEMBLE,),
}

_FASTER = "changes how fast a model computes, not its answers"
_INSTANCES = "changes where and when instances compute, not their answers"
_NO_INSTANCES = "an ensemble has no instances of its own; give it to the models of its steps"

#: field, with all of its parts -> the backends that ignore it where it is not supported, and why it changes no answer
HARMLESS: Dict[str, Tuple[Sequence[str], str]] = {
    "optimization": (_ALL, _FASTER),
    "instance_group": (_ALL, _INSTANCES),
    "cc_model_filenames": (_ALL, "the usual file is used on every device"),
    "metric_tags": (_ALL, "changes metrics, not answers"),
    "model_metrics": (FILES, "is about the metrics of decoupled models"),
    "input.is_non_linear_format_io": (_ALL, "is about TensorRT models only"),
    "output.is_non_linear_format_io": (_ALL, "is about TensorRT models only"),
    "input.optional": (FILES, "requests must give every input of this model"),
    "sequence_batching.oldest.preserve_ordering": (_ALL, "answers of a sequence keep their order anyway"),
    "sequence_batching.state.use_same_buffer_for_input_output": (_ALL, "changes where states are kept, not what they are"),
    "sequence_batching.state.use_growable_memory": (_ALL, "changes where states are kept, not what they are"),
    "runtime": (("pytorch",), "the files say which form of model it is"),
    "ensemble_scheduling.max_inflight_requests": (_ALL, "changes how many responses wait between steps, not answers"),
    "parameters": ((ENSEMBLE,), "nothing reads the parameters of an ensemble"),
    "default_model_filename": ((ENSEMBLE,), "an ensemble has no file"),
    "model_warmup": ((ENSEMBLE,), _NO_INSTANCES),
    "response_cache": ((ENSEMBLE,), "an ensemble's answers are not cached; give it to the models of its steps"),
}

#: the parameter that chooses another engine for a file
_ENGINE = "engine"

#: values of fields that are not set
_NOTHING = ("", 0, False, None, "KIND_AUTO", "FORMAT_NONE", "PRIORITY_DEFAULT", "TYPE_INVALID")


def check_config(config: Mapping[str, Any], backend: str) -> None:
    """Refuse a configuration that is not supported.

    Args:
        config: as :mod:`hubserve.kinds.triton.config` reads it.
        backend: the model's.
    Raises:
        ConfigError: the message names every refused field, or the wrong value.
    """
    name = config["name"]
    refused = [(place, _why_not(field, backend)) for place, field in _unsupported(config, backend) if not _why_harmless(field, backend)]
    if refused:
        listed = "; ".join(f"{place} ({why})" for place, why in refused)
        raise ConfigError(f"model '{name}': its configuration has unsupported fields: {listed}. Remove them.")
    for side in ("input", "output"):
        for number, tensor in enumerate(config.get(side, [])):
            _check_tensor(name, backend, f"{side}[{number}]", tensor)
        names = [tensor["name"] for tensor in config.get(side, [])]
        twice = next((each for each in names if names.count(each) > 1), None)
        if twice is not None:
            raise ConfigError(f"model '{name}': {side} '{twice}' is there twice. Remove one of them.")
    _check_sizes(config)
    for number, group in enumerate(config.get("instance_group", [])):
        _check_group(name, backend, f"instance_group[{number}]", group)


def ignored_fields(config: Mapping[str, Any], backend: str) -> List[str]:
    """Return the fields that a configuration sets without effect, each with the reason why it changes no answer.

    Args:
        config: one that :func:`check_config` accepts.
        backend: the model's.
    """
    ignored = [f"{place} ({_why_harmless(field, backend)})" for place, field in _unsupported(config, backend)]
    if backend in FILES:
        known = ", ".join((*PARAMETERS.get(backend, {}), _ENGINE))
        unknown = [key for key in config.get("parameters", {}) if key != _ENGINE and not is_known(backend, key)]
        ignored += [f"parameters.{key} ({backend} models take {known})" for key in unknown]
    why = why_on_cpu(config, backend)
    for number, group in enumerate(config.get("instance_group", []) if why else []):
        if asks_for_gpu(group):
            ignored.append(f"instance_group[{number}] asks for a GPU ({why})")
    return ignored


def asks_for_gpu(group: Mapping[str, Any]) -> bool:
    """Return True for an instance group that names GPUs or their kind."""
    return group.get("kind") == "KIND_GPU" or bool(group.get("gpus"))


def why_on_cpu(config: Mapping[str, Any], backend: str) -> str:
    """Return why the instances of a model compute on the CPU even if a GPU is asked for; "" if they do what is asked for."""
    if backend not in FORMATS:
        return ""
    named = engine_of(config, backend, use_gpu=True)
    engine = FORMATS[backend].engine if named in (AUTO, backend) else named
    return "" if engine == AUTO else ignores_gpu(engine_class(engine))


def _why_harmless(field: str, backend: str) -> str:
    """Return why a backend may ignore a field; "" if answers could differ without it."""
    for harmless, (backends, why) in HARMLESS.items():
        if backend in backends and (field == harmless or field.startswith(harmless + ".")):
            return why
    return ""


def _unsupported(config: Mapping[str, Any], backend: str) -> List[Tuple[str, str]]:
    return [(place, field) for place, field in _set_fields(config) if backend not in _supporting(field)]


def _set_fields(value: Any, place: str = "", field: str = "") -> Iterator[Tuple[str, str]]:
    """Yield the fields that are set: the place of each, with indexes of lists, and its name, without them.

    The parts of a supported field are not listed.
    """
    if field in SUPPORTED or (field and field == "parameters"):
        if value not in _NOTHING and value not in ([], {}):
            yield place, field
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _set_fields(inner, f"{place}.{key}" if place else key, f"{field}.{key}" if field else key)
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        for number, inner in enumerate(value):
            yield from _set_fields(inner, f"{place}[{number}]", field)
    elif value not in _NOTHING and value != []:
        yield place, field


def _supporting(field: str) -> Sequence[str]:
    return SUPPORTED.get(field, ())


def _why_not(field: str, backend: str) -> str:
    able = _supporting(field)
    return f"{backend} models cannot have it, only {' and '.join(able)}" if able else "no backend here has it"


def _check_tensor(name: str, backend: str, place: str, tensor: Mapping[str, Any]) -> None:
    if not tensor.get("name"):
        raise ConfigError(f"model '{name}': {place} has no name. Give it the one that clients use.")
    place = f"model '{name}': {place} ('{tensor['name']}')"
    data_type = tensor.get("data_type", "TYPE_INVALID")
    if data_type not in DTYPES:
        raise ConfigError(f"{place} has data_type {data_type}; give one of {', '.join(DTYPES)}")
    able = {"TYPE_STRING": _TEXTS, "TYPE_BF16": _BFLOAT16}.get(data_type, _MODELS)
    if backend in FILES and backend not in able:
        raise ConfigError(
            f"{place} has data_type {data_type}, which {backend} models cannot have here; only {' and '.join(able)} models can"
        )
    dims = tensor.get("dims", [])
    if not dims and backend != "python":
        raise ConfigError(f"{place} has no dims; a single value has dims: [ 1 ]")
    if any(length == 0 or length < -1 for length in dims):
        raise ConfigError(f"{place}: dims must be -1 or from 1 up, got {dims}")
    if tensor.get("reshape") is not None:
        why = why_impossible(dims, tensor["reshape"].get("shape", []))
        if why:
            raise ConfigError(f"{place}: {why}")
    label_filename = tensor.get("label_filename", "")
    if Path(label_filename).is_absolute() or ".." in Path(label_filename).parts:
        raise ConfigError(f"{place}: label_filename '{label_filename}' must be a path inside the model's folder")


def _check_sizes(config: Mapping[str, Any]) -> None:
    name, most = config["name"], config.get("max_batch_size", 0)
    if most < 0:
        raise ConfigError(f"model '{name}': max_batch_size must be from 0 up, got {most}")
    for size in config.get("dynamic_batching", {}).get("preferred_batch_size", []):
        if not 0 < size <= most:
            raise ConfigError(
                f"model '{name}': dynamic_batching.preferred_batch_size {size} must be from 1 to max_batch_size, which is {most}"
            )
    filename = config.get("default_model_filename", "")
    if filename and Path(filename).name != filename:
        raise ConfigError(f"model '{name}': default_model_filename {filename!r} must be the name of a file in the version's folder")


def _check_group(name: str, backend: str, place: str, group: Mapping[str, Any]) -> None:
    place = f"model '{name}': {place}"
    if not 0 <= group.get("count", 0) <= MOST_INSTANCES:
        raise ConfigError(f"{place}.count must be from 1 to {MOST_INSTANCES}, got {group['count']}")
    kind, gpus = group.get("kind", "KIND_AUTO"), group.get("gpus", [])
    if kind in ("KIND_CPU", "KIND_MODEL") and gpus:
        raise ConfigError(f"{place} names gpus {gpus} and kind {kind}. Remove one of the two.")
    if any(gpu < 0 for gpu in gpus):
        raise ConfigError(f"{place}.gpus must be numbers from 0 up, got {gpus}")
    if kind == "KIND_MODEL" and backend != "python":
        raise ConfigError(f"{place}.kind KIND_MODEL is for python models only. Use KIND_CPU, KIND_GPU or KIND_AUTO.")
