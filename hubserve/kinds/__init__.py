"""The kinds of module: one file and one row each."""

from importlib import import_module
from pathlib import Path

from hubserve.errors import LoadFailed
from hubserve.kinds.base import Kind, LoadedModule, ModuleInfo
from hubserve.kinds.description import Interface

__all__ = ["KINDS", "Interface", "Kind", "LoadedModule", "ModuleInfo", "find_kind", "get_kind", "module_folder"]

#: name -> "package.module:Class", in the order in which they are tried on a folder
KINDS = {
    "paddlehub": "hubserve.kinds.paddlehub:PaddleHubKind",
    "tiinfer": "hubserve.kinds.tiinfer.kind:TiinferKind",
    "triton": "hubserve.kinds.triton.kind:TritonKind",
    "model": "hubserve.kinds.model_file:ModelKind",
}


def get_kind(name: str) -> Kind:
    """Return the kind of a name.

    Raises:
        LoadFailed: the name is unknown.
    """
    if name not in KINDS:
        raise LoadFailed(f"unknown module kind '{name}'; known kinds are {', '.join(KINDS)}")
    module, _, cls = KINDS[name].partition(":")
    kind: Kind = getattr(import_module(module), cls)()
    return kind


def find_kind(folder: Path) -> Kind:
    """Return the kind that recognises a folder or a model file.

    Raises:
        LoadFailed: no kind recognises it; the message says what each kind looks for.
    """
    if folder.is_file() and get_kind("model").recognises(folder):
        return get_kind("model")
    if not folder.is_dir():
        raise LoadFailed(f"'{folder}' is not a folder. Give the folder that holds the module's files.")
    kinds = [get_kind(name) for name in KINDS]
    for kind in kinds:
        if kind.recognises(folder):
            return kind
    wanted = "; ".join(f"{kind.name}: {kind.looks_for}" for kind in kinds)
    raise LoadFailed(f"'{folder}' is not a module of any known kind ({wanted})")


def module_folder(path: Path) -> Path:
    """Return the module folder of a path: a kind's main file, such as ``module.py``, stands for its folder."""
    is_main = path.is_file() and any(path.name == get_kind(name).main_file for name in KINDS)
    return path.parent if is_main else path
