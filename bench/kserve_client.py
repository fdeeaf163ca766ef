"""Ask a server with the real clients of KServe's SDK, over REST and gRPC, and say whether each call gets what it should.

    python -m venv /tmp/kserve && /tmp/kserve/bin/pip install kserve
    python bench/kserve_client.py --client-python /tmp/kserve/bin/python

The SDK runs in a Python of its own, because it pins many packages. Ends with 1 if a call fails.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

_VALUES = list(range(8))


def main() -> int:
    """Start a server, run the clients, and return the exit status."""
    parser = argparse.ArgumentParser(description="KServe's own clients against this server")
    parser.add_argument("--client-python", required=True, help="a Python that has the package kserve")
    parser.add_argument("--asking", nargs=2, metavar=("HTTP_PORT", "GRPC_PORT"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.asking:
        return asyncio.run(_ask(*args.asking))
    from stress.server import free_port, running_server

    from tests.conftest import toy

    with tempfile.TemporaryDirectory() as name:
        port = free_port()
        with running_server({"doubler": {**toy("doubler"), "workers": 1}}, folder=Path(name), grpc_port=port) as server:
            command = [args.client_python, __file__, "--client-python", args.client_python, "--asking", str(server.port), str(port)]
            return subprocess.run(command, check=False).returncode


async def _ask(http_port: str, grpc_port: str) -> int:
    """Run in the SDK's Python."""
    from kserve import InferenceGRPCClient, InferenceRESTClient, RESTConfig

    failures = 0

    async def expect(what: str, call: Any, wanted: Any) -> None:
        nonlocal failures
        try:
            got = await call
        except Exception as error:
            got = error
        passed = got == wanted if not isinstance(wanted, str) else wanted in str(got)
        failures += not passed
        print(f"{'pass' if passed else 'FAIL'}  {what}" + ("" if passed else f": {got!r}, not {wanted!r}"))

    base = f"http://127.0.0.1:{http_port}"
    async with InferenceRESTClient(RESTConfig(protocol="v2")) as rest:
        await expect("REST is_server_live", rest.is_server_live(base), True)
        await expect("REST is_server_ready", rest.is_server_ready(base), True)
        await expect("REST is_model_ready", rest.is_model_ready(base, "doubler"), True)
        await expect("REST is_model_ready of what is not there", rest.is_model_ready(base, "missing"), False)
        for binary in (True, False):
            call = _doubled(rest.infer(base, _request(binary=binary), model_name="doubler"))
            await expect(f"REST infer, {'binary' if binary else 'JSON'}", call, [2 * each for each in _VALUES])
        await expect("REST infer without inputs", rest.infer(base, {"inputs": []}, model_name="doubler"), "400 Bad Request")
    async with InferenceGRPCClient(f"127.0.0.1:{grpc_port}") as client:
        await expect("gRPC is_server_live", client.is_server_live(), True)
        await expect("gRPC is_server_ready", client.is_server_ready(), True)
        await expect("gRPC is_model_ready", client.is_model_ready("doubler"), True)
        await expect("gRPC is_model_ready of what is not there", client.is_model_ready("missing"), False)
        await expect("gRPC infer", _doubled(client.infer(_request())), [2 * each for each in _VALUES])
    return 1 if failures else 0


def _request(*, binary: bool = True) -> Any:
    import numpy as np
    from kserve import InferInput, InferRequest

    given = InferInput("x", [2, 4], "FP32")
    given.set_data_from_numpy(np.array(_VALUES, np.float32).reshape(2, 4), binary_data=binary)
    return InferRequest("doubler", [given])


async def _doubled(call: Any) -> "list[float]":
    answer = await call
    return [float(each) for each in answer.outputs[0].as_numpy().ravel()]


if __name__ == "__main__":
    sys.exit(main())
