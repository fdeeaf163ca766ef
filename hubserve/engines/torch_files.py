"""Recognise PyTorch's files by their own entries: nothing is unpickled, so that a harmful file can do nothing.

``torch.save`` and ``torch.jit.save`` write the same kinds of zip under the same endings, and older ones write pickles one behind the other.
"""

import pickletools
import zipfile
from pathlib import Path
from typing import IO, Iterator, List, NamedTuple, Optional, Set, Tuple

from hubserve.errors import LoadFailed

#: how the first pickle of an older file begins: protocol 2, and torch's magic number
_LEGACY = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
#: pickles in front of the object in an older file: magic number, version, facts about the machine
_LEGACY_HEAD = 3
#: the modules whose functions rebuild a dict of tensors
_OF_TENSORS = ("torch", "torch._utils", "torch.storage", "torch.serialization", "torch.nn.parameter", "collections", "numpy")
_NAMES_READ = 200_000
#: it holds names and shapes; the weights are entries of their own
_LARGEST_PICKLE_BYTES = 64 << 20
_TEXTS = ("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8")


_MAKE = "torch.jit.save(torch.jit.script(model.eval()), 'model.pt')"
#: form -> the words for it in an error
_WRONG = {
    "weights": (
        "a state dict: weights only ({about}), without the model that computes with them. Load it into its model with "
        "model.load_state_dict(torch.load('{name}'))"
    ),
    "module": (
        "a whole module that torch.save pickled (class {about}), not TorchScript: it needs its source code, and a pickle can run anything, "
        "so it was not opened. Load it where its code is"
    ),
    "object": "an object that torch.save wrote (with {about}), not TorchScript. Build the model from it",
    "export": "an archive of torch.export, not TorchScript. Export the model again (torch.onnx.export gives ONNX, also served)",
}


class TorchFile(NamedTuple):
    """The content of a file.

    Attributes:
        form: "script", "export", "weights", "module", "object" or "unknown".
        about: the class of a pickled module, or a few names of weights.
    """

    form: str
    about: str = ""


def look_at(path: Path) -> TorchFile:
    """Recognise the content of a PyTorch file. Never raises for a damaged or harmful one."""
    try:
        if zipfile.is_zipfile(str(path)):
            return _in_zip(path)
        with path.open("rb") as file:
            if file.read(len(_LEGACY)) != _LEGACY:
                return TorchFile("unknown")
            file.seek(0)
            for _ in range(_LEGACY_HEAD):
                _names(file)
            return _by_names(*_names(file))
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        return TorchFile("unknown")


def check_script(path: Path) -> None:
    """Refuse a PyTorch file that is not TorchScript.

    Raises:
        LoadFailed: saying what it is, and how to make TorchScript of it.
    """
    found = look_at(path)
    wrong = _WRONG.get(found.form)
    if wrong is not None:
        raise LoadFailed(f"'{path.name}' is {wrong.format(about=found.about, name=path.name)}, and write TorchScript: {_MAKE}")


def _in_zip(path: Path) -> TorchFile:
    with zipfile.ZipFile(str(path)) as archive:
        names = [name.partition("/")[2] or name for name in archive.namelist()]
        if any(name.startswith("code/") for name in names) and "constants.pkl" in names:
            return TorchFile("script")
        if any(each in ("serialized_exported_program.json", "archive_format") or each.startswith("models/") for each in names):
            return TorchFile("export")
        pickled = next((name for name in archive.namelist() if name.endswith("data.pkl")), "")
        if not pickled:
            return TorchFile("unknown")
        if archive.getinfo(pickled).file_size > _LARGEST_PICKLE_BYTES:
            return TorchFile("unknown")
        with archive.open(pickled) as file:
            return _by_names(*_names(file))


def _names(file: "IO[bytes]") -> Tuple[List[Tuple[str, str]], List[str]]:
    """List the classes and functions that a pickle refers to, and its texts; its instructions are read but never executed."""
    referred: List[Tuple[str, str]] = []
    texts: List[str] = []
    for number, (operation, argument) in enumerate(_operations(file)):
        if operation in ("GLOBAL", "INST"):
            module, _, name = str(argument).partition(" ")
            referred.append((module, name))
        elif operation == "STACK_GLOBAL" and len(texts) >= 2:
            referred.append((texts[-2], texts[-1]))
        elif operation in _TEXTS:
            texts.append(str(argument))
        if number > _NAMES_READ:
            break
    return referred, texts


def _operations(file: "IO[bytes]") -> Iterator[Tuple[str, Optional[object]]]:
    for operation, argument, _ in pickletools.genops(file):
        yield operation.name, argument


def _by_names(referred: List[Tuple[str, str]], texts: List[str]) -> TorchFile:
    others = [f"{module}.{name}" for module, name in referred if module not in _OF_TENSORS and not name.endswith("Storage")]
    modules: Set[str] = {
        each for each in others if not each.startswith(("builtins.", "__builtin__.", "copyreg.", "copy_reg.", "argparse."))
    }
    names = [each for each in texts if "." in each and not each.startswith(("torch", "cpu", "cuda"))]
    if modules:
        first = next(iter(dict.fromkeys(others)))
        return TorchFile("module" if first in modules else "object", first)
    if not any(name.startswith("_rebuild") for _, name in referred):
        return TorchFile("object", "no tensors")
    shown = [each for each in dict.fromkeys(names or texts) if each not in ("storage", "cpu") and not each.isdigit()][:3]
    return TorchFile("weights", ", ".join(shown) + (", ..." if len(names) > 3 else "") or "a tensor")
