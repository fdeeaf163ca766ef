"""A server with keys, which all of these tests use."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.behaviours.access.keys import add_key
from tests.behaviours.tiinfer.conftest import script
from tests.conftest import MODULES, Server, free_port, servers, toy
from tests.triton_models import tensor, write_scale

BOTH = f"""
name: "twofold" platform: "ensemble" max_batch_size: 8
input [ {tensor("x", [4])} ] output [ {tensor("y", [4])} ]
ensemble_scheduling {{ step [
    {{ model_name: "double" model_version: -1 input_map {{ key: "x" value: "x" }} output_map {{ key: "y" value: "m" }} }},
    {{ model_name: "half" model_version: -1 input_map {{ key: "x" value: "m" }} output_map {{ key: "y" value: "y" }} }}
] }}
"""


class Guarded:
    """A server with keys.

    Attributes:
        server: over HTTP, and gRPC at ``address``.
        file: of the keys.
        keys: name -> text.
    """

    def __init__(self, server: Server, address: str, file: Path, keys: "dict[str, str]") -> None:
        self.server, self.address, self.file, self.keys = server, address, file, keys
        self.url = server.url


@pytest.fixture(scope="package")
def guarded(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    """``double`` and ``half`` are steps of the ensemble ``twofold``; ``pb_bls`` calls what it is asked to."""
    folder = tmp_path_factory.mktemp("guarded")
    file = folder / "keys.json"
    keys = {
        "shout": add_key(file, "team-shout", ("shout",)),
        "doubler": add_key(file, "team-doubler", ("doubler",)),
        "double": add_key(file, "team-double", ("double",)),
        "chain": add_key(file, "team-chain", ("chain",)),
        "paged": add_key(file, "team-paged", ("pag*",)),
        "ensemble": add_key(file, "team-ensemble", ("twofold",)),
        "bls": add_key(file, "team-bls", ("pb_bls",)),
        "repeat": add_key(file, "team-repeat", ("pb_repeat",)),
        "admin": add_key(file, "ops", scopes=("admin",)),
        "everything": add_key(file, "boss", ("*",), ("infer", "metadata", "metrics", "admin")),
        "metrics": add_key(file, "prometheus", scopes=("metrics",)),
        "metadata": add_key(file, "dashboard", ("*",), ("metadata",)),
        "infer": add_key(file, "worker", ("*",), ("infer",)),
    }
    store = folder / "models"
    write_scale(store, "double")
    write_scale(store, "half", factor=0.5)
    (store / "twofold").mkdir()
    (store / "twofold" / "config.pbtxt").write_text(BOTH)
    for name in ("pb_bls", "pb_repeat", "pb_sum"):
        shutil.copytree(MODULES / "triton" / name, store / name)
    modules = {name: toy(name) for name in ("shout", "doubler", "paged")} | {"chain": script("chain")}
    with servers(shared_home, folder) as start:
        port = free_port()
        server = start(
            {name: {**each, "workers": 1} for name, each in modules.items()},
            grpc_port=port,
            model_store=[str(store)],
            model_control="explicit",
            load_model=["*"],
            access_keys="keys.json",
            access_log="json",
            shared_memory=True,
        )
        yield Guarded(server, f"127.0.0.1:{port}", file, keys)
