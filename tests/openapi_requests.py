"""Every request that an OpenAPI document has an example of."""

import base64
import json
from collections.abc import Iterator
from typing import Any, NamedTuple
from urllib.parse import quote

import requests


class ExampleRequest(NamedTuple):
    """One request: ``options`` are those of ``requests.request``."""

    name: str
    method: str
    path: str
    options: dict[str, Any]

    def send(self, address: str) -> requests.Response:
        return requests.request(self.method, address + self.path, timeout=60, **self.options)


def example_requests(document: dict[str, Any]) -> Iterator[ExampleRequest]:
    """Yield all of them, in the document's order; an operation without a body has one."""
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield from _of_operation(document, method, path, operation)


def resolve(document: dict[str, Any], value: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference."""
    if "$ref" not in value:
        return value
    for key in value["$ref"].removeprefix("#/").split("/"):
        document = document[key]
    return document


def _of_operation(document: dict[str, Any], method: str, path: str, operation: dict[str, Any]) -> Iterator[ExampleRequest]:
    headers = {}
    for each in operation.get("parameters", []):
        parameter = resolve(document, each)
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", quote(parameter["example"], safe=""))
        elif "example" in parameter:
            headers[parameter["name"]] = parameter["example"]
    name = operation["operationId"]
    if "requestBody" not in operation:
        yield ExampleRequest(name, method, path, {"headers": headers})
        return
    for media, content in operation["requestBody"]["content"].items():
        for key, example in content.get("examples", {}).items():
            for form, options in _bodies(media, example):
                yield ExampleRequest(
                    f"{name}/{media}/{key}/{form}", method, path, {**options, "headers": {**headers, **options["headers"]}}
                )


def _bodies(media: str, example: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    if "externalValue" in example:
        head, _, encoded = example["externalValue"].partition(";base64,")
        yield "bytes", {"data": base64.b64decode(encoded), "headers": {"Content-Type": head.removeprefix("data:")}}
    elif media == "application/json":
        yield "json", {"data": json.dumps(example["value"]), "headers": {"Content-Type": media}}
    elif media == "multipart/form-data":
        fields = [(key, each) for key, value in example["value"].items() for each in (value if isinstance(value, list) else [value])]
        texts = [(key, (None, each if isinstance(each, str) else json.dumps(each))) for key, each in fields]
        yield "texts", {"files": texts, "headers": {}}
        files = [
            (key, ("picture.png", base64.b64decode(each)) if _is_picture(each) else (None, text[1]))
            for (key, each), (_, text) in zip(fields, texts, strict=True)
        ]
        yield "files", {"files": files, "headers": {}}
    else:
        raise AssertionError(f"no way to send an example of {media}")


def _is_picture(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("iVBORw0KGgo")
