"""The protocols: one file and one row each."""

from importlib import import_module

from hubserve.protocols.admission import Admission
from hubserve.protocols.base import Protocol
from hubserve.serving.dataplane import DataPlane
from hubserve.settings import ServerSettings

__all__ = ["PROTOCOLS", "Protocol", "create_protocols"]

#: name -> "package.module:Class"
PROTOCOLS = {
    "paddlehub": "hubserve.protocols.paddlehub:PaddleHubProtocol",
}


def create_protocols(dataplane: DataPlane, settings: ServerSettings) -> list[Protocol]:
    """One object of every protocol in the table."""
    admission = Admission(settings.max_concurrency, settings.max_pending_bytes)
    created = []
    for target in PROTOCOLS.values():
        module, _, cls = target.partition(":")
        created.append(getattr(import_module(module), cls)(dataplane, settings, admission))
    return created
