"""Table of protocols: one file and one row each."""

from importlib import import_module

from hubserve.errors import ConfigError
from hubserve.protocols.base import Context, Protocol

__all__ = ["PROTOCOLS", "Context", "Protocol", "covers", "create_protocols", "protocol_classes"]

#: name -> "package.module:Class"
PROTOCOLS = {
    "paddlehub": "hubserve.protocols.paddlehub:PaddleHubProtocol",
    "v2": "hubserve.protocols.open_inference.http.protocol:OpenInferenceProtocol",
    "tiinfer": "hubserve.protocols.tiinfer:TiinferProtocol",
    "gradio": "hubserve.protocols.gradio:GradioProtocol",
    "metrics": "hubserve.protocols.metrics:MetricsProtocol",
    "openapi": "hubserve.protocols.openapi.protocol:OpenApiProtocol",
}


def protocol_classes() -> dict[str, type[Protocol]]:
    """Return the class of every protocol in the table by its name.

    Raises:
        ConfigError: a prefix of one is covered by another's above it, which would answer in its place.
    """
    classes: dict[str, type[Protocol]] = {}
    owners: dict[str, str] = {}
    for name, target in PROTOCOLS.items():
        module, _, attribute = target.partition(":")
        cls = getattr(import_module(module), attribute)
        for prefix in cls.prefixes:
            for taken, owner in owners.items():
                if owner != name and covers(taken, prefix):
                    raise ConfigError(
                        f"the protocol '{name}' never gets a request for '{prefix}', because '{owner}', above it in PROTOCOLS, answers "
                        f"'{taken}'. Give one of them another prefix."
                    )
            owners.setdefault(prefix, name)
        classes[name] = cls
    return classes


def covers(prefix: str, path: str) -> bool:
    """Return True if a protocol with this prefix answers a path."""
    return path == prefix or (prefix.endswith("/") and path.startswith(prefix))


def create_protocols(context: Context) -> dict[str, Protocol]:
    """Create one object of every protocol in the table, by its name; each may describe itself in the context's ``describers``."""
    protocols = {name: cls(context) for name, cls in protocol_classes().items()}
    context.describers.extend(protocol.describe for protocol in protocols.values())
    return protocols
