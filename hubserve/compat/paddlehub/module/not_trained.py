"""Steps of training, which every base class declares and none implements."""

from typing import Any

from paddlehub._training import refuse


class NotTrained:
    """For base classes of models that only infer here."""

    def training_step(self, *_args: Any, **_settings: Any) -> Any:
        """Not done here."""
        raise refuse(f"{type(self).__name__}.training_step")

    def validation_step(self, *_args: Any, **_settings: Any) -> Any:
        """Not done here."""
        raise refuse(f"{type(self).__name__}.validation_step")
