"""Select the engine for ``engine: auto``: the fastest on this machine of those that answer as the model's own framework does."""

import hashlib
import importlib.util
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from hubserve.engines.base import EngineOptions, ModelFiles
from hubserve.engines.keras_files import takes_texts
from hubserve.engines.measurement import ROUNDS, Outcome, measure_all, measure_in_child
from hubserve.engines.model_formats import FORMATS, backend_of_file
from hubserve.engines.package_versions import package_version
from hubserve.engines.parity import compare
from hubserve.engines.selection_cache import Verdict, remembered
from hubserve.engines.selection_policy import Trial, decide, is_close
from hubserve.engines.subprocess_call import ChildFailed
from hubserve.engines.table import AUTO, ENGINES, engine_class
from hubserve.engines.tensorflow_saved_model import choose as choose_signature
from hubserve.engines.tensorflow_saved_model import read_saved_model, why_alone
from hubserve.errors import HubError, LoadFailed, MissingDependency

#: Which comes first of engines that are equally fast; then those of the table that are not named here.
PREFERENCE = ("onnxruntime", "openvino", "paddle")
PADDLE = "paddle"
#: forms to exchange models between frameworks: any engine's answers are as good as another's
_EXCHANGED = ("onnxruntime", "openvino")
#: Larger batches are not timed: they take long, and time per item hardly changes beyond.
LARGEST_BATCH = 8
Answers = Sequence[np.ndarray]
#: what engines' figures measure: processor time with one thread, else the clock
PROCESSOR, WALL = "processor time", "wall time"


def choose(files: ModelFiles, options: EngineOptions) -> Verdict:
    """Choose the engine for a model; the reason is for people to read.

    Where several are installed, each computes made-up batches in a process of its own. The verdict is remembered for these files, versions,
    options and CPU.

    Raises:
        MissingDependency: no installed engine can read the files.
        LoadFailed: the files cannot be read.
    """
    graph, reference = files.graph, reference_of(files.graph)
    if options.use_gpu:
        readers = installed_readers(graph)
        able = [name for name in (reference, *readers) if name in readers and engine_class(name).has_gpu]
        engine = next(iter(able), reference or next(iter(readers), PADDLE))
        return Verdict(engine, f"auto: {engine}, because use_gpu is set")
    alone = _why_alone(files, options, reference)
    if alone:
        return Verdict(reference, f"auto: {reference}, {alone}")
    engines = installed_readers(graph)
    if not engines:
        return _none_installed(graph)
    if len(engines) == 1:
        why = f"the only engine installed here that can read {graph.name}{_not_compared(reference, engines)}"
        return Verdict(engines[0], f"auto: {engines[0]}, {why}")
    about = [f"{name}={getattr(options, name)}" for name in ("cpu_num_threads", "enable_mkldnn", "ir_optim", "enable_memory_optim")]
    about += [f"sizes={_sizes(options)}", *([f"sample_shape={list(options.sample_shape)}"] if options.sample_shape else [])]
    about += [f"{key}={value}" for key, value in options.tuning]
    about += _about_reference(reference, options)
    weights = str(files.weights) if files.weights else None
    asked = {"graph": str(files.graph), "weights": weights, "options": list(options)}
    return remembered(files, engines, about, lambda: _named(check(files, options, engines), asked), asked)


def reference_of(graph: Path) -> str:
    """Return the engine of the framework that wrote a model, as which others must answer; "" for forms of none, such as ONNX."""
    backend = backend_of_file(graph) or PADDLE
    engine = FORMATS[backend].engine
    return PADDLE if engine == AUTO else "" if backend in _EXCHANGED else engine


def readers(graph: Path) -> List[str]:
    """Return the engines that read files of this format, installed or not, in order of preference."""
    ordered = [*PREFERENCE, *(name for name in ENGINES if name not in PREFERENCE)]
    return [name for name in ordered if engine_class(name).reads(graph)]


def _why_alone(files: ModelFiles, options: EngineOptions, reference: str) -> str:
    """Return why no other engine is compared with the reference; "" if others are."""
    if reference in ("", PADDLE):
        return ""
    if readers(files.graph) == [reference]:
        return f"the only engine that reads {files.graph.name}"
    if not is_installed(reference):
        return f"because other engines must answer as {reference} does, which is not installed here"
    if reference == "tensorflow" and takes_texts(files.graph):
        return "because it takes texts, which other engines do not compute"
    if reference == "tensorflow" and files.graph.is_dir():
        why = why_alone(choose_signature(files.graph, read_saved_model(files.graph), dict(options.tuning)))
        return f"because {why}" if why else ""
    return ""


def _about_reference(reference: str, options: EngineOptions) -> List[str]:
    about = [f"signature={json.dumps(options.signature)}"] if options.signature else []
    if reference in ("", PADDLE):  # whose versions are a part of every key
        return about
    package = engine_class(reference).package or reference
    return [*about, f"{reference} {package_version(package)}"]


def _named(verdict: Verdict, asked: Dict[str, Any]) -> Verdict:
    """Return the verdict with the name of its choice among its figures, so that a module's report leads back to the cache."""
    if verdict.measured is not None:
        verdict.measured["choice"] = hashlib.sha256(json.dumps(asked).encode()).hexdigest()[:16]
    return verdict


def installed_readers(graph: Path) -> List[str]:
    """Return the installed engines that read files of this format, in order of preference."""
    return [name for name in readers(graph) if is_installed(name)]


def is_installed(engine: str) -> bool:
    """Return True if the engine's package is installed; it is not imported."""
    package = engine_class(engine).package if engine in ENGINES else ""
    return importlib.util.find_spec(package or engine) is not None


def _none_installed(graph: Path) -> Verdict:
    if reference_of(graph) == PADDLE:
        return Verdict(PADDLE, f"auto: {PADDLE}, because no engine that can read {graph.name} is installed here")
    raise MissingDependency(
        "no engine for ONNX files is installed here. Install one with: pip install onnxruntime (or: pip install 'hubserve[fast]')."
    )


def _not_compared(reference: str, engines: Sequence[str]) -> str:
    missing = reference and reference not in engines
    return f"; not compared with {reference}, which is not installed here" if missing else ""


def _sizes(options: EngineOptions) -> List[int]:
    return sorted({1, min(options.max_batch_size, LARGEST_BATCH)})


def check(files: ModelFiles, options: EngineOptions, engines: Sequence[str], rounds: int = ROUNDS) -> Verdict:
    """Compare engines on a made-up batch, time them in turns, and decide.

    Their answers must be those of the model's own framework; of Paddle without oneDNN, the plainest form of each operator. For files of no
    framework, and where Paddle is not installed, the first engine that loads the model is the reference.

    Raises:
        LoadFailed: none of them can load the model.
        MissingDependency: the same, and Paddle, which might, is not installed.
    """
    options, own = options._replace(use_fp16=False), reference_of(files.graph)
    with tempfile.TemporaryDirectory(prefix="hubserve-check-") as folder:
        paddles = _paddles_answers(files, options, Path(folder)) if own == PADDLE and PADDLE in engines else None
        tried = () if isinstance(paddles, HubError) else engines
        outcomes: Dict[str, Outcome] = {}
        load: Dict[str, Any] = {}
        if tried:
            begins = partial(_report_measuring, files)
            outcomes, load = measure_all(tried, files, options, Path(folder), _sizes(options), rounds, begins)
    compared_with, reference = _compared_with(files, own, outcomes) if paddles is None else (PADDLE, paddles)
    if isinstance(reference, HubError):
        why = f"because it could not run a made-up batch to compare others with: {reference.message}"
        verdict = Verdict(compared_with, f"auto: {compared_with}, {why}", all(map(_lasting, [reference, *outcomes.values()])))
    else:
        trials = [_trial(name, outcome, reference.answers, options) for name, outcome in outcomes.items()]
        verdict = decide(trials, compared_with, options.cpu_num_threads, time.strftime("%Y-%m-%d"))
        if verdict.measured is not None:
            clock = PROCESSOR if options.cpu_num_threads == 1 else WALL
            verdict.measured.update(clock=clock, load=load, again=_why_again(trials, load))
    verdict = verdict._replace(reason=verdict.reason + _not_compared(own, engines))
    _report(files, verdict.reason)
    return verdict


def _paddles_answers(files: ModelFiles, options: EngineOptions, folder: Path) -> Outcome:
    _report(files, f"asking {PADDLE} for the answers that others must give ...")
    try:
        return measure_in_child(PADDLE, files, options._replace(enable_mkldnn=False), folder, ())
    except HubError as error:
        return error


def _why_again(trials: Sequence[Trial], load: Mapping[str, Any]) -> str:
    """Return why the figures are unsure and need measuring again once the machine is idle; "" if they are sure."""
    if sum(not trial.left_out for trial in trials) < 2:
        return ""
    if load.get("busy"):
        return "the machine was busy with other work"
    return "the fastest engines were too close to each other" if is_close(trials) else ""


def _trial(engine: str, outcome: Outcome, reference: Answers, options: EngineOptions) -> Trial:
    if isinstance(outcome, HubError):
        return Trial(engine, left_out=outcome.message, lasting=_lasting(outcome))
    comparison = compare(reference, outcome.answers)
    processor_ms = outcome.processor_ms if options.cpu_num_threads > 1 else {}
    return Trial(engine, outcome.ms_per_item, comparison.difference, comparison.why_not, processor_ms=processor_ms)


def _compared_with(files: ModelFiles, own: str, outcomes: Dict[str, Outcome]) -> Tuple[str, Outcome]:
    if own in outcomes:
        return own, outcomes[own]
    for name, outcome in outcomes.items():
        if not isinstance(outcome, LoadFailed):
            return name, outcome
    tried = "; ".join(f"{name}: {error.message.rstrip('.')}" for name, error in outcomes.items() if isinstance(error, HubError))
    if own == PADDLE:
        raise MissingDependency(
            f"no installed engine can run this model ({tried}). "
            "Install Paddle with: pip install paddlepaddle (or: pip install 'hubserve[cpu]')."
        )
    raise LoadFailed(f"no installed engine can load '{files.graph}' ({tried}). Export or copy the model again.")


def _lasting(outcome: Outcome) -> bool:
    return not isinstance(outcome, ChildFailed) or outcome.lasting


def _report_measuring(files: ModelFiles, engine: str) -> None:
    _report(files, f"measuring {engine} ...")


def _report(files: ModelFiles, text: str) -> None:
    """Explain on stderr why the first start of a model takes seconds longer."""
    sys.stderr.write(f"choosing the engine for {files.graph.name}: {text}\n")
    sys.stderr.flush()
