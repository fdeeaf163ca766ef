"""``paddlehub.compat.module.processor``."""

from typing import Any, Dict, List


class BaseProcessor:
    """Pre- and postprocessing of a module of PaddleHub 1; subclasses implement it."""

    def __init__(self, module: Any) -> None:
        """Take the module."""

    def configs(self) -> List[Dict[str, Any]]:
        """Accept no settings."""
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
