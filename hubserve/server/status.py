"""Report the server's status: ``GET /status`` and ``hub serving status``."""

from typing import Any

from hubserve import __version__
from hubserve.gateway.dataplane import DataPlane


def server_status(dataplane: DataPlane) -> dict[str, Any]:
    """Return ``{"hubserve": version, "modules": [...]}``."""
    return {"hubserve": __version__, "modules": [module.status() for module in dataplane]}
