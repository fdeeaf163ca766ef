"""Run the example clients of Triton's repositories, unmodified, against Triton's example models, and say which pass.

    python bench/triton_examples.py CHECKOUT_OF_SERVER CHECKOUT_OF_CLIENT [--python-backend CHECKOUT]

The checkouts are those of github.com/triton-inference-server/server, .../client and .../python_backend; they are read only. Models whose
files are not in them get stand-ins of the same name and signature (``bench/triton_stand_ins.py``). Several clients ask localhost:8000 and
8001 whatever one says, so that the servers listen there; clients run with ``--client-python``, which needs tritonclient[http,grpc], pillow
and attrdict. Ends with 1 if a client fails, or a model is not ready that should be.
"""

import argparse
import contextlib
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import requests
from stress.server import Server
from triton_stand_ins import write_densenet, write_others, write_string_sequences

_TIMEOUT_S = 120
_HTTP_PORT, _GRPC_PORT = 8000, 8001
_HTTP, _GRPC = f"localhost:{_HTTP_PORT}", f"localhost:{_GRPC_PORT}"
_PICTURE, _PICTURES = "PICTURE", "PICTURES"  # stand for a file and its folder
_OVER_HTTP = ["-i", "http", "-u", _HTTP]
_OVER_GRPC = ["-i", "grpc", "-u", _GRPC]
_DENSENET = ["-m", "densenet_onnx", "-s", "INCEPTION", "-c", "3"]
_WAYS: "list[list[str]]" = [[], ["-a"], ["-a", "--streaming"]]
_PACKED = ["--request-compression-algorithm", "gzip", "--response-compression-algorithm", "deflate"]
_EACH: "list[list[str]]" = [_OVER_HTTP, _OVER_GRPC]

#: client -> the arguments of each of its runs; others run once, with -u
_RUNS: "dict[str, list[list[str]]]" = {
    "image_client.py": [
        *([*_DENSENET, *_OVER_HTTP, *way, _PICTURE] for way in _WAYS[:2]),
        *([*_DENSENET, *_OVER_GRPC, *way, _PICTURE] for way in _WAYS),
    ],
    "grpc_image_client.py": [[*_DENSENET, "-u", _GRPC, *way, _PICTURE] for way in _WAYS],
    "ensemble_image_client.py": [[*each, "-c", "3", _PICTURES] for each in _EACH],
    "memory_growth_test.py": [["-i", "http"], ["-i", "grpc"]],
    "reuse_infer_objects_client.py": _EACH,
    "simple_http_infer_client.py": [["-u", _HTTP], ["-u", _HTTP, *_PACKED], ["-u", _HTTP, "-H", "Tag:value"]],
    "simple_http_aio_infer_client.py": [["-u", _HTTP], ["-u", _HTTP, *_PACKED]],
    "simple_grpc_infer_client.py": [["-u", _GRPC], ["-u", _GRPC, "-C", "gzip"]],
    "simple_http_sequence_sync_infer_client.py": [["-u", _HTTP], ["-u", _HTTP, "-d"]],
    "simple_grpc_sequence_sync_infer_client.py": [["-u", _GRPC], ["-u", _GRPC, "-d"]],
    "simple_grpc_sequence_stream_infer_client.py": [["-u", _GRPC], ["-u", _GRPC, "-d"]],
    "simple_grpc_aio_sequence_stream_infer_client.py": [["-u", _GRPC], ["-u", _GRPC, "-d"]],
}
#: client -> how many models it wants the index to have
_CONTROL = {"simple_http_model_control.py": 7, "simple_grpc_model_control.py": 8}
_NEEDS_GPU = ("simple_http_cudashm_client.py", "simple_grpc_cudashm_client.py")

#: model of the Python backend's examples -> its folder there, its files' prefix, and the package that it needs
_PYTHON_MODELS = {
    "add_sub": ("add_sub", "", ""),
    "nobatch_auto_complete": ("auto_complete", "nobatch_", ""),
    "batch_auto_complete": ("auto_complete", "batch_", ""),
    "pytorch": ("pytorch", "", "torch"),
    "bls_sync": ("bls", "sync_", "torch"),
    "bls_async": ("bls", "async_", "torch"),
    "bls_decoupled_sync": ("bls_decoupled", "sync_", ""),
    "bls_decoupled_async": ("bls_decoupled", "async_", ""),
    "repeat_int32": ("decoupled", "repeat_", ""),
    "square_int32": ("decoupled", "square_", ""),
    "jax": ("jax", "", "jax"),
}
_OTHERS = {
    "custom_metrics": "it reads Triton's metrics on port 8002, which are not served here",
    "instance_kind": "it needs weights of ResNet-50, which it downloads",
    "preprocessing": "it needs a TensorRT plan",
}


class Row(NamedTuple):
    """The outcome of one run: ``pass``, ``fail`` or ``not run``, with the reason."""

    client: str
    outcome: str
    about: str = ""


def main() -> int:
    """Run all clients, print a row for each run, and return the exit status."""
    parser = argparse.ArgumentParser(description="the example clients of Triton's repositories against this server")
    parser.add_argument("server", type=Path, help="a checkout of Triton's server repository")
    parser.add_argument("client", type=Path, help="a checkout of Triton's client repository")
    parser.add_argument("--python-backend", type=Path, help="a checkout of Triton's python_backend repository: its examples, too")
    parser.add_argument("--client-python", default=sys.executable, help="the Python that runs the clients (default: this one)")
    parser.add_argument("--only", default="", help="run clients whose path has this text")
    args = parser.parse_args()
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as name:
        for row in _rows(args, Path(name)):
            print(f"{row.outcome:8} {row.client}" + (f"\n         {row.about}" if row.about else ""), flush=True)
            counts[row.outcome] += 1
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()) or "no client has such a name")
    return 1 if counts["fail"] else 0


def _rows(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    examples = args.client / "src" / "python" / "examples"
    clients = [path for path in sorted(examples.glob("*.py")) if args.only in str(path)]
    if not args.only:
        yield from _as_they_are(args, folder)
    plain = [path for path in clients if path.name not in (*_CONTROL, *_NEEDS_GPU)]
    if plain:
        yield from _plain_rows(plain, args, folder)
    for path in (path for path in clients if path.name in _CONTROL):
        store = _copied(args.server, folder / path.stem)
        write_densenet(store)
        if len(list(store.iterdir())) > _CONTROL[path.name]:
            shutil.rmtree(store / "inception_onnx")
        with _serving(store, model_control="explicit", model_uploads=True):
            yield from _run(path, args)
    for path in (path for path in clients if path.name in _NEEDS_GPU):
        yield Row(path.name, "not run", "it needs memory of a GPU")
    if args.python_backend:
        yield from _python_rows(args, folder)


def _as_they_are(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Serve the repository without the files that a script fetches: each model is ready, or its reason names what is missing."""
    store = _copied(args.server, folder / "as_it_is")
    with _serving(store) as server:
        for path in sorted(store.iterdir()):
            has_files = any((path / "1").glob("model.*"))
            ready, reason = _state(server, path.name)
            right = ready if has_files else not ready and "put its files into a folder that is called 1" in reason
            yield Row(f"model_repository/{path.name}", "pass" if right else "fail", reason)


def _state(server: Server, model: str) -> tuple[bool, str]:
    answer = requests.get(f"{server.url}/v2/models/{model}/ready", timeout=30)
    return answer.status_code == 200, answer.json().get("error", "")


def _plain_rows(clients: Sequence[Path], args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    store = _copied(args.server, folder / "with_stand_ins")
    shutil.rmtree(store / "inception_onnx")
    write_densenet(store)
    write_others(store)
    write_string_sequences(store)
    if args.python_backend:
        _write_python_model(store, args.python_backend, "repeat_int32")
    with _serving(store, shared_memory=True) as server:
        yield from _unready_rows(server, store)
        for path in clients:
            if path.name == "simple_grpc_custom_repeat.py" and not args.python_backend:
                yield Row(path.name, "not run", "its model repeat_int32 is in the checkout that --python-backend names")
            else:
                yield from _run(path, args)


def _python_rows(args: argparse.Namespace, folder: Path) -> Iterator[Row]:
    """Serve the examples of the Python backend, laid out as their texts say, and run their clients."""
    examples, store = args.python_backend / "examples", folder / "python"
    wanted = {name: needs for name, (_, _, needs) in _PYTHON_MODELS.items()}
    served = [name for name, needs in wanted.items() if not needs or importlib.util.find_spec(needs)]
    for name in served:
        _write_python_model(store, args.python_backend, name)
    with _serving(store) as server:
        yield from _unready_rows(server, store)
        for path in sorted(path for path in examples.glob("*/*client.py") if args.only in str(path)):
            prefix = path.name.removesuffix("client.py")
            models = [name for name, (place, files, _) in _PYTHON_MODELS.items() if place == path.parent.name and files.endswith(prefix)]
            missing = [wanted[name] for name in models if name not in served]
            if path.parent.name in _OTHERS or missing:
                reason = _OTHERS.get(path.parent.name) or f"its models need {missing[0]}, which this Python does not have"
                yield Row(f"{path.parent.name}/{path.name}", "not run", reason)
            else:
                yield from _run(path, args, [[]])


def _write_python_model(store: Path, checkout: Path, name: str) -> None:
    place, prefix, _ = _PYTHON_MODELS[name]
    source, target = checkout / "examples" / place, store / name
    (target / "1").mkdir(parents=True)
    shutil.copyfile(source / f"{prefix}model.py", target / "1" / "model.py")
    if (source / f"{prefix}config.pbtxt").is_file():
        shutil.copyfile(source / f"{prefix}config.pbtxt", target / "config.pbtxt")


def _unready_rows(server: Server, store: Path) -> Iterator[Row]:
    for path in sorted(store.iterdir()):
        ready, reason = _state(server, path.name)
        if not ready:
            yield Row(f"{store.name}/{path.name}", "fail", reason)


def _copied(checkout: Path, store: Path) -> Path:
    shutil.copytree(checkout / "docs" / "examples" / "model_repository", store)
    return store


@contextlib.contextmanager
def _serving(store: Path, **settings: Any) -> Iterator[Server]:
    """Serve a store where the clients look for it, once everything of it is loaded or has failed."""
    place = store.with_name(store.name + "_server")
    place.mkdir()
    config = {"model_store": [str(store)], "modules_info": {}, "port": _HTTP_PORT, "grpc_port": _GRPC_PORT, "host": "localhost", **settings}
    (place / "config.json").write_text(json.dumps(config))
    server = Server(["-c", str(place / "config.json")], _HTTP_PORT, place / "home", place / "server.log")
    try:
        while "loaded in" not in server.log.read_text() and server.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.process.wait(0.2)
        if server.process.poll() is not None:
            raise SystemExit(f"the server does not start:\n{server.log.read_text()}")
        yield server
    finally:
        server.process.terminate()
        try:
            server.process.wait(60)
        except subprocess.TimeoutExpired:
            server.process.kill()
            server.process.wait()


def _run(path: Path, args: argparse.Namespace, runs: "list[list[str]] | None" = None) -> Iterator[Row]:
    """Run one client with each of its arguments; it passes if it ends with 0, and says PASS where it can say so."""
    pictures = args.server.absolute() / "qa" / "images"
    in_place_of = {_PICTURE: str(pictures / "vulture.jpeg"), _PICTURES: str(pictures)}
    says_so = "PASS" in path.read_text("utf-8")
    usual = [["-u", _GRPC if "grpc" in path.name else _HTTP]]
    for arguments in runs or _RUNS.get(path.name, usual):
        given = [in_place_of.get(each, each) for each in arguments]
        command = [args.client_python, str(path.absolute()), *given]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        except subprocess.TimeoutExpired:
            yield Row(f"{path.name} {' '.join(arguments)}", "fail", f"it did not end in {_TIMEOUT_S} s")
            continue
        text = done.stdout + done.stderr
        passed = done.returncode == 0 and (not says_so or "PASS" in text)
        about = "" if passed else f"exit status {done.returncode}: {text[-600:]}"
        place = f"{path.parent.name}/{path.name}" if path.parent.name != "examples" else path.name
        yield Row(f"{place} {' '.join(arguments)}".rstrip(), "pass" if passed else "fail", about)


if __name__ == "__main__":
    sys.exit(main())
