"""Every route over HTTP and every method of gRPC: none is forgotten, none answers without a key, and none shows another's modules."""

import re
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
import requests
from grpc_health.v1 import health_pb2
from tritonclient.grpc import service_pb2

from hubserve.access.keys import Need
from hubserve.flask import blueprint
from hubserve.gateway.dataplane import DataPlane
from hubserve.net.connection_limits import connections_for
from hubserve.protocols import Context, create_protocols
from hubserve.protocols.open_inference.grpc.server import GrpcServer
from hubserve.protocols.open_inference.http.protocol import OpenInferenceProtocol
from hubserve.server.app import PAGE_NEEDS, own_pages_of
from hubserve.settings import ServerSettings
from tests.behaviours.access.conftest import Guarded
from tests.behaviours.access.keys import add_key, bearer
from tests.behaviours.flask.applications import application, running
from tests.conftest import toy

MODEL = r"models/(?P<model>[^/]+)(?:/versions/(?P<version>[^/]+))?"
REPOSITORY = "repository/models/(?P<model>[^/]+)"
REGION = "(?:/region/(?P<region>[^/]+))?"

#: every route, and what it needs its client's key to permit: a new one must be entered here
HTTP = {
    "POST /predict/": Need.INFER,
    "POST /inference": Need.INFER,
    "GET /gradio/": Need.INFER,
    "GET /metrics": Need.METRICS,
    "GET /openapi.json": Need.METADATA,
    "GET /": Need.METADATA,
    "GET /docs": Need.OPEN,
    "GET /docs/{name:path}": Need.OPEN,
    "GET /health/live": Need.OPEN,
    "GET /health/ready": Need.OPEN,
    "GET /status": Need.ADMIN,
    f"POST /v2/{MODEL}/infer": Need.INFER,
    f"POST /v2/{MODEL}/generate": Need.INFER,
    f"POST /v2/{MODEL}/generate_stream": Need.INFER,
    "GET /v2/health/live": Need.OPEN,
    "GET /v2/health/ready": Need.OPEN,
    "GET /v2/models/stats": Need.METADATA,
    f"GET /v2/{MODEL}/ready": Need.METADATA,
    f"GET /v2/{MODEL}/config": Need.METADATA,
    f"GET /v2/{MODEL}/stats": Need.METADATA,
    "GET /v2/": Need.METADATA,
    f"GET /v2/{MODEL}": Need.METADATA,
    "POST /v2/repository/index": Need.ADMIN,
    f"POST /v2/{REPOSITORY}/load": Need.ADMIN,
    f"POST /v2/{REPOSITORY}/unload": Need.ADMIN,
    f"GET /v2/systemsharedmemory{REGION}/status": Need.ADMIN,
    "POST /v2/systemsharedmemory/region/(?P<region>[^/]+)/register": Need.ADMIN,
    f"POST /v2/systemsharedmemory{REGION}/unregister": Need.ADMIN,
    f"GET /v2/cudasharedmemory{REGION}/status": Need.ADMIN,
    "POST /v2/cudasharedmemory/region/(?P<region>[^/]+)/register": Need.ADMIN,
    f"POST /v2/cudasharedmemory{REGION}/unregister": Need.ADMIN,
    "GET /v2/(?:models/(?P<model>[^/]+)/)?trace/setting": Need.ADMIN,
    "POST /v2/(?:models/(?P<model>[^/]+)/)?trace/setting": Need.ADMIN,
    "GET /v2/logging": Need.ADMIN,
    "POST /v2/logging": Need.ADMIN,
}
INFERENCE, HEALTH = "/inference.GRPCInferenceService/", "/grpc.health.v1.Health/"
GRPC = {
    INFERENCE + "ServerLive": Need.OPEN,
    INFERENCE + "ServerReady": Need.OPEN,
    INFERENCE + "ModelReady": Need.METADATA,
    INFERENCE + "ServerMetadata": Need.METADATA,
    INFERENCE + "ModelMetadata": Need.METADATA,
    INFERENCE + "ModelConfig": Need.METADATA,
    INFERENCE + "ModelStatistics": Need.METADATA,
    INFERENCE + "ModelInfer": Need.INFER,
    INFERENCE + "ModelStreamInfer": Need.INFER,
    INFERENCE + "RepositoryIndex": Need.ADMIN,
    INFERENCE + "RepositoryModelLoad": Need.ADMIN,
    INFERENCE + "RepositoryModelUnload": Need.ADMIN,
    INFERENCE + "SystemSharedMemoryStatus": Need.ADMIN,
    INFERENCE + "SystemSharedMemoryRegister": Need.ADMIN,
    INFERENCE + "SystemSharedMemoryUnregister": Need.ADMIN,
    INFERENCE + "CudaSharedMemoryStatus": Need.ADMIN,
    INFERENCE + "CudaSharedMemoryRegister": Need.ADMIN,
    INFERENCE + "CudaSharedMemoryUnregister": Need.ADMIN,
    INFERENCE + "TraceSetting": Need.ADMIN,
    INFERENCE + "LogSettings": Need.ADMIN,
    HEALTH + "Check": Need.OPEN,
    HEALTH + "Watch": Need.OPEN,
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo": Need.ANY,
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": Need.ANY,
}
#: served, but not to the key of shout; and names as long that nothing has
HIDDEN, NOWHERE = "doubler", "nowhere"


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Context]:
    file = tmp_path_factory.mktemp("routes") / "keys.json"
    add_key(file, "any")
    context = Context(DataPlane([]), ServerSettings(access_keys=str(file)))
    yield context
    context.close()


def http_routes(context: Context) -> dict[str, Need]:
    found: dict[str, Need] = {}
    for protocol in create_protocols(context).values():
        if isinstance(protocol, OpenInferenceProtocol):
            found |= {f"{each.method} /v2/{each.pattern}": each.need for each in protocol.router.table}
        else:
            method = "POST" if protocol.prefixes[0] in ("/predict/", "/inference") else "GET"
            found |= {f"{method} {prefix}": protocol.need_of({"method": method, "path": prefix}) for prefix in protocol.prefixes}
    return found | {f"GET {each.path}": PAGE_NEEDS[each.path] for each in own_pages_of(context).routes}  # type: ignore[attr-defined]


def test_every_route_over_http_says_what_it_needs(context: Context) -> None:
    assert http_routes(context) == HTTP


def test_every_method_of_grpc_says_what_it_needs(context: Context) -> None:
    assert {path: each.need for path, each in GrpcServer(context, connections_for(1024, None, None)).methods.items()} == GRPC
    declared = {INFERENCE + each.name for each in service_pb2.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods}
    assert declared == {each for each in GRPC if each.startswith(INFERENCE)}, "the protocol has further methods"


# --- over HTTP ---


def request_for(route: str, model: str) -> tuple[str, str, bytes]:
    """The method, path and body of a request to a route, about a model."""
    method, _, path = route.partition(" ")
    path = path.replace("(?P<model>[^/]+)", model).replace("(?P<version>[^/]+)", "1.0.0").replace("(?P<region>[^/]+)", "r")
    path = path.replace("(?:", "").replace(")?", "").replace("{name:path}", "swagger-ui.css")
    assert not re.search(r"[()?\[]", path), path
    path += {"/predict/": model, "/gradio/": model}.get(path, "")
    return method, path, b"{}" if method == "POST" else b""


def ask(url: str, route: str, model: str = HIDDEN, **headers: str) -> requests.Response:
    method, path, body = request_for(route, model)
    return requests.request(method, url + path, data=body, headers={"Content-Type": "application/json", **headers}, timeout=60)


def seen(answer: requests.Response, model: str) -> tuple[Any, ...]:
    """All that a client sees of an answer."""
    headers = {name: value for name, value in answer.headers.items() if name.lower() not in ("date", "x-request-id")}
    return answer.status_code, headers, answer.text.replace(model, "MODEL")


@pytest.fixture(scope="module")
def mounted(guarded: Guarded) -> Iterator[str]:
    """The same keys and modules in a Flask application."""
    settings = {"modules_info": {name: toy(name) for name in ("shout", "doubler")}, "access_keys": str(guarded.file), "admin": "any"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HUB_HOME", str(guarded.server.home))
        made = blueprint(config=settings, pages=True)
        made.start()
        with running(application(made)) as url:
            yield url
        made.close()


@pytest.fixture(params=["server", "flask"])
def url(request: pytest.FixtureRequest, guarded: Guarded, mounted: str) -> str:
    return guarded.url if request.param == "server" else mounted


def is_there(url: str, route: str, guarded: Guarded) -> bool:
    """Whether an address has a route: a Flask application has no pages of modules, and its own index."""
    return url == guarded.url or route not in ("GET /gradio/", "GET /")


@pytest.mark.parametrize("route", HTTP)
def test_no_route_is_answered_without_a_key(guarded: Guarded, url: str, route: str) -> None:
    if not is_there(url, route, guarded):
        return
    answers = [ask(url, route), ask(url, route, **bearer("hsk_0123456789_wrong")), ask(url, route, **{"X-API-Key": "x"})]
    if HTTP[route] is Need.OPEN:
        assert [each.status_code for each in answers] == [200, 200, 200]
        assert "shout" not in answers[0].text
        return
    assert [each.status_code for each in answers] == [401, 401, 401]
    assert [each.headers["WWW-Authenticate"] for each in answers] == [
        'Bearer realm="hubserve"',
        *(2 * ['Bearer realm="hubserve", error="invalid_token"']),
    ]
    assert len({each.text for each in answers[1:]}) == 1
    assert [HIDDEN in each.text for each in answers] == [False] * 3
    head = requests.request("OPTIONS", answers[0].url, timeout=30)
    assert head.status_code == 401


@pytest.mark.parametrize("route", HTTP)
def test_to_a_key_of_one_module_another_one_does_not_exist(guarded: Guarded, url: str, route: str) -> None:
    if not is_there(url, route, guarded):
        return
    headers = bearer(guarded.keys["shout"])
    hidden, nowhere = (seen(ask(url, route, model, **headers), model) for model in (HIDDEN, NOWHERE))
    assert hidden == nowhere
    status, _, text = hidden
    others = [name for name in ("double", "half", "twofold", "pb_", "chain", "paged") if name in text.replace("MODEL", "")]
    if HTTP[route] in (Need.ADMIN, Need.METRICS):
        assert (status, others) == (403, [])
    elif HTTP[route] is not Need.OPEN:
        assert others == []
        is_named = "<model>" in route or route in ("POST /predict/", "GET /gradio/")
        if is_named and route != "POST /predict/":
            assert status in (404, 400), text


@pytest.mark.parametrize("route", HTTP)
def test_scopes_open_their_routes_and_no_others(guarded: Guarded, url: str, route: str) -> None:
    if not is_there(url, route, guarded) or "unregister" in route or "unload" in route:
        return
    need = HTTP[route]
    given = {
        "metrics": {Need.METRICS},
        "metadata": {Need.METADATA},
        "infer": {Need.INFER},
        "admin": {Need.ADMIN, Need.METADATA, Need.METRICS},
    }
    for name, needs in given.items():
        answer = ask(url, route, "shout", **{"X-API-Key": guarded.keys[name]})
        is_open = need in {*needs, Need.OPEN}
        assert (answer.status_code == 403) is not is_open, (name, answer.text)
        assert answer.status_code != 401


# --- over gRPC ---


def message_for(path: str, model: str) -> bytes:
    """A request of a method, about a model."""
    service, name = path.strip("/").rsplit("/", 1)
    if not path.startswith(INFERENCE):
        return health_pb2.HealthCheckRequest().SerializeToString() if path.startswith(HEALTH) else b""
    method = service_pb2.DESCRIPTOR.services_by_name[service.rpartition(".")[2]].methods_by_name[name]
    message = getattr(service_pb2, method.input_type.name)()
    fields = {each.name for each in method.input_type.fields}
    for field in fields & {"name", "model_name"}:
        setattr(message, field, model)
    return bytes(message.SerializeToString())


def call(address: str, path: str, model: str, *metadata: tuple[str, str]) -> tuple[Any, ...]:
    """The status, text and first response of a call."""
    with grpc.insecure_channel(address) as channel:
        try:
            if path.endswith(("ModelStreamInfer", "Watch", "ServerReflectionInfo")):
                answers = channel.stream_stream(path)(iter([message_for(path, model)]), metadata=metadata, timeout=30)
                first = next(answers, b"")
                answers.cancel()
            else:
                first = channel.unary_unary(path)(message_for(path, model), metadata=metadata, timeout=30)
        except grpc.RpcError as error:
            return error.code(), (error.details() or "").replace(model, "MODEL"), b""
    return grpc.StatusCode.OK, "", first.replace(model.encode(), b"MODEL")


@pytest.mark.parametrize("path", GRPC)
def test_no_method_is_answered_without_a_key(guarded: Guarded, path: str) -> None:
    wrong = ("authorization", "Bearer hsk_0123456789_wrong")
    codes = [call(guarded.address, path, HIDDEN, *metadata)[:2] for metadata in ((), (wrong,), (("x-api-key", "x"),))]
    if GRPC[path] is Need.OPEN:
        assert [code for code, _ in codes] == [grpc.StatusCode.OK] * 3
        return
    assert [code for code, _ in codes] == [grpc.StatusCode.UNAUTHENTICATED] * 3
    assert codes[1] == codes[2]


@pytest.mark.parametrize("path", GRPC)
def test_to_a_key_of_one_module_another_one_does_not_exist_over_grpc(guarded: Guarded, path: str) -> None:
    metadata = ("authorization", f"Bearer {guarded.keys['shout']}")
    hidden, nowhere = (call(guarded.address, path, model, metadata) for model in (HIDDEN, NOWHERE))
    assert hidden == nowhere
    if GRPC[path] is Need.ADMIN:
        assert hidden[0] is grpc.StatusCode.PERMISSION_DENIED
    for name in ("double", "half", "twofold", "pb_", "chain", "paged"):
        assert name not in hidden[1]
        assert name.encode() not in hidden[2]


@pytest.mark.parametrize("path", GRPC)
def test_scopes_open_their_methods_and_no_others(guarded: Guarded, path: str) -> None:
    if "Unregister" in path or "Unload" in path:
        return
    given = {"metadata": {Need.METADATA}, "infer": {Need.INFER}, "admin": {Need.ADMIN, Need.METADATA}}
    for name, needs in given.items():
        code = call(guarded.address, path, "shout", ("x-api-key", guarded.keys[name]))[0]
        is_open = GRPC[path] in {*needs, Need.OPEN, Need.ANY}
        assert (code is grpc.StatusCode.PERMISSION_DENIED) is not is_open, (name, code)
