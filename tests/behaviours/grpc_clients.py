"""What tests of gRPC share: a server with a gRPC port, tensors, and raw calls that the published stubs cannot make."""

import queue
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import tritonclient.grpc as triton

from tests.conftest import Server, Start, free_port, toy

SERVICE = "/inference.GRPCInferenceService/"


def start_with_grpc(start: Start, *names: str, **settings: Any) -> tuple[Server, str]:
    """A server of some toy modules with one instance each, and the address of its gRPC port."""
    port = free_port()
    modules = {Path(name).name: {**toy(name), "workers": 1} for name in names}
    return start({**modules, **settings.pop("modules", {})}, grpc_port=port, **settings), f"127.0.0.1:{port}"


def tensor(name: str, array: np.ndarray, datatype: str = "FP32") -> triton.InferInput:
    sent = triton.InferInput(name, list(array.shape), datatype)
    sent.set_data_from_numpy(array)
    return sent


def texts(*elements: bytes) -> np.ndarray:
    return np.array([*elements, None], object)[:-1]


def raw_call(address: str, method: str, data: bytes, timeout_s: float = 30) -> tuple[grpc.StatusCode, str]:
    """Send any bytes as a message; gives the status of the answer and its text."""
    with grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(SERVICE + method)
        try:
            call(data, timeout=timeout_s)
        except grpc.RpcError as error:
            return error.code(), error.details()
    return grpc.StatusCode.OK, ""


class Answers:
    """Takes what a stream gives."""

    def __init__(self) -> None:
        self._queue: queue.Queue[Any] = queue.Queue()

    def __call__(self, result: Any, error: Any) -> None:
        self._queue.put(error or result)

    def next(self, timeout_s: float = 30) -> Any:
        return self._queue.get(timeout=timeout_s)


def final(result: Any) -> bool:
    return bool(result.get_response().parameters["triton_final_response"].bool_param)


def write_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key."""
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    return cert_file, key_file
