"""Translate the engines' exceptions into errors that say what happened, why, and what to do."""

import re
from contextlib import contextmanager
from typing import Dict, Iterator, Tuple

import numpy as np

from hubserve.engines.base import ModelFiles
from hubserve.errors import HubError, LoadFailed, ModuleFailed, OutOfMemory

_REASON_CHARACTERS = 300
#: the share that the beginning keeps of a reason that is too long: the last words say most
_KEPT_AT_BEGINNING = 100
#: Paddle puts its summary behind a long C++ traceback
_SUMMARY = "Error Message Summary:"
_NOISE = ("---", "Traceback", "Exception from", "Check ", "C++", "~", "^", "[Hint:", "[operator", "File ", "To facilitate the conversion")
#: ``[ONNXRuntimeError] : 1 : FAIL :``
_ONNX_RUNTIME = re.compile(r"^\[ONNXRuntimeError\] : \d+ : (\w+) : ")
_ONNX_LOADING = re.compile(r"^(?:Load model from .+? failed:|Exception during (?:loading|initialization): |This is an invalid model\. )")
_PLACE = re.compile(r"\s*\(?(?:at )?/[^\s:()]+\.(?:cc|cpp|cu|h|hpp):\d+\)?")
#: PyTorch's advice to those who wrote the file with it, behind its reason
_ADVICE_OF_TORCH = re.compile(r"\. This is an internal miniz error.*")
_OPERATOR = re.compile(r"\[operator < (\w+) > error\]")
_NO_MEMORY = re.compile(
    r"out of memory|ResourceExhausted|bad_alloc|[Ff]ailed to allocate|can't allocate memory|not enough memory", re.IGNORECASE
)
#: engines that free all memory of a computation that failed
_RECOVERING = ("pytorch", "tensorflow")
_DAMAGED = "The files may be damaged, cut short or not belong together: export or copy the model again."
#: an engine's words when it cannot load a model -> the remedy; the first match counts
_LOADING: Tuple[Tuple[str, str], ...] = (
    (
        r"is till opset|IR version|opset \d+ is under development|Unsupported opset",
        "The model was exported for a newer engine than is installed here: upgrade it (pip install --upgrade {package}), or export the "
        "model again for an older opset (opset_version in most exporters).",
    ),
    (
        r"not a registered function|No Op registered|No opset import|not supported operation|OpConversionFailure|no conversion rule|"
        r"Unknown builtin op|Could not find an implementation|NOT_IMPLEMENTED|not registered|Cannot find the operator",
        "The model uses an operator that this engine lacks: use another engine (hub engines lists them) or a newer one, or export the "
        "model without it.",
    ),
    (
        r"locale",
        "The model changes the case of texts by the rules of a language that this system lacks: install it (such as: apt-get install "
        "locales && locale-gen en_US.UTF-8), or export the model with the locale C.",
    ),
    (
        r"request gpu-?\d+ out of valid range",
        "The model was dumped for a GPU, and MegEngine finds none here: dump it again with megengine.set_default_device('xpux'), which "
        "lets it run anywhere, or serve it where there is a GPU (use_gpu).",
    ),
    (
        r"unsupport dtype in lite",
        "MegEngine Lite has no such datatype: let the network convert it inside, such as booleans to int32, and dump it again.",
    ),
    (_NO_MEMORY.pattern, "There is too little memory: end other instances, or serve fewer (workers)."),
    (
        r"No such file|doesn't exist|NO_SUCHFILE|Cannot open file|could not be opened|filesystem error|weights? file",
        "A file of the model is missing: copy all of its files into one folder, under the names that they were exported with.",
    ),
    (
        r"not in this model|initializer .* (?:found|exist)|type mismatch|Type Error|Invalid model|ShapeInferenceError|shape inference",
        "The model contradicts itself: export it again, and check the file with onnx.checker.check_model.",
    ),
)
#: the same, when it cannot compute
_COMPUTING: Tuple[Tuple[str, str], ...] = (
    (
        r"[Ss]hape|dimension|broadcast|\bsize|inconsistent|[Dd]ims|out of bounds|index|same length",
        "The model needs other lengths than these, which its own description leaves open: compare with what it was trained with.",
    ),
    (
        r"[Cc]ast|parse|convert|stoi|stof|invalid argument",
        "A value that was sent cannot be read as the model wants it: compare with what it was trained with.",
    ),
)


@contextmanager
def loading(engine: str, files: ModelFiles, package: str = "") -> Iterator[None]:
    """Turn any exception that an engine raises while it loads a model into LoadFailed.

    Args:
        engine: its name.
        files: the model.
        package: what is installed to have the engine; its name where empty.
    """
    try:
        yield
    except HubError:
        raise
    except Exception as error:
        names = " + ".join(each.name for each in files if each is not None)
        advice = _advice(_LOADING, str(error)).format(package=package or engine) or _DAMAGED
        raise LoadFailed(
            f"the {engine} engine cannot load {names} from '{files.graph.parent}': {reason(error)}. {advice}",
            detail=str(error),
        ) from error


@contextmanager
def computing(engine: str, inputs: Dict[str, np.ndarray]) -> Iterator[None]:
    """Turn any exception that an engine raises while it computes into ModuleFailed, with the shapes of its inputs.

    Where memory ran out it becomes OutOfMemory, so that fewer items are computed at once from then on, by another instance; but not for
    an engine that gives back what it had taken and goes on.
    """
    try:
        yield
    except (MemoryError, HubError):
        raise
    except Exception as error:
        shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in inputs.items()) or "a request without inputs"
        what = f"the {engine} engine could not compute {shapes}: {reason(error)}"
        if _NO_MEMORY.search(str(error)):
            kind = ModuleFailed if engine in _RECOVERING else OutOfMemory
            raise kind(f"{what}. There was too little memory: send fewer items at once.", detail=str(error)) from error
        advice = _advice(_COMPUTING, reason(error))
        raise ModuleFailed(f"{what}. {advice}" if advice else what, detail=str(error)) from error


def reason(error: BaseException) -> str:
    """Return the summary of an engine's long error, or its last words, without the places in its own sources."""
    text = str(error)
    if _SUMMARY in text:
        text = text.rpartition(_SUMMARY)[2]
    operator = _OPERATOR.search(text)
    lines = [_plainly(line.strip()) for line in text.splitlines()]
    telling = [line for line in lines if line and not line.startswith(_NOISE)]
    # Paddle names the kind of error at the start of the line that explains it: "(InvalidArgument) ..." or "InvalidArgumentError: ..."
    named = next((line for line in telling if re.match(r"\(\w+\) |\w+Error: ", line)), "")
    chosen = named or (telling[-1] if telling else type(error).__name__)
    chosen = _shortened(chosen[len("-- ") if chosen.startswith("-- ") else 0 :].rstrip(". "))
    return f"{chosen} (in operator {operator.group(1)})" if operator else chosen


def _advice(table: Tuple[Tuple[str, str], ...], text: str) -> str:
    return next((advice for pattern, advice in table if re.search(pattern, text)), "")


def _plainly(line: str) -> str:
    """Remove the position in the engine's sources from a line, and what is said of any damaged file."""
    line = _ADVICE_OF_TORCH.sub("", _ONNX_RUNTIME.sub("", line))
    while _ONNX_LOADING.match(line):
        line = _ONNX_LOADING.sub("", line).strip()
    before, status, message = line.partition("Status Message: ")
    if status:
        node = re.search(r"running (\w+) node", before)
        return _without_source(message) + (f" (in operator {node.group(1)})" if node else "")
    return _without_source(line)


def _without_source(line: str) -> str:
    """Remove ``/path/file.cc:12 type function(arguments)`` before a message, and ``(at /path/file.cc:12)`` after it."""
    place = _PLACE.match(line)
    if place and "(" in line[place.end() :]:
        at, depth = line.index("(", place.end()), 0
        for position in range(at, len(line)):
            depth += {"(": 1, ")": -1}.get(line[position], 0)
            if not depth:
                line = re.sub(r"^ ?(?:const )?(?:::<lambda\([^)]*\)> )?(?:\[with [^\]]*\] )?", "", line[position + 1 :])
                break
    return _PLACE.sub("", line).strip()


def _shortened(text: str) -> str:
    if len(text) <= _REASON_CHARACTERS:
        return text
    return f"{text[:_KEPT_AT_BEGINNING].rstrip()} ... {text[len(text) - _REASON_CHARACTERS + _KEPT_AT_BEGINNING :].lstrip()}"
