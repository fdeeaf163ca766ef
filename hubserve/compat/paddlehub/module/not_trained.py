"""The training methods of the base classes, which raise."""

from typing import Any

from paddlehub._training import refuse


class NotTrained:
    """Mixin of base classes whose models only infer here."""

    def training_step(self, *_args: Any, **_settings: Any) -> Any:
        """Raise: this is not supported here."""
        raise refuse(f"{type(self).__name__}.training_step")

    def validation_step(self, *_args: Any, **_settings: Any) -> Any:
        """Raise: this is not supported here."""
        raise refuse(f"{type(self).__name__}.validation_step")
