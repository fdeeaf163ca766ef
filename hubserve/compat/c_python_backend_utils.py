"""The compiled part of Triton's interface for Python models; the same objects as in ``triton_python_backend_utils``."""

from hubserve.kinds.triton.api.control import is_model_ready, load_model, unload_model
from hubserve.kinds.triton.api.errors import TritonError, TritonModelException
from hubserve.kinds.triton.api.logger import Logger
from hubserve.kinds.triton.api.memory import TRITONSERVER_MEMORY_CPU, TRITONSERVER_MEMORY_GPU, MemoryType, PreferredMemory
from hubserve.kinds.triton.api.metrics import Metric, MetricFamily, MetricKind
from hubserve.kinds.triton.api.replies import ResponseIterator
from hubserve.kinds.triton.api.requests import InferenceRequest
from hubserve.kinds.triton.api.responses import InferenceResponse, InferenceResponseSender
from hubserve.kinds.triton.api.tensors import Tensor
from hubserve.kinds.triton.api.traces import InferenceTrace

COUNTER, GAUGE, HISTOGRAM = MetricKind

__all__ = [
    "COUNTER",
    "GAUGE",
    "HISTOGRAM",
    "TRITONSERVER_MEMORY_CPU",
    "TRITONSERVER_MEMORY_GPU",
    "InferenceRequest",
    "InferenceResponse",
    "InferenceResponseSender",
    "InferenceTrace",
    "Logger",
    "MemoryType",
    "Metric",
    "MetricFamily",
    "MetricKind",
    "PreferredMemory",
    "ResponseIterator",
    "Tensor",
    "TritonError",
    "TritonModelException",
    "is_model_ready",
    "load_model",
    "unload_model",
]
