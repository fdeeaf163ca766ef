"""``engine: auto``: the preferred engine whose answers are Paddle's."""

import importlib.util
import tempfile
import time
from pathlib import Path
from typing import Any, Callable, List, NamedTuple, Optional, Sequence

import numpy as np

from hubserve.engines import engine_class
from hubserve.engines.base import EngineOptions, ModelFiles
from hubserve.engines.child import ChildFailed, call_in_child
from hubserve.engines.parity import compare
from hubserve.engines.program import read_program
from hubserve.engines.sample import make_sample
from hubserve.engines.verdicts import Verdict, remembered
from hubserve.errors import HubError, MissingDependency

#: Fastest first, for classifiers in small batches on one core each.
PREFERENCE = ("onnxruntime", "openvino")
REFERENCE = "paddle"
_TIMEOUT_S = 900.0
Answers = Sequence[np.ndarray]


class _Refusal(NamedTuple):
    engine: str
    why: str
    lasting: bool

    def __str__(self) -> str:
        return f"{self.engine}: {self.why}"


def choose(files: ModelFiles, options: EngineOptions) -> Verdict:
    """Choose the engine for a model; the reason is for people to read.

    The check runs each engine once, in a process of its own, and is remembered for these files, versions and CPU.

    Raises:
        MissingDependency: no installed engine can read the files.
        LoadFailed: the files cannot be read.
    """
    if options.use_gpu:
        return Verdict(REFERENCE, "auto: paddle, because use_gpu is set")
    if files.graph.suffix == ".onnx":
        return _for_onnx()
    candidates = [name for name in PREFERENCE if is_installed(name) and not (name == "openvino" and files.graph.suffix == ".json")]
    if not candidates:
        return Verdict(REFERENCE, f"auto: paddle, the only engine installed here that can read {files.graph.name}")
    return remembered(
        files, [*candidates, REFERENCE if is_installed(REFERENCE) else "", str(options.ir_optim)], lambda: check(files, options, candidates)
    )


def is_installed(engine: str) -> bool:
    """Whether the engine's package is there, found without importing it."""
    return importlib.util.find_spec(engine) is not None


def _for_onnx() -> Verdict:
    for name in PREFERENCE:
        if is_installed(name):
            return Verdict(name, f"auto: {name}, the first installed of {', '.join(PREFERENCE)} for ONNX files")
    raise MissingDependency(
        "no engine for ONNX files is installed here. Install one with: pip install onnxruntime (or: pip install 'hubserve[fast]')."
    )


def check(files: ModelFiles, options: EngineOptions, candidates: Sequence[str]) -> Verdict:
    """Compare engines with Paddle on a made-up batch, in their order, until one agrees.

    Raises:
        MissingDependency: Paddle is not installed, and no other engine can run the model.
    """
    with tempfile.TemporaryDirectory(prefix="hubserve-check-") as folder:
        sample = Path(folder) / "sample.npz"
        program = read_program(files.graph)
        np.savez(str(sample), *make_sample(program.inputs).values())

        def answers_of(engine: str) -> Answers:
            # Paddle without oneDNN is the reference: the plainest form of each operator.
            plain = options._replace(use_fp16=False, enable_mkldnn=False)
            return _answers_in_child(engine, files, plain, sample, Path(folder) / f"{engine}.npz")

        if not is_installed(REFERENCE):
            return _unchecked(candidates, answers_of)
        try:
            reference = answers_of(REFERENCE)
        except HubError as error:
            lasting = not isinstance(error, ChildFailed) or error.lasting
            return Verdict(
                REFERENCE, f"auto: paddle, because it could not run a made-up batch to compare others with: {error.message}", lasting
            )
        return _checked(candidates, answers_of, reference)


def _checked(candidates: Sequence[str], answers_of: Callable[[str], Answers], reference: Answers) -> Verdict:
    refusals: List[_Refusal] = []
    for position, name in enumerate(candidates):
        try:
            comparison = compare(reference, answers_of(name))
        except HubError as error:
            refusals.append(_refusal(name, error))
            continue
        if comparison.agrees:
            others = [*candidates[position + 1 :], REFERENCE]
            how = f"agrees with paddle within {comparison.difference:.1e} (checked {_today()})"
            return Verdict(name, f"auto: {name} {how}, preferred over {' and '.join(others)}" + _but(refusals), _lasting(refusals))
        refusals.append(_Refusal(name, comparison.why_not, True))
    return Verdict(REFERENCE, f"auto: paddle (checked {_today()})" + _but(refusals), _lasting(refusals))


def _unchecked(candidates: Sequence[str], answers_of: Callable[[str], Answers]) -> Verdict:
    refusals: List[_Refusal] = []
    for name in candidates:
        try:
            answers_of(name)
        except HubError as error:
            refusals.append(_refusal(name, error))
            continue
        why = f"auto: {name}, not compared with paddle, which is not installed here"
        return Verdict(name, why + _but(refusals), _lasting(refusals))
    tried = "; ".join(f"{each.engine}: {each.why.rstrip('.')}" for each in refusals)
    raise MissingDependency(
        f"no installed engine can run this model ({tried}). "
        "Install Paddle with: pip install paddlepaddle (or: pip install 'hubserve[cpu]')."
    )


def _refusal(engine: str, error: HubError) -> _Refusal:
    return _Refusal(engine, error.message, not isinstance(error, ChildFailed) or error.lasting)


def _but(refusals: Sequence[_Refusal]) -> str:
    return "; not " + "; not ".join(str(each) for each in refusals) if refusals else ""


def _lasting(refusals: Sequence[_Refusal]) -> bool:
    return all(each.lasting for each in refusals)


def _today() -> str:
    return time.strftime("%Y-%m-%d")


def _answers_in_child(engine: str, files: ModelFiles, options: EngineOptions, sample: Path, output: Path) -> Answers:
    graph, weights = str(files.graph), str(files.weights) if files.weights else None
    call_in_child(f"{__name__}:answer_here", [engine, graph, weights, list(options), str(sample), str(output)], _TIMEOUT_S)
    with np.load(str(output), allow_pickle=False) as loaded:
        return [loaded[f"arr_{index}"] for index in range(len(loaded.files))]


def answer_here(engine: str, graph: str, weights: Optional[str], options: List[Any], sample: str, output: str) -> None:
    """Run an engine on a saved batch and save its answers; :func:`check` calls it in a child."""
    files = ModelFiles(Path(graph), Path(weights) if weights else None)
    loaded = engine_class(engine)(files, EngineOptions(*options))
    with np.load(sample, allow_pickle=False) as saved:
        inputs = {spec.name: saved[f"arr_{index}"] for index, spec in enumerate(loaded.inputs)}
    np.savez(output, *loaded.run(inputs))
