"""Describe hubserve's own pages for ``/openapi.json``."""

from hubserve.access.keys import Need
from hubserve.protocols.openapi.document import Document, answer, operation

_TAG = "server"


def describe_pages(document: Document) -> None:
    """Add the operations of the server's own pages."""
    document.tag(_TAG, "The server itself: health, metrics, status.")
    live = {"type": "object", "properties": {"live": {"type": "boolean"}}, "required": ["live"]}
    document.add("get", "/health/live", operation("live", "Is the server alive?", _TAG, {"200": answer("It is.", live)}), Need.OPEN)
    reasons = {"type": "object", "additionalProperties": {"type": "string"}}
    ready = {"type": "object", "properties": {"ready": {"type": "boolean"}, "not_ready": reasons}, "required": ["ready"]}
    responses = {
        "200": answer("Every module can answer.", ready),
        "503": answer("`not_ready` has the reason of each module that cannot.", ready),
    }
    document.add("get", "/health/ready", operation("ready", "Can every module answer?", _TAG, responses), Need.OPEN)
    modules = {"type": "array", "items": {"type": "object"}}
    status = {"type": "object", "properties": {"hubserve": {"type": "string"}, "modules": modules}}
    refused = {"type": "object", "properties": {"error": {"type": "string"}}}
    responses = {"200": answer("The state of each module.", status), **document.errors("Status", (403,), refused)}
    document.add("get", "/status", operation("status", "State of every module and its instances", _TAG, responses), Need.ADMIN)
