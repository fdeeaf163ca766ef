"""Paths on the machine, or in the container, that will serve."""

from typing import NamedTuple


class Places(NamedTuple):
    """Paths on the machine, or in the container, that will serve.

    Attributes:
        app: the virtual environment of hubserve.
        home: the home (``HUB_HOME``).
        config: the configuration file.
        models: model stores, and models that are served from their folders.
        bundles: what ``hub install`` installs.
        secrets: certificates, keys and key files, which are never part of an image.
        data: logs and traces.
        sockets: sockets that the server makes.
    """

    app: str
    home: str
    config: str
    models: str
    bundles: str
    secrets: str
    data: str
    sockets: str


CONTAINER = Places(
    app="/opt/hubserve",
    home="/srv/hubserve/home",
    config="/srv/hubserve/config.json",
    models="/srv/hubserve/models",
    bundles="/srv/hubserve/modules",
    secrets="/run/secrets/hubserve",
    data="/srv/hubserve/data",
    sockets="/srv/hubserve/data",
)
