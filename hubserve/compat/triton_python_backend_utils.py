"""Names that models of Triton's Python backend import, usually ``as pb_utils``."""

from hubserve.compat import c_python_backend_utils
from hubserve.compat.c_python_backend_utils import *  # noqa: F403 - its __all__ lists the names
from hubserve.kinds.triton.api.config import (
    ModelConfig,
    get_input_config_by_name,
    get_model_dir,
    get_output_config_by_name,
    using_decoupled_model_transaction_policy,
)
from hubserve.kinds.triton.api.datatypes import (
    TRITON_STRING_TO_NUMPY,
    deserialize_bytes_tensor,
    numpy_to_triton_type,
    serialize_byte_tensor,
    triton_string_to_numpy,
    triton_to_numpy_type,
)
from hubserve.kinds.triton.api.errors import TritonModelException
from hubserve.kinds.triton.api.memory import TRITONSERVER_MEMORY_CPU_PINNED
from hubserve.kinds.triton.api.requests import (
    TRITONSERVER_REQUEST_FLAG_SEQUENCE_END,
    TRITONSERVER_REQUEST_FLAG_SEQUENCE_START,
    TRITONSERVER_REQUEST_RELEASE_ALL,
    TRITONSERVER_REQUEST_RELEASE_RESCHEDULE,
    get_input_tensor_by_name,
)
from hubserve.kinds.triton.api.responses import TRITONSERVER_RESPONSE_COMPLETE_FINAL, get_output_tensor_by_name

#: its name in older models
TritonInferenceException = TritonModelException
deserialize_byte_tensor = deserialize_bytes_tensor

__all__ = [
    "TRITONSERVER_MEMORY_CPU_PINNED",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_END",
    "TRITONSERVER_REQUEST_FLAG_SEQUENCE_START",
    "TRITONSERVER_REQUEST_RELEASE_ALL",
    "TRITONSERVER_REQUEST_RELEASE_RESCHEDULE",
    "TRITONSERVER_RESPONSE_COMPLETE_FINAL",
    "TRITON_STRING_TO_NUMPY",
    "ModelConfig",
    "TritonInferenceException",
    "deserialize_byte_tensor",
    "deserialize_bytes_tensor",
    "get_input_config_by_name",
    "get_input_tensor_by_name",
    "get_model_dir",
    "get_output_config_by_name",
    "get_output_tensor_by_name",
    "numpy_to_triton_type",
    "serialize_byte_tensor",
    "triton_string_to_numpy",
    "triton_to_numpy_type",
    "using_decoupled_model_transaction_policy",
]
__all__ += c_python_backend_utils.__all__
