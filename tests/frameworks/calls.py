"""The same tensors over each protocol, and the answers as arrays by name."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tritonclient.grpc as grpc
import tritonclient.http as http
from tritonclient.utils import np_to_triton_dtype

from hubserve.module import encode_array
from tests.conftest import Server

Arrays = Mapping[str, np.ndarray]


def over_json(server: Server, model: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """PaddleHub's protocol, numbers as lists."""
    results = server.results(model, inputs={name: array.tolist() for name, array in arrays.items()})
    return {name: np.asarray(values) for name, values in results["outputs"].items()}


def over_http(server: Server, model: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """The Open Inference Protocol over HTTP, binary, by Triton's own client."""
    with http.InferenceServerClient(f"127.0.0.1:{server.port}", network_timeout=120, connection_timeout=120) as client:
        return _infer(http, client, model, arrays)


def over_grpc(server: Server, model: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """The same over gRPC."""
    with grpc.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        return _infer(grpc, client, model, arrays)


def _infer(library: Any, client: Any, model: str, arrays: Arrays) -> dict[str, np.ndarray]:
    inputs = []
    for name, array in arrays.items():
        sent = library.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        sent.set_data_from_numpy(array)
        inputs.append(sent)
    result = client.infer(model, inputs)
    outputs = result.get_response(as_json=True)["outputs"] if library is grpc else result.get_response()["outputs"]
    return {each["name"]: result.as_numpy(each["name"]) for each in outputs}


def classes_over_json(server: Server, model: str, arrays: Arrays) -> list[list[int]]:
    """A classifier's best classes by PaddleHub's protocol, as PaddleClas's client asks."""
    images, about = encode_array(arrays["x"])
    results = server.results(model, images=images, revert_params=about)
    return [each["class_ids"] for each in results["prediction"]]


#: of tensors
PROTOCOLS: Mapping[str, Callable[[Server, str, Arrays], dict[str, np.ndarray]]] = {
    "PaddleHub JSON": over_json,
    "v2 over HTTP": over_http,
    "v2 over gRPC": over_grpc,
}
