"""Check, load and unload other models of the same server."""

from typing import Any, Dict, Optional, Sequence

from hubserve.errors import HubError
from hubserve.kinds.raw_requests import current_host
from hubserve.kinds.triton.api.errors import TritonModelException
from hubserve.kinds.triton.api.texts import text_of


def is_model_ready(model_name: str, model_version: str = "") -> bool:
    """Return True if a model of the same server can answer."""
    return bool(_ask("is_ready", {"name": text_of(model_name), "version": text_of(model_version)}))


def load_model(model_name: str, config: str = "", files: Optional[Dict[str, bytes]] = None) -> None:
    """Load a model from the server's model repository.

    Args:
        model_name: the model's.
        config: a configuration as a JSON text, in place of the repository's; "" for the repository's.
        files: "file:<path>" to content, in place of the model's folder.
    Raises:
        TritonModelException: it cannot be loaded.
    """
    named = files or {}
    _ask(
        "load",
        {"name": text_of(model_name), "config": text_of(config or ""), "files": [text_of(each) for each in named]},
        list(named.values()),
    )


def unload_model(model_name: str, unload_dependents: bool = False) -> None:
    """Unload a model.

    Args:
        model_name: the model's.
        unload_dependents: also unload the models of its steps.
    Raises:
        TritonModelException: it cannot be unloaded.
    """
    _ask("unload", {"name": text_of(model_name), "unload_dependents": bool(unload_dependents)})


def _ask(what: str, arguments: Dict[str, Any], buffers: Sequence[bytes] = ()) -> Any:
    host = current_host()
    if host is None:
        raise TritonModelException("this process has no server with other models")
    try:
        return host.ask(what, arguments, buffers)
    except HubError as error:
        raise TritonModelException(error.message) from error
