"""``paddlehub.compat.module.module_v1``: modules described by a ``module_desc.pb``, which are not supported here."""

from typing import Any

from hubserve.errors import LoadFailed


class ModuleV1:
    """Placeholder for a module of PaddleHub 1.0 to 1.5."""

    def __init__(self, *_args: Any, **_settings: Any) -> None:
        raise LoadFailed(
            "modules described by a module_desc.pb are from before PaddleHub 1.6 and cannot be run here; take a newer version of it"
        )
