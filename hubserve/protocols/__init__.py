"""The protocols: one file and one row each."""

from importlib import import_module

from hubserve.protocols.admission import Admission
from hubserve.protocols.base import Protocol
from hubserve.serving.dataplane import DataPlane
from hubserve.settings import ServerSettings

__all__ = ["PROTOCOLS", "Protocol", "create_protocols", "protocol_classes"]

#: name -> "package.module:Class"
PROTOCOLS = {
    "paddlehub": "hubserve.protocols.paddlehub:PaddleHubProtocol",
}


def protocol_classes() -> list[type[Protocol]]:
    """The class of every protocol in the table."""
    targets = [target.partition(":") for target in PROTOCOLS.values()]
    return [getattr(import_module(module), cls) for module, _, cls in targets]


def create_protocols(dataplane: DataPlane, settings: ServerSettings) -> list[Protocol]:
    """One object of every protocol in the table."""
    admission = Admission(settings.max_concurrency, settings.max_pending_bytes)
    return [cls(dataplane, settings, admission) for cls in protocol_classes()]
