"""Recognise PyTorch's files by their own entries: nothing is unpickled, so that a harmful file can do nothing.

``torch.save``, ``torch.jit.save``, ``torch.export.save`` and AOTInductor write the same kinds of zip, often under the same endings, and
older versions of the first write pickles one behind the other.
"""

import json
import pickletools
import zipfile
from pathlib import Path
from typing import IO, Iterator, List, NamedTuple, Optional, Set, Tuple

from hubserve.engines.torch_code import code_of
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


#: the longest header of a safetensors file that its own readers take
_LARGEST_HEADER_BYTES = 100_000_000
_EXPORT = "torch.export.save(torch.export.export(model.eval(), example_inputs), 'model.pt2')"
_CODE = (
    "Put the code of the model beside it, as model.py with its class (a subclass of torch.nn.Module), or export the model as a whole: "
    f"{_EXPORT}"
)
#: form -> description of a file that cannot be served, and advice
_WRONG = {
    "weights": ("weights only ({about}), without the model that computes with them", _CODE),
    "module": (
        "a whole module that torch.save pickled (class {about}): it needs its source code, and a pickle can run anything, so it was not "
        "opened",
        "Load it where its code is, and write its weights (safetensors.torch.save_model) beside its code in model.py, or export it: "
        f"{_EXPORT}",
    ),
    "object": ("an object that torch.save wrote (with {about}), not a model", f"Build the model from it, and export it: {_EXPORT}"),
    "sources": (
        "a package of AOTInductor with sources in place of compiled code",
        "Compile it where it is served, without aot_inductor.package_cpp_only",
    ),
}


class TorchFile(NamedTuple):
    """The content of a file.

    Attributes:
        form: "script", "export", "compiled" or "sources" (a package of AOTInductor), "weights", "module", "object" or "unknown".
        about: the class of a pickled module, or a few names of weights.
    """

    form: str
    about: str = ""


def look_at(path: Path) -> TorchFile:
    """Recognise the content of a PyTorch file. Never raises for a damaged or harmful one."""
    try:
        if path.suffix.lower() == ".safetensors":
            return _in_safetensors(path)
        if zipfile.is_zipfile(str(path)):
            found = _in_zip(path)
            # of an archive that is cut short, the zip within it that holds the example inputs is found
            return TorchFile("unknown") if path.suffix.lower() == ".pt2" and found.form in ("weights", "object", "module") else found
        with path.open("rb") as file:
            if file.read(len(_LEGACY)) != _LEGACY:
                return TorchFile("unknown")
            file.seek(0)
            for _ in range(_LEGACY_HEAD):
                _names(file)
            return _by_names(*_names(file))
    except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError):
        return TorchFile("unknown")


def check_file(path: Path) -> None:
    """Refuse a PyTorch file that cannot be served.

    Raises:
        LoadFailed: saying what it is, and what to do.
    """
    found = look_at(path)
    if found.form == "weights" and code_of(path) is not None:
        return
    if found.form in _WRONG:
        what, advice = _WRONG[found.form]
        raise LoadFailed(f"'{path.name}' cannot be served: it is {what.format(about=found.about)}. {advice}.")
    if found.form == "unknown" and path.suffix.lower() in (".pt2", ".safetensors"):
        kind = "archive of torch.export or AOTInductor" if path.suffix.lower() == ".pt2" else "safetensors file"
        raise LoadFailed(f"'{path}' is not a whole {kind}: it is damaged, cut short or empty. Export or copy the model again.")


def is_servable(path: Path) -> bool:
    """Return True for a PyTorch file that is a model, by its content: weights count only beside their code."""
    form = look_at(path).form
    return form in ("script", "export", "compiled") or (form == "weights" and code_of(path) is not None)


def _in_safetensors(path: Path) -> TorchFile:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= _LARGEST_HEADER_BYTES:
            return TorchFile("unknown")
        header = json.loads(file.read(length))
    names = [name for name in header if name != "__metadata__"] if isinstance(header, dict) else []
    return TorchFile("weights", _shown(names))


def _shown(names: List[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "") or "a tensor"


def _in_zip(path: Path) -> TorchFile:
    with zipfile.ZipFile(str(path)) as archive:
        names = [name.partition("/")[2] or name for name in archive.namelist()]
        if any(name.startswith("code/") for name in names) and "constants.pkl" in names:
            return TorchFile("script")
        if any(each == "serialized_exported_program.json" or each.startswith("models/") for each in names):
            return TorchFile("export")
        if any(each.startswith("data/aotinductor/") for each in names):
            return TorchFile("compiled" if any(each.endswith((".so", ".pyd", ".dll", ".dylib")) for each in names) else "sources")
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
