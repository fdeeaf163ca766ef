"""``POST /inference``, ``/predict/<name>`` and the Open Inference Protocol for a script."""

import gzip
import json

import numpy as np
import pytest
import requests

from tests.behaviours.tiinfer.conftest import script
from tests.conftest import Server, Start, hub

triton = pytest.importorskip("tritonclient.grpc")


def infer(server: Server, body: bytes | str, **headers: str) -> requests.Response:
    return requests.post(f"{server.url}/inference", data=body, headers=headers, timeout=60)


def test_what_the_script_returns_is_the_answer(chain: Server) -> None:
    answer = infer(chain, json.dumps({"numbers": [1.5, 4]}))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    result = answer.json()["result"]
    assert (result["name"], result["first"]) == ("chain", 3.0)


def test_an_error_that_the_script_returns_is_an_answer_as_well(chain: Server) -> None:
    answer = infer(chain, b'{"images": []}')
    assert (answer.status_code, answer.json()) == (200, {"error": "invalid param"})


@pytest.mark.parametrize(
    ("body", "kind"), [(b"[1, 2]", "list"), (b'"text"', "str"), (b"3", "int"), (b"null", "NoneType"), (b"true", "bool")]
)
def test_any_json_value_is_a_request(chain: Server, body: bytes, kind: str) -> None:
    assert infer(chain, body).json() == {"error": f"not an object: {kind}"}


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "image/jpeg", "nonsense"])
def test_the_content_type_does_not_matter(chain: Server, content_type: str) -> None:
    assert infer(chain, b'{"numbers": [2]}', **{"Content-Type": content_type}).json()["result"]["first"] == 4


def test_a_large_request_and_a_compressed_one_are_read(chain: Server) -> None:
    body = json.dumps({"numbers": [1, *([0] * 300_000)]}).encode()
    assert infer(chain, body).json()["result"]["first"] == 2
    assert infer(chain, gzip.compress(body), **{"Content-Encoding": "gzip"}).json()["result"]["first"] == 2


def test_an_empty_body_is_no_request(chain: Server) -> None:
    answer = infer(chain, b"")
    assert (answer.status_code, answer.text) == (200, "no data provided")


@pytest.mark.parametrize("body", [b"nope", b'{"numbers": ', b"\xff\xfe", b"{'numbers': [1]}"])
def test_a_body_that_is_not_json_is_refused(chain: Server, body: bytes) -> None:
    answer = infer(chain, body)
    assert answer.status_code == 400
    assert "not valid JSON" in answer.text


def test_an_exception_of_the_script_is_answered_with_its_text(chain: Server) -> None:
    answer = infer(chain, b'{"numbers": []}')
    assert (answer.status_code, answer.text) == (500, "list index out of range")
    assert infer(chain, b'{"numbers": [1]}').status_code == 200


def test_a_body_over_the_servers_limit_is_refused(chain: Server) -> None:
    assert infer(chain, b'{"numbers": [' + b"1," * (3 << 20) + b"1]}").status_code == 413


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_other_methods_are_refused_with_those_that_are_allowed(chain: Server, method: str) -> None:
    answer = requests.request(method, f"{chain.url}/inference", timeout=60)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_a_deadline_and_wrong_headers_are_answered_as_elsewhere(chain: Server) -> None:
    assert infer(chain, b"{}", **{"X-Hub-Timeout-Ms": "soon"}).status_code == 400
    assert infer(chain, b"{}", **{"X-Hub-Priority": "high"}).status_code == 400


def test_the_script_is_a_module_by_its_name_as_well(chain: Server) -> None:
    answer = chain.predict("chain", json={"numbers": [5]}).json()
    assert answer["status"] == "000"
    assert answer["results"]["result"]["first"] == 10
    assert chain.predict("chain", json={"x": 1}).json() == {"status": "000", "msg": "", "results": {"error": "invalid param"}}
    assert chain.predict("chain", json=[1]).json()["results"] == {"error": "not an object: list"}
    assert chain.predict("chain", json={"numbers": []}).json() == {"status": "101", "msg": "list index out of range", "results": ""}


def test_the_open_inference_protocol_carries_json_over_http(chain: Server) -> None:
    metadata = requests.get(f"{chain.url}/v2/models/chain", timeout=60).json()
    assert metadata["platform"] == "tiinfer"
    assert [each["name"] for each in metadata["inputs"] + metadata["outputs"]] == ["arguments", "results"]
    for text, wanted in (('{"numbers": [7]}', 14), ("[7]", None)):
        sent = {"inputs": [{"name": "arguments", "datatype": "BYTES", "shape": [1], "data": [text]}]}
        answer = requests.post(f"{chain.url}/v2/models/chain/infer", json=sent, timeout=60).json()
        result = json.loads(answer["outputs"][0]["data"][0])
        assert result["result"]["first"] == wanted if wanted else result == {"error": "not an object: list"}


def test_the_open_inference_protocol_carries_json_over_grpc(start: Start) -> None:
    server = start({"chain": script("chain")}, grpc_port=0)
    port = next(line.rpartition(":")[2].split()[0] for line in server.log.read_text().splitlines() if "grpc" in line.lower())
    with triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        tensor = triton.InferInput("arguments", [1], "BYTES")
        tensor.set_data_from_numpy(np.array([b'{"numbers": [8]}'], object))
        answer = client.infer("chain", [tensor]).as_numpy("results")
        assert json.loads(answer[0])["result"]["first"] == 16


def test_several_scripts_are_served_side_by_side_by_their_names(start: Start) -> None:
    server = start({"chain": script("chain"), "other": script("chain"), "together": script("together")})
    answer = infer(server, b'{"numbers": [1]}')
    assert answer.status_code == 409
    assert "/predict/chain, /predict/other, /predict/together" in answer.text
    first, second = (server.results(name, numbers=[1])["result"] for name in ("chain", "other"))
    assert first["process"] != second["process"]
    assert server.results("together", n=1) == {"n": 1, "together": 1, "list": False}


def test_a_server_without_scripts_says_so(toys: Server) -> None:
    answer = infer(toys, b"{}")
    assert answer.status_code == 404
    assert "serves none" in answer.text


def test_other_modules_beside_one_script_do_not_matter(start: Start) -> None:
    from tests.conftest import toy

    server = start({"chain": script("chain"), "shout": toy("shout")})
    assert infer(server, b'{"numbers": [1]}').json()["result"]["first"] == 2
    assert server.results("shout", text="hi") == "HI!"


def test_the_command_line_installs_shows_and_runs_a_script(home, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from tests.behaviours.tiinfer.conftest import SCRIPTS

    done = hub("install", SCRIPTS / "chain", home=home)
    assert done.returncode == 0, done.stderr
    assert "tiinfer" in hub("list", home=home).stdout
    file = tmp_path / "request.json"
    file.write_text('{"numbers": [21]}')
    for argument in ('{"numbers": [21]}', f"@{file}"):
        done = hub("run", "chain", argument, home=home)
        assert json.loads(done.stdout)["result"]["first"] == 42, done.stderr
    assert "as JSON text or @FILE" in hub("run", "chain", home=home).stderr


def test_versions_of_a_script_are_installed_beside_one_another(home, tmp_path) -> None:  # type: ignore[no-untyped-def]
    from tests.behaviours.tiinfer.conftest import SCRIPTS

    folder = tmp_path / "chain"
    folder.mkdir()
    for name in ("net.py", "model_service.py"):
        (folder / name).write_bytes((SCRIPTS / "chain" / name).read_bytes())
    assert hub("install", folder, home=home).returncode == 0
    (folder / "model_service.py").write_text((folder / "model_service.py").read_text() + '\n__version__ = "2.0.0"\n')
    assert hub("install", folder, home=home).returncode == 0
    for version in ("1.0.0", "2.0.0"):
        assert hub("run", f"chain=={version}", '{"numbers": [1]}', home=home).returncode == 0
