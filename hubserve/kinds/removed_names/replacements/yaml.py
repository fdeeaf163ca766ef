"""Removed defaults of PyYAML."""

import inspect
from typing import Any, Callable, Optional


def load(original: Callable[..., Any], note: Callable[[], None]) -> Optional[Callable[..., Any]]:
    """Wrap a function to default to the loader of PyYAML 5; None if PyYAML still has a default."""
    loader = inspect.signature(original).parameters.get("Loader")
    if loader is None or loader.default is not loader.empty:
        return None

    def replacement(stream: Any, Loader: Any = None) -> Any:  # noqa: N803 - as PyYAML has it
        if Loader is None:
            import yaml

            note()
            Loader = yaml.FullLoader  # noqa: N806
        return original(stream, Loader)

    return replacement
