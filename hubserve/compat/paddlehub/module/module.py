"""``paddlehub.module.module``: the decorators, and ``Module``, which is both base class and loader."""

from pathlib import Path
from typing import Any, Dict, Optional

from hubserve.errors import ModuleNotFound
from hubserve.home import modules_dir
from hubserve.kinds.packages import current_version
from hubserve.kinds.paddlehub import PaddleHubKind
from hubserve.module import moduleinfo, runnable, serving

__all__ = ["Module", "RunModule", "moduleinfo", "runnable", "serving"]


class Module:
    """The base class of published modules; called itself, it loads one.

    ``Module(name="lac")`` or ``Module(directory="./lac")`` gives the constructed module of that name or folder. Further keyword
    arguments reach its constructor, or its ``_initialize``.
    """

    def __new__(
        cls,
        *args: Any,  # noqa: ARG004 - subclasses take what they like
        name: Optional[str] = None,
        directory: Any = None,
        version: Optional[str] = None,
        **kwargs: Any,
    ) -> Any:
        """Load a module if called on this class itself; else make an object as any class does."""
        if cls is not Module:
            return super().__new__(cls)
        for ignored in ("source", "update", "branch", "ignore_env_mismatch"):
            kwargs.pop(ignored, None)
        return _load(name, directory, version, kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002 - as above
        """Keep the folder; subclasses of the old form are given nothing else here."""
        directory = kwargs.pop("directory", None)
        if directory is not None:
            self.directory = str(directory)

    @property
    def is_runnable(self) -> bool:
        """Whether ``hub run`` works."""
        return any(getattr(getattr(type(self), name, None), "_runnable", False) for name in dir(type(self)))


RunModule = Module


def _load(name: Optional[str], directory: Any, version: Optional[str], init_args: Dict[str, Any]) -> Any:
    if name:
        folder = (
            current_version(name.replace("-", "_")) if version is None else (modules_dir() / name.replace("-", "_") / version).resolve()
        )
        if folder is None or not folder.is_dir():
            raise ModuleNotFound(f"module '{name}' {version or ''} is not installed; install it with 'hub install'")
    else:
        folder = Path(directory).absolute()
    kind = PaddleHubKind()
    import_name = name.replace("-", "_") if name else folder.name
    return kind.load(folder, import_name, init_args, {}).module
