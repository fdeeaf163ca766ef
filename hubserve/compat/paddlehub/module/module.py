"""``paddlehub.module.module``: the decorators, and ``Module``, which is a base class and a loader."""

import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional

from paddlehub.module.run_module import RunModule

from hubserve.errors import LoadFailed, ModuleNotFound
from hubserve.kinds.paddlehub import PaddleHubKind
from hubserve.kinds.versions import current_version, flat_folder, installed_versions, satisfies, source_folders
from hubserve.module import SEARCH_PATH_VARIABLE, runnable, serving
from hubserve.module import moduleinfo as _moduleinfo

__all__ = ["InvalidHubModule", "Module", "RunModule", "moduleinfo", "runnable", "serving"]


class InvalidHubModule(LoadFailed):
    """A folder is not a module."""


def moduleinfo(
    name: str,
    version: str,
    author: str = "",
    author_email: str = "",
    summary: str = "",
    type: str = "",  # noqa: A002 - the published name of the argument
    meta: Any = None,
) -> Callable[[type], type]:
    """Name a class as the module of its file, and make ``meta``, or else :class:`RunModule`, one of its bases."""
    return _moduleinfo(name, version, author, author_email, summary, type, RunModule if meta is None else meta)


class Module:
    """Base class of published modules; a call of the class itself loads one.

    ``Module(name="lac")`` or ``Module(directory="./lac")`` returns the constructed module of that name or folder; the name takes
    precedence. ``version`` is a version, or a condition such as ``">=1.1"``. Further keyword arguments are passed to its constructor, or
    its ``_initialize``. Nothing is downloaded: ``source``, ``update``, ``branch`` and ``ignore_env_mismatch`` are accepted without effect.
    """

    def __new__(
        cls,
        *args: Any,  # of subclasses
        name: Optional[str] = None,
        directory: Any = None,
        version: Optional[str] = None,
        **kwargs: Any,
    ) -> Any:
        """Load a module if called on this class itself, else construct an object as usual."""
        if cls is not Module:
            return super().__new__(cls)
        if args:
            raise TypeError(f"Module() takes keyword arguments only: Module(name={args[0]!r}) or Module(directory={args[0]!r})")
        source = kwargs.pop("source", None)
        for ignored in ("update", "branch", "ignore_env_mismatch"):
            kwargs.pop(ignored, None)
        if not name and not directory:
            raise TypeError("Module() needs name= of an installed module, or directory= of a module's folder")
        return _load_installed(name, version, source, kwargs) if name else _load(Path(directory).absolute(), kwargs)

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ARG002 - as above
        """Store the folder, the only argument for subclasses of the old form."""
        directory = kwargs.pop("directory", None)
        if directory is not None:
            self.directory = str(directory)


def _load_installed(name: str, version: Optional[str], source: Optional[str], init_args: Dict[str, Any]) -> Any:
    folder_name = name.replace("-", "_")
    versions = installed_versions(folder_name)
    fitting = [folder for each, folder in versions.items() if satisfies(each, version or "")]
    current = current_version(folder_name)
    if fitting:
        return _load(current if current in fitting else fitting[-1], init_args, folder_name)
    flat = flat_folder(folder_name)
    if flat is not None and satisfies(PaddleHubKind().describe(flat).version, version or ""):
        return _load(flat, init_args, folder_name)
    if versions or flat:
        installed = ", ".join(versions) or PaddleHubKind().describe(flat).version  # type: ignore[arg-type]  # it is one or the other
        raise ModuleNotFound(
            f"module '{name}' is installed as {installed}, and {version} was requested. Install that version with 'hub install'"
        )
    where = f" from {source}" if source else ""
    raise ModuleNotFound(f"module '{name}' is not installed, and nothing is downloaded here; install it{where} with 'hub install'")


def _load(folder: Path, init_args: Dict[str, Any], import_name: str = "") -> Any:
    kind = PaddleHubKind()
    if not kind.recognises(folder):
        raise InvalidHubModule(f"'{folder}' is not a valid module: it holds {kind.looks_for.replace('a ', 'no ', 1)}")
    with _searched(source_folders(folder)):
        return kind.load(folder, import_name or folder.name, init_args, {}).module


@contextmanager
def _searched(folders: List[Path]) -> Iterator[None]:
    """Look up relative model paths in these folders too, as in an instance, inside the ``with`` block."""
    before = os.environ.get(SEARCH_PATH_VARIABLE, "")
    os.environ[SEARCH_PATH_VARIABLE] = os.pathsep.join([*before.split(os.pathsep), *map(str, folders)]).strip(os.pathsep)
    try:
        yield
    finally:
        os.environ[SEARCH_PATH_VARIABLE] = before
