"""Paddle layers to inference files, which appear in their folder whole or not at all."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hubserve.errors import ConfigError, LoadFailed, MissingDependency
from hubserve.types import ANY, TensorSpec

#: What paddle's inference programs are called by convention: ``inference.pdmodel``, ``inference.pdiparams``.
STEM = "inference"
WEIGHTS = f"{STEM}.pdiparams"
#: ``--format`` -> the files of the graph; both forms read the same weights
GRAPHS = {"pdmodel": [f"{STEM}.pdmodel"], "json": [f"{STEM}.json"], "both": [f"{STEM}.pdmodel", f"{STEM}.json"]}
_CONVERTER = Path(__file__).with_name("pdmodel_to_json.py")
_CONVERT_TIMEOUT_S = 600
_OLD_FORMAT_REFUSES = "must be Value, but got Variable"


def import_paddle(form: str) -> Any:
    """Import paddle so that it writes ``form``, a flag that it reads when it is imported.

    Raises:
        MissingDependency: it is not installed.
    """
    os.environ["FLAGS_enable_pir_api"] = "1" if form == "json" else "0"  # noqa: SIM112 - Paddle's own spelling
    os.environ.setdefault("GLOG_minloglevel", "2")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # paddle's import warns of a compiler cache and of deprecations within itself
            import paddle
    except ModuleNotFoundError as error:
        raise MissingDependency(f"cannot import paddle: {error.name} is missing. Run: pip install paddlepaddle setuptools") from None
    paddle.disable_signal_handler()  # its own prints a C++ traceback and ends the process at once
    exit_on_sigterm()
    return paddle


def exit_on_sigterm() -> None:
    """Let SIGTERM unwind the program, so that half-made files go. By default it ends Python at once."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))


@contextlib.contextmanager
def staging(output: Path) -> Iterator[Path]:
    """Yield a temporary folder inside ``output``, on the same file system; remove it, and new folders that stay empty, at the end."""
    made = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(f"cannot write into '{output}': it, or what it is in, is a file. Give a folder with --output.") from None
    try:
        with tempfile.TemporaryDirectory(prefix=".export-", dir=output) as folder:
            yield Path(folder)
    finally:
        with contextlib.suppress(OSError):  # not empty: the export succeeded
            for new in made:
                new.rmdir()


def save_layer(layer: Any, specs: Sequence[TensorSpec], folder: Path, form: str) -> None:
    """Trace a layer and write its graph and weights into ``folder``.

    Args:
        layer: a ``paddle.nn.Layer``; set to evaluation.
        specs: its inputs, in the order of its ``forward``.
        folder: where the files go.
        form: a key of :data:`GRAPHS`.

    Raises:
        LoadFailed: Paddle cannot trace it, or cannot write it in this format.
    """
    import paddle

    layer.eval()
    inputs = [
        paddle.static.InputSpec([None if length == ANY else length for length in spec.shape], spec.dtype, spec.name) for spec in specs
    ]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            paddle.jit.save(paddle.jit.to_static(layer, input_spec=inputs, full_graph=True), str(folder / STEM))
    except Exception as error:  # whatever a person's own layer raises
        raise _cannot_trace(layer, error, form) from error
    if form == "both":
        pdmodel_to_json(folder / STEM, folder / STEM)


def _cannot_trace(layer: Any, error: Exception, form: str) -> LoadFailed:
    name, said = type(layer).__name__, " ".join(str(error).split())
    if form != "json" and _OLD_FORMAT_REFUSES in said:
        operator = said.partition("(InvalidType) ")[2].partition("(")[0]
        return LoadFailed(
            f"cannot write {name} as .pdmodel: this version of Paddle cannot record the operator '{operator}' in the old format. "
            "Use --format json, which records all operators, or another operator that computes the same."
        )
    last = said if len(said) <= 300 else "... " + said[-300:]
    return LoadFailed(
        f"cannot trace {name}: {type(error).__name__}: {last}. See that its forward takes what --input-spec says; --debug shows all."
    )


def pdmodel_to_json(source: Path, target: Path) -> None:
    """Write the PIR form of ``source``.pdmodel as ``target``.json; the weights are the same bytes in both.

    Raises:
        LoadFailed: Paddle cannot translate it, or would need other weights for it.
    """
    with tempfile.TemporaryDirectory(prefix="pir-", dir=target.parent) as scratch:
        made = Path(scratch) / STEM
        # a process of its own, because it needs the flags the other way round
        command = [sys.executable, str(_CONVERTER), str(source), str(made)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_CONVERT_TIMEOUT_S, check=False)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or [f"it ended with status {done.returncode}"])[-1]
            raise LoadFailed(f"cannot translate '{source}.pdmodel' to Paddle 3's .json: {said[:300]}. Use --format pdmodel.")
        if _content(made.with_suffix(".pdiparams")) != _content(Path(f"{source}.pdiparams")):
            raise LoadFailed("the two formats need different weights here. Export them one by one, into two folders.")
        os.replace(made.with_suffix(".json"), target.with_suffix(".json"))


def _content(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def publish(staged: Path, output: Path, names: Sequence[str]) -> list[Path]:
    """Move finished files into place, the graphs last. What an older export left beside them, and would not fit them, is removed.

    Args:
        staged: where they are.
        output: where they go.
        names: the graphs, the weights and whatever else; Paddle writes no weights for a graph without any.

    Returns:
        The files, as they are now in ``output``.
    """
    made = [name for name in names if name != WEIGHTS or (staged / name).is_file()]
    for other in {*GRAPHS["both"], WEIGHTS} - set(made):
        (output / other).unlink(missing_ok=True)
    ordered = sorted(made, key=lambda name: name in GRAPHS["both"])
    for name in ordered:
        os.replace(staged / name, output / name)
    return [output / name for name in ordered]


class Predictor:
    """Inference files, loaded as any user of them would load them.

    Args:
        graph: ``inference.pdmodel`` or ``inference.json``, with its weights, if it has any, beside it.
        onednn: compute with oneDNN, as Paddle 3 does by default on a CPU.

    Raises:
        LoadFailed: Paddle cannot load them.
    """

    def __init__(self, graph: Path, onednn: bool) -> None:
        from paddle import inference

        weights = graph.with_name(WEIGHTS)
        config = inference.Config(str(graph), str(weights) if weights.is_file() else "")
        config.disable_glog_info()
        config.enable_memory_optim(False)
        if onednn:
            config.enable_mkldnn()
        else:
            config.disable_mkldnn()
        try:
            self._predictor = inference.create_predictor(config)
        except RuntimeError as error:
            raise LoadFailed(f"Paddle cannot load the exported '{graph.name}': {' '.join(str(error).split())[-300:]}") from error
        self.inputs = list(self._predictor.get_input_names())
        self.outputs = list(self._predictor.get_output_names())

    def run(self, arrays: dict[str, np.ndarray]) -> list[np.ndarray]:
        """Compute the arrays of a dict by name; return one array per output.

        Raises:
            LoadFailed: the files do not compute.
        """
        for name, array in arrays.items():
            self._predictor.get_input_handle(name).copy_from_cpu(np.ascontiguousarray(array))
        try:
            self._predictor.run()
        except RuntimeError as error:
            raise LoadFailed(f"the exported files do not compute: {' '.join(str(error).split())[-300:]}") from error
        return [self._predictor.get_output_handle(name).copy_to_cpu() for name in self.outputs]
