"""The requests of the golden folder, by name: what clients may send, and what they may not."""

import gzip
import json
import struct
import zlib
from typing import Any

import numpy as np

from tests.v2 import DATATYPES, binary_request, http_request, texts

CASES: dict[str, bytes] = {}


def _post(name: str, path: str, body: Any = b"", headers: dict[str, str] | None = None) -> None:
    assert name not in CASES, name
    CASES[name] = http_request("POST", f"/v2/{path}", body if isinstance(body, bytes) else json.dumps(body).encode(), headers)


def _x(**changes: Any) -> dict[str, Any]:
    """The input of ``doubler``, with changes; None takes a key away."""
    about = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1.5, -2], **changes}
    return {key: value for key, value in about.items() if value is not None}


def _doubler(name: str, *inputs: Any, **more: Any) -> None:
    _post("infer_" + name, "models/doubler/infer", {"inputs": list(inputs), **more})


def _metadata() -> None:
    for path in (
        "",
        "/",
        "/health/live",
        "/health/ready",
        "/health/ready?x=1&y",
        "?query=ignored",
        "/health",
        "/health/live/",
        "/models",
        "/models/",
        "/models/doubler",
        "/models/doubler?a=b",
        "/models/shout",
        "/models/sizes",
        "/models/BF16",
        "/models/nobody",
        "/models/doubler/versions/1.0.0",
        "/models/doubler/versions/7",
        "/models/doubler/versions",
        "/models/doubler/versions/",
        "/models/doubler/ready",
        "/models/doubler/versions/1.0.0/ready",
        "/models/doubler/versions/7/ready",
        "/models/nobody/ready",
        "/models/doubler/config",
        "/models/shout/config",
        "/models/sizes/config",
        "/models/BYTES/config",
        "/models/nobody/config",
        "/models/nobody/stats",
        "/models/doubler/versions/7/stats",
        "/models/doubler/nothing",
        "/models/d%6fubler/ready",
        "/models/%ff%fe/ready",
        "/nothing",
        "/systemsharedmemory/status",
        "/systemsharedmemory/region/none/status",
        "/cudasharedmemory/status",
        "/cudasharedmemory/region/none/status",
        "/models/nobody/trace/setting",
    ):
        name = "get_" + ("".join(each if each.isalnum() else "_" for each in path).strip("_") or f"root{len(path)}")
        while name in CASES:
            name += "_"
        CASES[name] = http_request("GET", "/v2" + path)
    for method, path in (
        ("POST", "/health/live"),
        ("GET", "/models/doubler/infer"),
        ("PUT", "/models/doubler/infer"),
        ("DELETE", "/models/doubler"),
        ("POST", ""),
        ("POST", "/models/doubler/config"),
        ("GET", "/repository/index"),
        ("GET", "/repository/models/doubler/load"),
        ("GET", "/models/doubler/generate"),
        ("POST", "/systemsharedmemory/status"),
        ("GET", "/systemsharedmemory/region/a/register"),
        ("PATCH", "/logging"),
        ("HEAD", "/health/live"),
        ("HEAD", "/models/doubler"),
        ("OPTIONS", "/models/doubler"),
    ):
        CASES[f"method_{method.lower()}{path.replace('/', '_')}"] = http_request(method, "/v2" + path)


def _json_inference() -> None:
    _doubler("json", _x())
    _doubler("json_two_items", _x(shape=[2, 2], data=[[1, 2], [3, 4]]))
    _doubler("json_nested_otherwise", _x(shape=[2, 2], data=[[[1], [2]], [[3], [4]]]))
    _doubler("id", _x(), id="an id")
    _doubler("id_empty", _x(), id="")
    _doubler("id_number", _x(), id=7)
    _doubler("id_null", _x(), id=None)
    _doubler("unknown_keys", _x(more=1), other={"a": []})
    _doubler("parameters", _x(), parameters={"a": 1, "b": "x", "c": True, "d": 1.5})
    _doubler("parameters_list", _x(), parameters=[])
    _doubler("parameters_nested", _x(), parameters={"a": {}})
    _doubler("parameters_null", _x(), parameters={"a": None})
    _doubler("output", _x(), outputs=[{"name": "y"}])
    _doubler("output_twice", _x(), outputs=[{"name": "y"}, {"name": "y"}])
    _doubler("output_unknown", _x(), outputs=[{"name": "z"}])
    _doubler("output_nameless", _x(), outputs=[{}])
    _doubler("outputs_empty", _x(), outputs=[])
    _doubler("outputs_null", _x(), outputs=None)
    _doubler("outputs_text", _x(), outputs="y")
    _doubler("output_binary", _x(), outputs=[{"name": "y", "parameters": {"binary_data": True}}])
    _doubler("all_binary", _x(), parameters={"binary_data_output": True})
    _doubler(
        "all_binary_but_one", _x(), parameters={"binary_data_output": True}, outputs=[{"name": "y", "parameters": {"binary_data": False}}]
    )
    _doubler("no_inputs")
    _post("infer_inputs_missing", "models/doubler/infer", {})
    _post("infer_inputs_object", "models/doubler/infer", {"inputs": {}})
    _post("infer_inputs_of_texts", "models/doubler/infer", {"inputs": ["x"]})
    _doubler("input_twice", _x(), _x())
    _doubler("input_unknown", _x(name="z"))
    _doubler("input_nameless", _x(name=None))
    _doubler("input_name_number", _x(name=3))
    _doubler("datatype_missing", _x(datatype=None))
    _doubler("datatype_unknown", _x(datatype="FP8"))
    _doubler("datatype_number", _x(datatype=32))
    _doubler("datatype_wrong", _x(datatype="INT32", data=[1, 2]))
    _doubler("shape_missing", _x(shape=None))
    _doubler("shape_text", _x(shape="1,2"))
    _doubler("shape_of_texts", _x(shape=["1", "2"]))
    _doubler("shape_of_fractions", _x(shape=[1.0, 2]))
    _doubler("shape_of_booleans", _x(shape=[True, 2]))
    _doubler("shape_negative", _x(shape=[-1, 2]))
    _doubler("shape_huge", _x(shape=[1, 10**12]))
    _doubler("shape_many_empty_items", _x(shape=[2**31, 0], data=[]))
    _doubler("shape_many_empty_items_inside", _x(shape=[1, 2**31, 0], data=[]))
    _doubler("shape_overflowing", _x(shape=[2**62, 4, 2**62]))
    _doubler("shape_long", _x(shape=[1] * 40))
    _doubler("shape_rank", _x(shape=[2]))
    _doubler("shape_rank_3", _x(shape=[1, 1, 2]))
    _doubler("shape_empty", _x(shape=[]))
    _doubler("shape_no_items", _x(shape=[0, 2], data=[]))
    _doubler("shape_empty_items", _x(shape=[2, 0], data=[]))
    _doubler("data_missing", _x(data=None))
    _post("infer_data_null", "models/doubler/infer", b'{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":null}]}')
    _doubler("data_number", _x(data=1))
    _doubler("data_object", _x(data={"0": 1}))
    _doubler("data_few", _x(data=[1]))
    _doubler("data_many", _x(data=[1, 2, 3]))
    _doubler("data_texts", _x(data=["1", "2"]))
    _doubler("data_nulls", _x(data=[None, None]))
    _doubler("data_booleans", _x(data=[True, False]))
    _doubler("data_mixed", _x(data=[1, [2]]))
    _doubler("data_ragged", _x(data=[[1], [2, 3]]))
    _doubler("data_objects", _x(data=[{}, {}]))
    deep = "[" * 40 + "1" + "]" * 40
    _post(
        "infer_data_deep", "models/doubler/infer", f'{{"inputs":[{{"name":"x","datatype":"FP32","shape":[1,1],"data":{deep}}}]}}'.encode()
    )
    for name, text in {
        "nan": "[NaN, 1]",
        "infinity": "[Infinity, -Infinity]",
        "exponents": "[1e2, 1E-2]",
        "large": "[1e300, -1e308]",
        "huge_integer": "[123456789012345678901234567890, 1]",
    }.items():
        model = "FP64"
        inputs = ",".join(f'{{"name":"{each}","datatype":"FP64","shape":[1,2],"data":{text}}}' for each in "ab")
        _post(f"infer_fp64_{name}", f"models/{model}/infer", f'{{"inputs":[{inputs}]}}'.encode())


def _documents() -> None:
    for name, body in {
        "empty": b"",
        "nothing_but_space": b"  ",
        "open": b"{",
        "text": b"hello",
        "list": b"[]",
        "number": b"7",
        "null": b"null",
        "no_utf8": b'{"id": "\xff"}',
        "deep": b"[" * 5000,
        "deep_objects": b'{"a":' * 5000,
        "trailing": b"{} {}",
        "byte_order_mark": b"\xef\xbb\xbf{}",
        "half_a_character": b'{"id": "\\ud800", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}',
        "name_of_half_a_character": b'{"inputs": [{"name": "\\udfff", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}',
        "key_twice": b'{"id": "a", "id": "b", "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1]}]}',
    }.items():
        _post(f"document_{name}", "models/doubler/infer", body)
    _post("model_unknown", "models/nobody/infer", {"inputs": []})
    _post("model_version", "models/doubler/versions/1.0.0/infer", {"inputs": [_x()]})
    _post("model_version_unknown", "models/doubler/versions/7/infer", {"inputs": [_x()]})
    _post("too_large", "models/doubler/infer", b" " * (1 << 20) + b"{}")


def _every_datatype() -> None:
    values: dict[str, Any] = {"BYTES": ["a", "grüß"], "BOOL": [True, False], "FP16": [0.5, 65504], "BF16": [1.5, -2]}
    for datatype in DATATYPES:
        data = values.get(datatype, [0, 100])
        inputs = [{"name": name, "datatype": datatype, "shape": [1, 2], "data": data} for name in "ab"]
        _post(f"{datatype.lower()}_json", f"models/{datatype}/infer", {"inputs": inputs})
        _post(f"{datatype.lower()}_null", f"models/{datatype}/infer", {"inputs": [{**inputs[0], "data": [None, None]}, inputs[1]]})
        _post(f"{datatype.lower()}_missing", f"models/{datatype}/infer", {"inputs": inputs[:1]})
        array = (
            texts(b"a\0b", b"\xff").reshape(1, 2) if datatype == "BYTES" else np.array([[0, 1]], "uint16" if datatype == "BF16" else None)
        )
        if datatype not in ("BYTES", "BF16"):
            array = array.astype({"BOOL": "bool", "FP16": "float16", "FP32": "float32", "FP64": "float64"}.get(datatype, datatype.lower()))
        body, headers = binary_request([("b", datatype, array), ("a", datatype, array)], parameters={"binary_data_output": True})
        _post(f"{datatype.lower()}_binary", f"models/{datatype}/infer", body, headers)
    for name, data in {
        "negative": [-1, 0],
        "large": [2**64, 0],
        "fraction": [1.5, 0],
        "text": ["1", "2"],
        "whole_fraction": [1.0, 2.0],
    }.items():
        inputs = [{"name": each, "datatype": "UINT64", "shape": [1, 2], "data": data} for each in "ab"]
        _post(f"uint64_{name}", "models/UINT64/infer", {"inputs": inputs})
    for name, data in {"too_large": [128, 0], "too_small": [-129, 0], "edges": [-128, 127]}.items():
        inputs = [{"name": each, "datatype": "INT8", "shape": [1, 2], "data": data} for each in "ab"]
        _post(f"int8_{name}", "models/INT8/infer", {"inputs": inputs})
    inputs = [{"name": each, "datatype": "BOOL", "shape": [1, 2], "data": [1, 2]} for each in "ab"]
    _post("bool_of_numbers", "models/BOOL/infer", {"inputs": inputs})
    inputs = [{"name": each, "datatype": "FP16", "shape": [1, 2], "data": [1e9, -1e9]} for each in "ab"]
    _post("fp16_too_large", "models/FP16/infer", {"inputs": inputs})


def _binary() -> None:
    x = np.array([[1, 2]], np.float32)
    body, headers = binary_request([("x", "FP32", x)])
    path, key = "models/doubler/infer", "Inference-Header-Content-Length"
    _post("binary", path, body, headers)
    for name, value in {
        "long": str(len(body) + 1),
        "short": "3",
        "negative": "-1",
        "text": "many",
        "huge": "9" * 30,
        "plus": "+5",
        "empty": "",
        "whole": str(len(body)),
        "other_digits": "²",
    }.items():
        _post(f"binary_header_{name}", path, body, {key: value})
    _post("binary_more", path, body + b"more", headers)
    _post("binary_less", path, body[:-1], headers)
    _post("binary_without_header", path, body)
    for name, size in {"small": 4, "large": 9, "negative": -8, "text": "8", "fraction": 8.0, "boolean": True, "huge": 10**30}.items():
        head = json.dumps({"inputs": [_x(data=None, parameters={"binary_data_size": size})]}).encode()
        _post(f"binary_size_{name}", path, head + x.tobytes(), {key: str(len(head))})
    head = json.dumps({"inputs": [_x(parameters={"binary_data_size": 8})]}).encode()
    _post("binary_and_data", path, head + x.tobytes(), {key: str(len(head))})
    for name, raw in {
        "cut": struct.pack("<I", 100) + b"abc",
        "huge_length": struct.pack("<I", 2**32 - 1),
        "too_many": struct.pack("<I", 1) * 3,
        "none": b"",
    }.items():
        about = [{"name": each, "datatype": "BYTES", "shape": [1, 2], "parameters": {"binary_data_size": len(raw)}} for each in "ab"]
        head = json.dumps({"inputs": about}).encode()
        _post(f"bytes_binary_{name}", "models/BYTES/infer", head + raw * 2, {key: str(len(head))})
    raw_headers = {key: "0", "Content-Type": "application/octet-stream"}
    _post("raw", path, x.tobytes(), raw_headers)
    _post("raw_odd", path, x.tobytes() + b"\0", raw_headers)
    _post("raw_empty", path, b"", raw_headers)
    _post("raw_two_inputs", "models/INT8/infer", b"\0\1", raw_headers)
    _post("raw_json", "models/shout/infer", b'{"text": "raw"}', raw_headers)


def _codings() -> None:
    body = json.dumps({"inputs": [_x()]}).encode()
    path = "models/doubler/infer"
    _post("coding_gzip", path, gzip.compress(body, mtime=0), {"Content-Encoding": "gzip"})
    _post("coding_deflate", path, zlib.compress(body), {"Content-Encoding": "deflate"})
    _post("coding_deflate_bare", path, zlib.compress(body)[2:-4], {"Content-Encoding": "deflate"})
    _post("coding_identity", path, body, {"Content-Encoding": "identity"})
    _post("coding_upper_case", path, gzip.compress(body, mtime=0), {"Content-Encoding": "GZIP"})
    _post("coding_unknown", path, body, {"Content-Encoding": "br"})
    _post("coding_two", path, body, {"Content-Encoding": "gzip, deflate"})
    _post("coding_not_so", path, body, {"Content-Encoding": "gzip"})
    _post("coding_deflate_not_so", path, body, {"Content-Encoding": "deflate"})
    _post("coding_cut", path, gzip.compress(body, mtime=0)[:-12], {"Content-Encoding": "gzip"})
    _post("coding_more", path, gzip.compress(body, mtime=0) + b"more", {"Content-Encoding": "gzip"})
    _post("coding_empty", path, b"", {"Content-Encoding": "gzip"})
    _post("coding_bomb", path, gzip.compress(b" " * (4 << 20), mtime=0), {"Content-Encoding": "gzip"})
    _post("coding_usual_list_is_no_wish", path, body, {"Accept-Encoding": "gzip, deflate, br"})


def _classes() -> None:
    for name, count in {"two": 2, "many": 1000, "none": 0, "negative": -1, "text": "2", "boolean": True, "huge": 10**30}.items():
        outputs = [{"name": "y", "parameters": {"classification": count}}]
        _doubler(f"classes_{name}", _x(shape=[2, 3], data=[1, 3, 2, 5, 5, 5]), outputs=outputs)
    for datatype, data in {"INT8": [-3, 4], "BF16": [1.5, 2.5], "FP16": [0.25, 0.5], "BYTES": ["a", "b"], "BOOL": [True, False]}.items():
        inputs = [{"name": name, "datatype": datatype, "shape": [1, 2], "data": data} for name in "ab"]
        outputs = [{"name": "b_again", "parameters": {"classification": 2}}]
        _post(f"classes_{datatype.lower()}", f"models/{datatype}/infer", {"inputs": inputs, "outputs": outputs})
    body = b'{"inputs":[%s],"outputs":[{"name":"a_again","parameters":{"classification":3}}]}'
    about = b'{"name":"%s","datatype":"FP64","shape":[1,2],"data":[NaN,-Infinity]}'
    _post("classes_not_a_number", "models/FP64/infer", body % b",".join(about % each for each in (b"a", b"b")))


def _schedule() -> None:
    for key, values in {
        "priority": {"low": 5, "none": 0, "negative": -1, "text": "high", "huge": 2**64, "fraction": 1.5},
        "timeout": {"long": 60_000_000, "none": 0, "negative": -1, "text": "soon", "as_text": "60000000"},
        "sequence_id": {"number": 5, "name": "five", "negative": -1, "huge": 2**64, "fraction": 1.5, "none": 0},
        "sequence_start": {"text": "yes"},
    }.items():
        for name, value in values.items():
            parameters = {"sequence_id": 1, key: value} if key == "sequence_start" else {key: value}
            _doubler(f"{key}_{name}", _x(), parameters=parameters)


def _shared_memory() -> None:
    place = "systemsharedmemory/region/none"
    _doubler("memory_unknown", _x(data=None, parameters={"shared_memory_region": "none", "shared_memory_byte_size": 8}))
    _doubler("memory_nameless", _x(data=None, parameters={"shared_memory_region": 5, "shared_memory_byte_size": 8}))
    _doubler(
        "memory_output_unknown", _x(), outputs=[{"name": "y", "parameters": {"shared_memory_region": "none", "shared_memory_byte_size": 8}}]
    )
    _post("memory_register_nothing", f"{place}/register")
    _post("memory_register_no_such", f"{place}/register", {"key": "/hubserve_no_such", "offset": 0, "byte_size": 8})
    _post("memory_register_path", f"{place}/register", {"key": "/../etc/passwd", "offset": 0, "byte_size": 8})
    _post("memory_register_types", f"{place}/register", {"key": 5, "offset": "0", "byte_size": []})
    _post("memory_register_list", f"{place}/register", [])
    _post("memory_unregister_unknown", f"{place}/unregister")
    _post("memory_unregister_all", "systemsharedmemory/unregister")
    _post("memory_cuda_register", "cudasharedmemory/region/a/register", {"raw_handle": {"b64": "AA=="}, "device_id": 0, "byte_size": 8})
    _post("memory_cuda_unregister", "cudasharedmemory/unregister")


def _json_modules() -> None:
    path = "models/shout/infer"

    def ask(case: str, *elements: Any, **changes: Any) -> None:
        about = {"name": "arguments", "datatype": "BYTES", "shape": [len(elements)], "data": list(elements), **changes}
        _post(f"json_module_{case}", path, {"inputs": [about]})

    ask("called", '{"text": "grüß"}')
    ask("by_default", "{}")
    ask("not_json", "text")
    ask("list", "[]")
    ask("empty", "")
    ask("two", "{}", "{}")
    ask("none")
    ask("of_two_dimensions", '{"text": "a"}', shape=[1, 1])
    ask("datatype", 1, datatype="INT32")
    ask("name", "{}", name="x")
    body, headers = binary_request([("arguments", "BYTES", texts(b'{"text": "b"}'))], parameters={"binary_data_output": True})
    _post("json_module_binary", path, body, headers)
    body, headers = binary_request([("pictures", "BYTES", texts(b"no picture"))])
    _post("picture_that_is_none", "models/sizes/infer", body, headers)
    body, headers = binary_request([("x", "BYTES", texts(b"no picture"))])
    _post("picture_item_that_is_none", "models/doubler/infer", body, headers)
    _post("pictures_and_arguments", "models/sizes/infer", {
        "inputs": [{"name": name, "datatype": "BYTES", "shape": [1], "data": ["{}"]} for name in ("pictures", "arguments")]
    })  # fmt: skip


def _generate() -> None:
    for name, body in {
        "list": {"x": [1, 2]},
        "nested": {"x": [[1, 2], [3, 4]]},
        "scalar": {"x": 4},
        "text": {"x": "4"},
        "empty": {},
        "id": {"x": 1, "id": "seven"},
        "parameters": {"x": 1, "parameters": {"a": 1}, "b": "c"},
        "unknown_object": {"x": 1, "b": {}},
        "null": {"x": None},
        "ragged": {"x": [[1], [2, 3]]},
        "deep": {"x": [[[[1]]]]},
    }.items():
        _post(f"generate_{name}", "models/doubler/generate", body)
        _post(f"generate_stream_{name}", "models/doubler/generate_stream", body)
    _post("generate_not_json", "models/doubler/generate", b"x")
    _post("generate_unknown_model", "models/nobody/generate", {})
    _post("generate_json_module", "models/shout/generate", {"arguments": {"text": "hello"}})
    _post("generate_bytes", "models/BYTES/generate", {"a": ["p", "q"], "b": ["r", "s"]})


for _make in (
    _metadata,
    _json_inference,
    _documents,
    _every_datatype,
    _binary,
    _codings,
    _classes,
    _schedule,
    _shared_memory,
    _json_modules,
    _generate,
):
    _make()
