"""The OpenAPI document of one server, to which protocols add their operations."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from hubserve import __version__
from hubserve.access.keys import Need
from hubserve.gateway.dataplane import ServedModule
from hubserve.protocols.openapi.reader import Reader
from hubserve.protocols.openapi.texts import line, plain

#: what the tools of the ecosystem read best; see docs/adr/0051-openapi-3-0-from-signatures.md
VERSION = "3.0.3"
JSON, TEXT, BINARY, EVENTS, FORM = "application/json", "text/plain", "application/octet-stream", "text/event-stream", "multipart/form-data"
#: HTTP status -> why a server answers with it
REASONS: Mapping[int, str] = {
    400: "The request cannot be used; the message says what was expected and what came.",
    401: "The request has no key, or an unknown or expired one.",
    403: "The client may not do this.",
    404: "There is nothing of that name here.",
    405: "The path does not take this method.",
    408: "The request's body came too slowly.",
    409: "The request does not say which of several is meant.",
    413: "The request or its answer is larger than this server's limits.",
    415: "The content type or coding is not one that is taken here.",
    429: "Too many requests wait already; try again later.",
    500: "The module failed; the message says how.",
    501: "This server or this module does not offer that.",
    503: "The module is not available, or the server is busy; try again later.",
    504: "The request's time ran out.",
}
_RETRIED = (429, 503)
_SECURITY_SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key that `hub access create` has made: hsk_..."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key."},
}
_REFUSAL = {
    "type": "object",
    "description": "Why the key was refused, in the words of both protocols.",
    "properties": {each: {"type": "string"} for each in ("status", "msg", "results", "error")},
}
_NO_NAME = re.compile(r"[^0-9A-Za-z]+")


class DescribedModule(NamedTuple):
    """One served module in the document.

    Attributes:
        name: as served.
        id: of letters, digits and underscores, unlike that of any other module.
        module: that answers by the name.
        versions: all that are loaded, by version, each under an id of its own; empty if there is only one.
    """

    name: str
    id: str
    module: ServedModule
    versions: Mapping[str, "DescribedModule"]


class Document:
    """The document while it is put together.

    Args:
        modules: that the reader of the document may use, by name; those that are loaded.
        reader: what it may use.
        base_path: under which the server's paths begin, such as "/ml"; "" for none.

    Attributes:
        modules: the modules.
        reader: what the reader may use.
    """

    def __init__(self, modules: Mapping[str, Sequence[ServedModule]], reader: Reader, base_path: str = "") -> None:
        self.reader = reader
        self.modules = _with_ids(modules)
        self._base_path = base_path
        self._tags: dict[str, str] = {}
        self._paths: dict[str, dict[str, Any]] = {}
        self._components: dict[str, dict[str, Any]] = {"schemas": {}, "responses": {}, "parameters": {}}

    def tag(self, name: str, description: str) -> None:
        """Describe a group of operations; the first description of a group stays."""
        self._tags.setdefault(name, description)

    def tag_of(self, described: DescribedModule) -> str:
        """Return the group of a module's operations."""
        name, info = line(described.name), described.module.plan.info
        self.tag(name, " ".join(filter(None, (plain(info.summary), f"(version {plain(info.version)})" if info.version else ""))))
        return name

    def component(self, section: str, name: str, value: dict[str, Any]) -> dict[str, str]:
        """Add something that operations share, once; return the reference to it.

        Args:
            section: "schemas", "responses" or "parameters".
            name: of letters, digits, ``.``, ``-`` and ``_``.
            value: the component.
        """
        self._components[section].setdefault(name, value)
        return {"$ref": f"#/components/{section}/{name}"}

    def errors(self, prefix: str, statuses: Sequence[int], schema: dict[str, Any], media: str = JSON) -> dict[str, Any]:
        """Return the responses of errors.

        Args:
            prefix: distinguishes the protocol's responses from those of others.
            statuses: HTTP statuses; those without a reason are left out.
            schema: of their bodies.
            media: content type of their bodies.
        """
        return {
            str(status): self.component("responses", f"{prefix}{status}", _error(status, schema, media))
            for status in sorted(set(statuses))
            if status in REASONS
        }

    def add(self, method: str, path: str, operation: dict[str, Any], need: Need, module: str = "") -> None:
        """Add an operation, unless the reader may not use it.

        Args:
            method: of HTTP, in lower case.
            path: begins with a slash; names in it are percent-encoded.
            operation: OpenAPI's Operation Object.
            need: what it needs a key to permit.
            module: that it asks; "" for none.
        """
        if not self.reader.may(need, module):
            return
        if self.reader.has_key and need is Need.OPEN:
            operation["security"] = []
        elif self.reader.has_key:
            refused = self.errors("Key", (401, 403, 429), self.component("schemas", "KeyRefused", _REFUSAL))
            operation["responses"] = {**refused, **operation["responses"]}
        self._paths.setdefault(path, {})[method] = operation

    def to_json(self) -> dict[str, Any]:
        """Return the complete document."""
        components = {section: values for section, values in self._components.items() if values}
        if self.reader.has_key:
            components["securitySchemes"] = _SECURITY_SCHEMES
        used = {name for path in self._paths.values() for each in path.values() for name in each["tags"]}
        return {
            "openapi": VERSION,
            "info": {
                "title": "hubserve",
                "description": "Everything that this server serves now. Examples can be sent as they are.",
                "version": __version__,
                "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
            },
            "servers": [{"url": self._base_path or "."}],  # ".": a proxy may publish the server under a path without saying so
            "tags": [{"name": name, "description": text} if text else {"name": name} for name, text in self._tags.items() if name in used],
            "paths": self._paths,
            "components": components,
            **({"security": [{name: []} for name in _SECURITY_SCHEMES]} if self.reader.has_key else {}),
        }


def operation(
    operation_id: str,
    summary: str,
    tag: str,
    responses: dict[str, Any],
    *,
    description: str = "",
    parameters: Sequence[dict[str, Any]] = (),
    content: Mapping[str, Any] | None = None,
    needs_body: bool = True,
) -> dict[str, Any]:
    """Return OpenAPI's Operation Object.

    Args:
        operation_id: unlike that of any other operation.
        summary: a few words.
        tag: its group.
        responses: by status.
        description: Markdown.
        parameters: besides the body.
        content: of the body, by content type; None for none.
        needs_body: whether a body must be sent, if it has one.
    """
    made: dict[str, Any] = {"operationId": operation_id, "summary": summary, "tags": [tag]}
    if description:
        made["description"] = description
    if parameters:
        made["parameters"] = list(parameters)
    if content:
        made["requestBody"] = {"required": needs_body, "content": dict(content)}
    made["responses"] = responses
    return made


def answer(description: str, schema: dict[str, Any] | None = None, media: str = JSON) -> dict[str, Any]:
    """Return OpenAPI's Response Object; without a schema its body is empty."""
    return {"description": description} if schema is None else {"description": description, "content": {media: {"schema": schema}}}


def with_examples(schema: dict[str, Any], examples: Mapping[str, tuple[str, Any]]) -> dict[str, Any]:
    """Return OpenAPI's Media Type Object.

    Args:
        schema: of the body.
        examples: name -> summary and value; a value of None is left out.
    """
    known = {name: {"summary": text, "value": value} for name, (text, value) in examples.items() if value is not None}
    return {"schema": schema, **({"examples": known} if known else {})}


def _error(status: int, schema: dict[str, Any], media: str) -> dict[str, Any]:
    made = answer(REASONS[status], schema, media)
    if status in _RETRIED:
        made["headers"] = {"Retry-After": {"description": "Seconds after which to try again.", "schema": {"type": "integer"}}}
    return made


def _with_ids(modules: Mapping[str, Sequence[ServedModule]]) -> list[DescribedModule]:
    """Name modules and their versions by what programming languages can use as identifiers."""
    taken: set[str] = set()

    def new_id(name: str) -> str:
        base = _NO_NAME.sub("_", name).strip("_") or "module"
        number, made = 1, base
        while made.replace("_", "").lower() in taken:  # generators of clients change underscores and case as a language wants
            number += 1
            made = f"{base}_{number}"
        taken.add(made.replace("_", "").lower())
        return made

    described = []
    for name, loaded in modules.items():
        own_id, versions = new_id(name), {}
        for each in loaded if len(loaded) > 1 else ():
            version = each.plan.info.version
            versions[version] = DescribedModule(name, new_id(f"{name}_version_{version}"), each, {})
        described.append(DescribedModule(name, own_id, loaded[-1], versions))
    return described
