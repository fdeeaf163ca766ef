"""Parts that the descriptions of the protocol's paths for ``/openapi.json`` share."""

from typing import Any
from urllib.parse import quote

from hubserve.protocols.openapi.document import Document

SERVER_TAG, ADMIN_TAG = "v2 server", "v2 administration"

NAME = {"type": "string"}
PARAMETERS = {
    "type": "object",
    "description": "Texts, numbers and booleans.",
    "additionalProperties": True,
}
_ERROR = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}


def segment(name: str) -> str:
    """Return a name for a path."""
    return quote(name, safe="")


def errors(document: Document, *statuses: int) -> dict[str, Any]:
    """Return the responses of the protocol's errors."""
    return document.errors("OpenInference", statuses, document.component("schemas", "OpenInferenceError", _ERROR))


def an_object(description: str = "", **properties: Any) -> dict[str, Any]:
    """Return the schema of an object that has all these properties."""
    made: dict[str, Any] = {"type": "object", "properties": properties, "required": list(properties)}
    return {**made, "description": description} if description else made


def a_list(items: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a list."""
    return {"type": "array", "items": items}
