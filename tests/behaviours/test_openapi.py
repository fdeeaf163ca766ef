"""/openapi.json: valid, complete, and every example in it is answered."""

from collections.abc import Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import pytest
import requests
from openapi_spec_validator import OpenAPIV30SpecValidator, validate

from tests import value_models
from tests.behaviours.test_ensembles import ensemble, step
from tests.conftest import MODULES, ROOT, Server, servers, toy
from tests.openapi_requests import example_requests
from tests.triton_models import scale, write_scale

ODD = "odd näme (1) 100% & more?#"


@pytest.fixture(scope="module")
def everything(model_dir: Path, ocr_dir: Path, shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a module of every kind."""
    folder = tmp_path_factory.mktemp("everything")
    store = folder / "store"
    write_scale(store, "twice", versions=(1, 2), config=None)
    (store / "pb_sum").symlink_to(MODULES / "triton" / "pb_sum")
    (store / "pb_repeat").symlink_to(MODULES / "triton" / "pb_repeat")
    write_scale(store, "thrice", factor=3.0)
    ensemble(store, "both", step("thrice", "in", "l"), step("thrice", "l", "r"), outputs=("l", "r"))
    for write in ("spam", "flower", "maybe"):
        getattr(value_models, write)(folder / f"{write}.onnx")
    modules: dict[str, Any] = {name: toy(name) for name in ("shout", "doubler", "faulty", "collage", "moody")}
    modules["old-style"] = toy("old_style")
    modules["chain"] = {"init_args": {"directory": str(MODULES / "tiinfer" / "chain")}}
    for name in ("spam", "flower", "maybe"):
        modules[name] = {"init_args": {"directory": str(folder / f"{name}.onnx")}}
    modules[ODD] = {"init_args": {"directory": str(scale(folder / "odd.onnx"))}}
    modules["clas_system"] = {"init_args": {"directory": str(ROOT / "hubmodules" / "clas"), "engine": "openvino"}}
    modules["ocr_system"] = {"init_args": {"directory": str(ROOT / "hubmodules" / "ocr"), "engine": "openvino"}}
    for each in modules.values():
        each["workers"] = 1
    with servers(shared_home, folder) as start:
        yield start(modules, model_store=[str(store)], model_control="explicit", load_model=["*"], shared_memory=True)


@pytest.fixture(scope="module")
def document(everything: Server) -> Any:
    response = requests.get(everything.url + "/openapi.json", timeout=60)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == "application/json"
    return response.json()


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate(document, cls=OpenAPIV30SpecValidator)


def test_every_example_is_answered(everything: Server, document: dict[str, Any]) -> None:
    found = list(example_requests(document))
    last = [each for each in found if "unload_model" in each.name]
    region = SharedMemory("example", create=True, size=64)
    try:
        failed = {}
        for each in [each for each in found if each not in last] + last:
            response = each.send(everything.url)
            if response.status_code != 200 or '"status":"1' in response.text[:20]:
                failed[each.name] = f"{response.status_code} {response.text[:300]}"
    finally:
        region.close()
        region.unlink()
    assert not failed
    assert len(found) > 100
