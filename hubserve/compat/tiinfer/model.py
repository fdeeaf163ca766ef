"""The base class of inference scripts."""

from typing import Any

__all__ = ["Model"]


class Model:
    """Base of scripts: each method but ``load`` gets what the one before returned; one that is not overridden passes it on.

    Args:
        model_dir: the folder of the script, absolute.
    """

    def __init__(self, model_dir: str = "") -> None:
        self.model_dir = model_dir

    def __call__(self, request: Any) -> Any:
        """Answer one request, or a list of requests that are computed together."""
        return self.postprocess(self.predict(self.preprocess(request)))

    def load(self) -> bool:
        """Load the model; return False if that fails."""
        return True

    def preprocess(self, request: Any) -> Any:
        """Prepare a request."""
        return request

    def predict(self, request: Any) -> Any:
        """Compute the model."""
        return request

    def postprocess(self, request: Any) -> Any:
        """Turn the outputs into the answer."""
        return request
