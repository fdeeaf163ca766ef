"""``paddlehub.compat.module.processor``."""

from typing import Any, Dict, List


class BaseProcessor:
    """Base class of the pre- and postprocessing of a module of PaddleHub 1."""

    def __init__(self, module: Any) -> None:
        """Accept the module."""

    def configs(self) -> List[Dict[str, Any]]:
        """Return the settings of the processor; none by default."""
        return []

    def preprocess(self, sign_name: str, data_dict: Dict[str, Any]) -> Any:
        """Turn a request into the model's inputs."""
        raise NotImplementedError(f"{type(self).__name__} has no preprocess method")

    def postprocess(self, sign_name: str, data_out: Any, data_info: Any, **settings: Any) -> Any:
        """Turn the model's outputs into an answer."""
        raise NotImplementedError(f"{type(self).__name__} has no postprocess method")

    def data_format(self, sign_name: str) -> Any:
        """Return the form of a request."""
        raise NotImplementedError(f"{type(self).__name__} has no data_format method")
