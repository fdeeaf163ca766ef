"""What the description says, to whom, and under which addresses."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from openapi_spec_validator import OpenAPIV30SpecValidator, validate

from hubserve.flask import blueprint
from hubserve.gateway.dataplane import DataPlane
from hubserve.protocols import Context, create_protocols
from hubserve.settings import ServerSettings
from tests.behaviours.access.keys import add_key, bearer
from tests.behaviours.flask.applications import application, running
from tests.behaviours.openapi.conftest import BLS_PROGRAM, document_of, write_hostile
from tests.conftest import Server, Start, free_port, servers, toy, wait_for
from tests.openapi_requests import example_requests, resolve
from tests.triton_models import write_scale

#: begins HTML, a link, code or emphasis in Markdown
_MARKUP = re.compile(r"<|(?<!\\)[\[*`]")


def body_of(document: dict[str, Any], path: str, media: str = "application/json") -> Any:
    """The schema of a request's body."""
    return resolve(document, document["paths"][path]["post"]["requestBody"]["content"][media]["schema"])


# --- modules of PaddleHub's form ---


def test_arguments_have_their_types_defaults_and_descriptions(document: dict[str, Any]) -> None:
    schema = body_of(document, "/predict/hostile")
    properties = {name: {key: value for key, value in each.items() if key != "description"} for name, each in schema["properties"].items()}
    assert properties == {
        "text": {"type": "string"},
        "words": {"type": "array", "items": {"type": "string"}},
        "mode": {"type": "string", "enum": ["fast", "exact"], "default": "fast"},
        "size": {"type": "integer", "nullable": True},
        "ratio": {"type": "number", "default": 0.5},
        "table": {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "integer"}},
            "default": {"a": [1]},
        },
        "strange": {},
    }
    assert schema["required"] == ["text", "words"]
    assert schema["additionalProperties"] is False
    assert schema["properties"]["mode"]["description"] == "how."
    assert body_of(document, "/predict/collage")["additionalProperties"] is True


def test_texts_of_authors_are_shown_as_they_are(document: dict[str, Any]) -> None:
    """Readers of the document take descriptions for Markdown, in which HTML and links are only safe where they cannot begin."""
    made = document["paths"]["/predict/hostile"]["post"]
    summary, *docstring = made["description"].split("\n\n    ", 1)
    assert "End every comment." in docstring[0]
    assert all(line.startswith("    ") or not line for line in ("    " + docstring[0]).split("\n"))
    assert not _MARKUP.search(summary)
    (tag,) = [each for each in document["tags"] if each["name"] == "hostile"]
    assert not _MARKUP.search(tag["description"])
    assert "<" not in body_of(document, "/predict/hostile")["properties"]["text"]["description"]


def test_pictures_can_be_uploaded_and_arrays_described(document: dict[str, Any]) -> None:
    content = document["paths"]["/predict/clas_system"]["post"]["requestBody"]["content"]
    assert list(content) == ["application/json", "multipart/form-data", "image/*", "application/octet-stream"]
    form = resolve(document, content["multipart/form-data"]["schema"])
    assert form["properties"]["images"]["items"] == {"type": "string", "format": "binary"}
    assert set(content["application/json"]["examples"]) == {"pictures"}  # its arrays are too long for an example
    headers = {resolve(document, each)["name"] for each in document["paths"]["/predict/clas_system"]["post"]["parameters"]}
    assert {"X-Hub-Shape", "X-Hub-Dtype", "X-Hub-Timeout-Ms", "X-Hub-Priority"} == headers
    assert list(document["paths"]["/predict/sizes"]["post"]["requestBody"]["content"]) == [
        "application/json",
        "multipart/form-data",
        "image/*",
    ]


def test_the_script_is_described_at_its_own_address(document: dict[str, Any]) -> None:
    made = document["paths"]["/inference"]["post"]
    assert "    Doubles ``n``." in made["description"]
    assert made["requestBody"]["content"]["application/json"]["examples"]["example"]["value"] == {"n": 21}
    assert made["responses"]["200"]["content"].keys() == {"application/json"}
    error = resolve(document, made["responses"]["400"])
    assert list(error["content"]) == ["text/plain"]


# --- the Open Inference Protocol ---


def test_tensors_have_their_names_datatypes_and_shapes(document: dict[str, Any]) -> None:
    item = body_of(document, "/v2/models/thrice/infer")["properties"]["inputs"]["items"]
    assert item["properties"]["name"]["enum"] == ["x"]
    assert item["properties"]["datatype"]["enum"] == ["FP32"]
    assert item["description"] == "x: FP32 \\[-1, 4]"
    several = body_of(document, "/v2/models/pb_sum/infer")["properties"]["inputs"]["items"]["anyOf"]
    assert [each["properties"]["name"]["enum"] for each in several] == [["A"], ["B"]]
    pictures = body_of(document, "/v2/models/pictures/infer")["properties"]["inputs"]["items"]
    assert pictures["properties"]["datatype"]["enum"] == ["UINT8", "BYTES"]


def test_a_decoupled_model_has_streams_only(document: dict[str, Any]) -> None:
    paths = [each for each in document["paths"] if each.startswith("/v2/models/pb_repeat")]
    assert "/v2/models/pb_repeat/generate_stream" in paths
    assert not {"/v2/models/pb_repeat/infer", "/v2/models/pb_repeat/generate"} & set(paths)


def test_each_of_several_versions_has_paths_of_its_own(document: dict[str, Any]) -> None:
    paths = {each for each in document["paths"] if each.endswith("/infer")}
    assert {f"/v2/models/twice{version}/infer" for version in ("", "/versions/1", "/versions/2")} <= paths
    assert "/v2/models/thrice/versions/1/infer" not in paths


def test_a_sequence_begins_and_ends_in_the_example(document: dict[str, Any]) -> None:
    content = document["paths"]["/v2/models/sums/infer"]["post"]["requestBody"]["content"]
    (example,) = content["application/json"]["examples"].values()
    assert example["value"]["parameters"] == {"sequence_id": 1, "sequence_start": True, "sequence_end": True}
    assert "/predict/sums" not in document["paths"]


def test_a_models_own_sample_is_its_example(document: dict[str, Any]) -> None:
    content = document["paths"]["/v2/models/pb_bls/infer"]["post"]["requestBody"]["content"]
    (example,) = content["application/json"]["examples"].values()
    assert example["value"] == {"inputs": [{"name": "PLAN", "datatype": "BYTES", "shape": [1], "data": [BLS_PROGRAM]}]}


# --- settings ---


def test_errors_have_the_statuses_of_the_setting(document: dict[str, Any], start: Start) -> None:
    own = document["paths"]["/predict/shout"]["post"]["responses"]
    assert set(own) == {"200", "400", "408", "413", "415", "429", "500", "503", "504"}
    assert "status_codes" in own["200"]["description"]
    assert "Retry-After" in resolve(document, own["503"])["headers"]
    true = document_of(start({"shout": toy("shout")}, status_codes="http").url)["paths"]["/predict/shout"]["post"]["responses"]
    assert set(true) == {*own, "404"}
    assert "status_codes" not in true["200"]["description"]


@pytest.mark.parametrize("known", ["setting", "header", "not at all"])
def test_addresses_are_below_the_prefix_of_a_proxy(start: Start, known: str) -> None:
    settings: dict[str, Any] = {"setting": {"root_path": "/ml"}, "header": {"trusted_proxies": ["127.0.0.1"]}}.get(known, {})
    url = start({"shout": toy("shout")}, **settings).url
    assert document_of(url, **({"X-Forwarded-Prefix": "/ml"} if known == "header" else {}))["servers"] == [
        {"url": "." if known == "not at all" else "/ml"}
    ]


def test_the_admin_surface_is_described_where_it_is(start: Start) -> None:
    server = start({"shout": toy("shout")})
    admin = {"/status", "/v2/repository/index", "/v2/logging"}
    assert admin <= document_of(server.url)["paths"].keys()
    assert not admin & document_of(server.url, **{"X-Forwarded-For": "10.0.0.1"})["paths"].keys()
    assert not {each for each in document_of(server.url)["paths"] if "sharedmemory" in each or each.endswith("/load")}
    assert "/metrics" not in document_of(start({"shout": toy("shout")}, metrics=False, admin="off").url)["paths"]


# --- keys ---


class Guarded:
    def __init__(self, server: Server, keys: dict[str, str]) -> None:
        self.server, self.keys = server, keys

    def paths(self, name: str) -> set[str]:
        return set(document_of(self.server.url, **bearer(self.keys[name]))["paths"])


@pytest.fixture(scope="module")
def guarded(shared_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    file = folder / "keys.json"
    keys = {
        "shout": add_key(file, "team", ("shout",)),
        "metadata": add_key(file, "dashboard", ("*",), ("metadata",)),
        "admin": add_key(file, "ops", scopes=("admin",)),
        "all": add_key(file, "boss", ("*",), ("infer", "metadata", "metrics", "admin")),
        "infer": add_key(file, "worker", ("*",), ("infer",)),
    }
    with servers(shared_home, folder) as start:
        yield Guarded(start({name: toy(name) for name in ("shout", "doubler")}, access_keys=str(file)), keys)


def test_a_key_sees_what_it_may_use(guarded: Guarded) -> None:
    everyone = {"/health/live", "/health/ready", "/v2/health/live", "/v2/health/ready"}
    shout = {f"/v2/models/shout{rest}" for rest in ("", "/config", "/stats", "/ready")}
    ask = {"/predict/shout", *(f"/v2/models/shout/{what}" for what in ("infer", "generate", "generate_stream"))}
    about = {"/v2", "/v2/models/stats"}
    assert guarded.paths("shout") == everyone | about | shout | ask
    assert guarded.paths("metadata") == everyone | about | shout | {each.replace("shout", "doubler") for each in shout}
    assert not guarded.paths("admin") & ask
    assert {"/status", "/metrics", "/v2/models/doubler"} <= guarded.paths("admin")
    assert {"/status", "/metrics", "/predict/doubler", *ask} <= guarded.paths("all")
    assert "doubler" not in requests.get(guarded.server.url + "/openapi.json", headers=bearer(guarded.keys["shout"]), timeout=30).text


def test_examples_work_with_the_key_that_saw_them(guarded: Guarded) -> None:
    document = document_of(guarded.server.url, **bearer(guarded.keys["shout"]))
    validate(document, cls=OpenAPIV30SpecValidator)
    assert document["components"]["securitySchemes"]["bearer"] == {
        **document["components"]["securitySchemes"]["bearer"],
        "type": "http",
        "scheme": "bearer",
    }
    assert document["security"] == [{"bearer": []}, {"apiKey": []}]
    assert document["paths"]["/health/live"]["get"]["security"] == []
    assert {"401", "403"} <= document["paths"]["/predict/shout"]["post"]["responses"].keys()
    for each in example_requests(document):
        each.options["headers"].update(bearer(guarded.keys["shout"]))
        assert each.send(guarded.server.url).status_code == 200, each.name


def test_a_key_without_the_scope_gets_no_description(guarded: Guarded) -> None:
    url = guarded.server.url + "/openapi.json"
    assert requests.get(url, timeout=30).status_code == 401
    assert requests.get(url, headers=bearer(guarded.keys["infer"]), timeout=30).status_code == 403


def test_a_server_without_keys_has_no_security_schemes(document: dict[str, Any]) -> None:
    assert "security" not in document
    assert "securitySchemes" not in document["components"]


# --- elsewhere, and later ---


def test_an_application_describes_what_it_mounts(home: Path, tmp_path: Path) -> None:
    settings = {"modules_info": {"shout": toy("shout"), "hostile": {"init_args": {"directory": str(write_hostile(tmp_path))}}}}
    made = blueprint(config=settings, pages=True, url_prefix="/ml")
    made.start()
    try:
        with running(application(made)) as url:
            document = document_of(url + "/ml")
            validate(document, cls=OpenAPIV30SpecValidator)
            assert document["servers"] == [{"url": "/ml"}]
            assert {"/predict/shout", "/v2/models/shout/infer", "/health/live"} <= document["paths"].keys()
            failed = {
                each.name: answer.text for each in example_requests(document) if (answer := each.send(url + "/ml")).status_code != 200
            }
            assert not failed
    finally:
        made.close()
    plain = blueprint(config=settings)
    with running(application(plain)) as url:
        assert requests.get(url + "/openapi.json", timeout=30).status_code == 404


def test_the_document_follows_what_is_served(start: Start, tmp_path: Path) -> None:
    store = tmp_path / "store"
    write_scale(store, "twice")
    server = start({"shout": toy("shout")}, model_store=[str(store)], model_control="explicit")
    assert "/v2/models/twice/infer" not in document_of(server.url)["paths"]
    before = requests.get(server.url + "/openapi.json", timeout=30)
    again = requests.get(server.url + "/openapi.json", headers={"If-None-Match": before.headers["ETag"]}, timeout=30)
    assert (again.status_code, again.content) == (304, b"")
    assert requests.post(server.url + "/v2/repository/models/twice/load", timeout=60).status_code == 200
    assert "/v2/models/twice/infer" in document_of(server.url)["paths"]
    after = requests.get(server.url + "/openapi.json", headers={"If-None-Match": before.headers["ETag"]}, timeout=30)
    assert after.status_code == 200
    assert requests.post(server.url + "/v2/repository/models/twice/unload", timeout=60).status_code == 200
    wait_for(lambda: "/v2/models/twice/infer" not in document_of(server.url)["paths"])


def test_other_methods_are_refused_and_the_head_is_that_of_the_document(start: Start) -> None:
    server = start({"shout": toy("shout")})
    url = server.url + "/openapi.json"
    assert requests.post(url, timeout=30).status_code == 405
    assert requests.options(url, timeout=30).headers["Allow"] == "GET, HEAD, OPTIONS"
    head, whole = requests.head(url, timeout=30), requests.get(url, timeout=30)
    assert (head.headers["ETag"], head.content) == (whole.headers["ETag"], b"")
    assert requests.get(url, headers={"Accept-Encoding": "identity"}, timeout=30).content == whole.content
    assert whole.headers["Content-Encoding"] == "gzip"


# --- completeness ---


def test_every_route_of_the_open_inference_protocol_is_described(document: dict[str, Any]) -> None:
    context = Context(DataPlane([]), ServerSettings())
    try:
        routes = create_protocols(context)["v2"].router.table  # type: ignore[attr-defined]  # it is that protocol's
    finally:
        context.close()
    paths = [(method.upper(), path) for path, operations in document["paths"].items() for method in operations]
    missing = {
        f"{each.method} {each.pattern}"
        for each in routes
        if not any(method == each.method and re.fullmatch("/v2/?" + each.pattern, path) for method, path in paths)
    }
    # what the server always refuses, or what does nothing: it has no memory of GPUs
    assert missing == {
        "POST cudasharedmemory/region/(?P<region>[^/]+)/register",
        "POST cudasharedmemory(?:/region/(?P<region>[^/]+))?/unregister",
    }


def test_the_admin_surface_with_a_port_of_its_own_is_described_there(start: Start) -> None:
    port = free_port()
    server = start({"shout": toy("shout")}, admin_port=port)
    admin = {"/status", "/v2/repository/index", "/v2/logging"}
    assert not admin & document_of(server.url)["paths"].keys()
    assert admin <= document_of(f"http://127.0.0.1:{port}")["paths"].keys()
