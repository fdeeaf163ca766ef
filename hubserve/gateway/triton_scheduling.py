"""Plan how the requests of a Triton model are queued, merged and put into sequences."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hubserve.errors import ConfigError, LoadFailed
from hubserve.gateway.scheduling import queue_policy
from hubserve.gateway.scheduling import sequence_plan as sequences
from hubserve.gateway.scheduling.batcher import BatchSettings
from hubserve.gateway.scheduling.queue_policy import QueuePolicies, QueuePolicy
from hubserve.gateway.scheduling.sequence_plan import Control, SequencePlan, State
from hubserve.kinds.triton.config import DTYPES
from hubserve.kinds.triton.model_folder import TritonModel
from hubserve.settings import ModuleSettings, ServerSettings

_US_PER_S = 1e6
#: default of the longest idle time of a sequence
_MAX_IDLE_US = 1_000_000
_CONTROLS = {
    "CONTROL_SEQUENCE_START": sequences.START,
    "CONTROL_SEQUENCE_READY": sequences.READY,
    "CONTROL_SEQUENCE_END": sequences.END,
    "CONTROL_SEQUENCE_CORRID": sequences.CORRELATION_ID,
}
_FLAGS = {"int32_false_true": "int32", "fp32_false_true": "float32", "bool_false_true": "bool"}


def own_policies(own: ModuleSettings) -> QueuePolicies:
    """Return the queue policies of a module's own settings."""
    default = own.default_priority_level or (own.priority_levels + 1) // 2
    return QueuePolicies(own.priority_levels, default, QueuePolicy(timeout_s=own.max_queue_wait_ms / 1e3))


def batch_settings(model: TritonModel, own: ModuleSettings, settings: ServerSettings) -> BatchSettings:
    """Return how requests are queued and merged.

    Requests to a model of files are always merged, because it cannot see that. A ``model.py`` sees how many came together, and gets
    several only if its configuration has ``dynamic_batching``: then all that wait, as its author expects.

    Raises:
        ConfigError: a priority has no level.
    """
    dynamic = model.config.get("dynamic_batching")
    given: Mapping[str, Any] = dynamic or {}
    return BatchSettings(
        max_queue_size=own.max_queue_size or settings.max_queue_size,
        preferred_sizes=sorted(own.preferred_batch_sizes or given.get("preferred_batch_size", [])),
        max_delay_s=own.max_queue_delay_ms / 1e3 or given.get("max_queue_delay_microseconds", 0) / _US_PER_S,
        merge=model.backend != "python" or dynamic is not None or bool(model.config.get("sequence_batching", {}).get("iterative_sequence")),
        greedy=model.backend == "python",
        policies=own_policies(own) if own.priority_levels or own.max_queue_wait_ms else _policies(model.name, given),
        preserve_ordering=own.preserve_ordering or bool(given.get("preserve_ordering")),
    )


def _policies(name: str, given: Mapping[str, Any]) -> QueuePolicies:
    levels, default = given.get("priority_levels", 0), given.get("default_priority_level", 0)
    by_level = {int(level): _policy(policy) for level, policy in given.get("priority_queue_policy", {}).items()}
    wrong = [level for level in by_level if not 1 <= level <= levels]
    if (levels and not 1 <= default <= levels) or (not levels and default):
        raise ConfigError(
            f"model '{name}': dynamic_batching.default_priority_level must be from 1 to priority_levels, {levels}, got {default}"
        )
    if wrong:
        raise ConfigError(
            f"model '{name}': dynamic_batching.priority_queue_policy is given for level {wrong[0]}; priority_levels is {levels}"
        )
    return QueuePolicies(levels, default, _policy(given.get("default_queue_policy", {})), by_level)


def _policy(given: Mapping[str, Any]) -> QueuePolicy:
    return QueuePolicy(
        max_queue_size=given.get("max_queue_size", 0),
        timeout_s=given.get("default_timeout_microseconds", 0) / _US_PER_S,
        timeout_action=queue_policy.DELAY if given.get("timeout_action") == "DELAY" else queue_policy.REJECT,
        allow_timeout_override=bool(given.get("allow_timeout_override")),
    )


def sequence_plan(model: TritonModel) -> SequencePlan | None:
    """Return how requests form sequences; None for a model without sequences.

    Raises:
        ConfigError: a control or a state is incomplete, or both a state and ``iterative_sequence`` are configured.
        LoadFailed: the file of an initial state cannot be read.
    """
    given = model.config.get("sequence_batching")
    if given is None:
        return None
    if given.get("iterative_sequence") and given.get("state"):
        raise ConfigError(
            f"model '{model.name}': sequence_batching.state cannot be combined with iterative_sequence, whose model is given the same "
            "request again. Have the model keep its state itself, by the correlation id, or remove one of the two."
        )
    direct, oldest = given.get("direct", {}), given.get("oldest", {})
    chosen = oldest if "oldest" in given else direct
    return SequencePlan(
        strategy=sequences.OLDEST if "oldest" in given else sequences.DIRECT,
        max_idle_s=(given.get("max_sequence_idle_microseconds") or _MAX_IDLE_US) / _US_PER_S,
        slots=oldest.get("max_candidate_sequences", 0),
        preferred_sizes=sorted(oldest.get("preferred_batch_size", [])),
        max_delay_s=chosen.get("max_queue_delay_microseconds", 0) / _US_PER_S,
        min_utilization=direct.get("minimum_slot_utilization", 0.0),
        iterative=bool(given.get("iterative_sequence")),
        controls=[
            _control(model.name, entry["name"], each) for entry in given.get("control_input", []) for each in entry.get("control", [])
        ],
        states=[_state(model, each) for each in given.get("state", [])],
    )


def _control(model: str, name: str, control: Mapping[str, Any]) -> Control:
    kind = _CONTROLS[control.get("kind", "CONTROL_SEQUENCE_START")]
    if kind == sequences.CORRELATION_ID:
        dtype = DTYPES.get(control.get("data_type", ""))
        if dtype not in ("uint64", "int64", "uint32", "int32", "bytes"):
            raise ConfigError(
                f"model '{model}': the control input '{name}' holds correlation ids, so its data_type must be TYPE_UINT64, TYPE_INT64, "
                f"TYPE_UINT32, TYPE_INT32 or TYPE_STRING, got {control.get('data_type')}"
            )
        return Control(name, kind, dtype)
    for key, dtype in _FLAGS.items():
        values = control.get(key, [])
        if len(values) == 2:
            return Control(name, kind, dtype, values[0], values[1])
    raise ConfigError(
        f"model '{model}': the control input '{name}' needs int32_false_true, fp32_false_true or bool_false_true with two values"
    )


def _state(model: TritonModel, state: Mapping[str, Any]) -> State:
    where = f"model '{model.name}': sequence_batching.state '{state.get('input_name', '')}'"
    dtype = DTYPES.get(state.get("data_type", ""))
    if dtype is None or not state.get("input_name") or not state.get("output_name"):
        raise ConfigError(f"{where} needs input_name, output_name and data_type")
    initial = state.get("initial_state", [])
    if len(initial) > 1:
        raise ConfigError(f"{where} has {len(initial)} initial states; give one")
    return State(state["input_name"], state["output_name"], dtype, tuple(state.get("dims", [])), _initial(model, where, initial))


def _initial(model: TritonModel, where: str, initial: Any) -> bytes | None:
    name = initial[0].get("data_file", "") if initial else ""
    if not name:
        return None
    path = model.folder / "initial_state" / name
    if Path(name).is_absolute() or ".." in Path(name).parts:
        raise ConfigError(f"{where}: data_file '{name}' must be a path inside '{path.parent}'")
    try:
        return path.read_bytes()
    except OSError as error:
        raise LoadFailed(f"{where}: the initial state '{path}' cannot be read: {error.strerror}") from None


def warm_up_samples(model: TritonModel) -> list[dict[str, Any]] | None:
    """Return the warm-up samples of an instance, as :mod:`hubserve.instance.warmup` takes them; None if none are configured.

    Raises:
        ConfigError: an input has no data, or an unknown datatype.
    """
    samples = model.config["model_warmup"]
    return [_sample(model.name, each) for each in samples] or None


def _sample(model: str, sample: Mapping[str, Any]) -> dict[str, Any]:
    inputs = {}
    for name, given in sample.get("inputs", {}).items():
        where = f"model '{model}': model_warmup '{sample.get('name', '')}', input '{name}'"
        dtype = DTYPES.get(given.get("data_type", ""))
        data = (
            "file" if given.get("input_data_file") else "random" if given.get("random_data") else "zeros" if given.get("zero_data") else ""
        )
        if dtype is None or not data:
            raise ConfigError(f"{where} needs data_type, and zero_data, random_data or input_data_file")
        if math.prod(given.get("dims", [])) < 0:
            raise ConfigError(f"{where}: dims must be from 1 up, got {given['dims']}")
        inputs[name] = {"dtype": dtype, "shape": given.get("dims", []), "data": data, "file": given.get("input_data_file", "")}
    return {
        "name": sample.get("name", ""),
        "batch_size": sample.get("batch_size") or 1,
        "count": sample.get("count") or 1,
        "inputs": inputs,
    }
