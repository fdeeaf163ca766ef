"""Table of protocols: one file and one row each."""

from importlib import import_module

from hubserve.protocols.base import Context, Protocol

__all__ = ["PROTOCOLS", "Context", "Protocol", "create_protocols", "protocol_classes"]

#: name -> "package.module:Class"
PROTOCOLS = {
    "paddlehub": "hubserve.protocols.paddlehub:PaddleHubProtocol",
    "v2": "hubserve.protocols.open_inference.http.protocol:OpenInferenceProtocol",
    "gradio": "hubserve.protocols.gradio:GradioProtocol",
}


def protocol_classes() -> list[type[Protocol]]:
    """Return the class of every protocol in the table."""
    targets = [target.partition(":") for target in PROTOCOLS.values()]
    return [getattr(import_module(module), cls) for module, _, cls in targets]


def create_protocols(context: Context) -> list[Protocol]:
    """Create one object of every protocol in the table."""
    return [cls(context) for cls in protocol_classes()]
