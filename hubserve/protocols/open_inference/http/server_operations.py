"""Describe the protocol's paths about the server for ``/openapi.json``."""

from hubserve.access.keys import Need
from hubserve.protocols.open_inference.http.operation_parts import NAME, SERVER_TAG, a_list, an_object
from hubserve.protocols.openapi.document import Document, answer, operation

_FLAG = {"type": "boolean"}


def describe_server(document: Document) -> None:
    """Add the operations that concern no model, or all of them."""
    document.tag(SERVER_TAG, "The Open Inference Protocol (v2), as Triton and KServe have it: health and metadata of the server.")
    metadata = an_object(name=NAME, version=NAME, extensions=a_list(NAME))
    document.add(
        "get", "/v2", operation("v2_server_metadata", "Metadata of the server", SERVER_TAG, {"200": answer("It.", metadata)}), Need.METADATA
    )
    live = {"200": answer("It is.", an_object(live=_FLAG))}
    document.add("get", "/v2/health/live", operation("v2_live", "Is the server alive?", SERVER_TAG, live), Need.OPEN)
    ready = {"200": answer("It is.", an_object(ready=_FLAG)), "400": answer("`error` says why not.", an_object(ready=_FLAG, error=NAME))}
    document.add("get", "/v2/health/ready", operation("v2_ready", "Is every model ready?", SERVER_TAG, ready), Need.OPEN)
    statistics = {"200": answer("Counts and times of each model.", statistics_schema(document))}
    document.add("get", "/v2/models/stats", operation("v2_statistics", "Statistics of every model", SERVER_TAG, statistics), Need.METADATA)


def statistics_schema(document: Document) -> dict[str, str]:
    """Return the schema of statistics."""
    schema = an_object(model_stats=a_list({"type": "object"}))
    return document.component("schemas", "ModelStatistics", schema)
