"""Fields of a Triton model's configuration that change how fast or where a model computes, or what is counted, but no answer.

Where such a field has no effect here, it keeps no model from being served: the log names it.
"""

from typing import Dict, Sequence, Tuple

from hubserve.kinds.triton.config import ENSEMBLE

_FILES = ("onnxruntime", "openvino", "paddle", "pytorch")
_ALL = (*_FILES, "python", ENSEMBLE)
_FASTER = "changes how fast a model computes, not its answers"
_INSTANCES = "changes where and when instances compute, not their answers"
_NO_INSTANCES = "an ensemble has no instances of its own; give it to the models of its steps"

#: field, with all that is in it -> the backends with which it is passed over where it is not supported, and why it changes no answer
HARMLESS: Dict[str, Tuple[Sequence[str], str]] = {
    "optimization": (_ALL, _FASTER),
    "instance_group": (_ALL, _INSTANCES),
    "cc_model_filenames": (_ALL, "the usual file is used on every device"),
    "metric_tags": (_ALL, "changes metrics, not answers"),
    "model_metrics": (_ALL, "changes metrics, not answers"),
    "input.is_non_linear_format_io": (_ALL, "is about TensorRT models only"),
    "output.is_non_linear_format_io": (_ALL, "is about TensorRT models only"),
    "input.optional": (_FILES, "requests must give every input of this model"),
    "sequence_batching.oldest.preserve_ordering": (_ALL, "answers of a sequence keep their order anyway"),
    "sequence_batching.state.use_same_buffer_for_input_output": (_ALL, "changes where states are kept, not what they are"),
    "sequence_batching.state.use_growable_memory": (_ALL, "changes where states are kept, not what they are"),
    "ensemble_scheduling.max_inflight_requests": (_ALL, "changes how many responses wait between steps, not answers"),
    "parameters": ((ENSEMBLE,), "nothing reads the parameters of an ensemble"),
    "default_model_filename": ((ENSEMBLE,), "an ensemble has no file"),
    "model_warmup": ((ENSEMBLE,), _NO_INSTANCES),
    "response_cache": ((ENSEMBLE,), "an ensemble's answers are not cached; give it to the models of its steps"),
}


def why_harmless(field: str, backend: str) -> str:
    """Return why a field may be passed over with a backend; "" if answers could differ without it."""
    for harmless, (backends, why) in HARMLESS.items():
        if backend in backends and (field == harmless or field.startswith(harmless + ".")):
            return why
    return ""
