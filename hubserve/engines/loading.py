"""Load a model with a named engine, or with the one that is chosen for it."""

from pathlib import Path
from typing import Any

from hubserve.engines.base import Engine, EngineOptions, ModelFiles
from hubserve.engines.model_files import find_model_files
from hubserve.engines.model_formats import backend_of_file, is_model_folder
from hubserve.engines.table import AUTO, ENGINES, engine_class
from hubserve.engines.weights import check_weights
from hubserve.errors import ConfigError, LoadFailed


def load_engine(model: Any, engine: str = AUTO, options: EngineOptions = EngineOptions()) -> Engine:  # noqa: B008 - it is immutable
    """Load a model.

    Args:
        model: the folder of its files, the path of an ``.onnx`` file, or :class:`ModelFiles`.
        engine: one of :data:`hubserve.engines.table.ENGINES`, or ``"auto"`` for the fastest
            here of those that are installed and agree with the model's own framework.
        options: how to run it.
    Raises:
        ConfigError: the engine is unknown, or the options contradict each other.
        MissingDependency: the engine's package is not installed.
        LoadFailed: files are missing or damaged, the engine cannot read them, or there is no GPU to use.
    """
    check_options(engine, options)
    files = _files_of(model)
    if files.weights is not None and files.weights.suffix == ".pdiparams":
        check_weights(files.weights)
    if engine == AUTO:
        return _load_chosen(files, options)
    _check_reads(engine, files.graph)
    loaded = engine_class(engine)(files, options)
    loaded.reason = "asked for by name"
    return loaded


def _check_reads(engine: str, graph: Path) -> None:
    """Raise LoadFailed, naming the engines that do, if an engine reads no model of this form; Paddle's forms have their own messages."""
    if engine_class(engine).reads(graph) or backend_of_file(graph) in ("", "paddle"):
        return
    able = " or ".join(f"'{name}'" for name in ENGINES if engine_class(name).reads(graph))
    raise LoadFailed(f"engine '{engine}' does not read '{graph.name}'. Use engine {able}, or '{AUTO}'.")


def _load_chosen(files: ModelFiles, options: EngineOptions) -> Engine:
    from hubserve.engines.selection import choose, is_installed, reference_of  # only needed for "auto"; instances start faster without

    if not options.use_gpu:
        options = options._replace(use_fp16=False)  # a GPU's setting; lower precision on a CPU has to be asked for with the engine
    choice = choose(files, options)
    check_options(choice.engine, options)
    reason, measured = choice.reason, choice.measured or {}
    try:
        loaded = engine_class(choice.engine)(files, options)
    except LoadFailed as error:
        reference = reference_of(files.graph)
        if choice.engine == reference or not reference or not is_installed(reference):
            raise
        loaded = engine_class(reference)(files, options)
        measured = {}
        reason = f"auto: {reference}, because {choice.engine}, which was chosen before, could not be loaded: {error.message}"
    loaded.reason, loaded.measured = reason, measured
    return loaded


def check_options(engine: str, options: EngineOptions) -> None:
    """Raise ConfigError, saying what to change, unless the options make sense together."""
    if engine != AUTO:
        engine_class(engine)
    for name in ("cpu_num_threads", "max_batch_size", "gpu_mem"):
        value = getattr(options, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"{name} must be a whole number from 1 up, got {value!r}")
    if options.use_tensorrt and not options.use_gpu:
        raise ConfigError(
            "use_tensorrt needs use_gpu, because TensorRT computes on GPUs only. Set use_gpu to true, or use_tensorrt to false."
        )
    if options.use_gpu and engine != AUTO and not engine_class(engine).has_gpu:
        able = ", ".join(name for name in ENGINES if engine_class(name).has_gpu)
        raise ConfigError(f"engine '{engine}' computes on the CPU, but use_gpu is set. Use one of {able}, or set use_gpu to false.")


def _files_of(model: Any) -> ModelFiles:
    if isinstance(model, ModelFiles):
        for path in model:
            if path is not None and not Path(path).exists():
                raise LoadFailed(f"the model file '{path}' is missing")
        return model
    path = Path(model)
    return find_model_files(path.parent, path.name) if path.is_file() or is_model_folder(path) else find_model_files(path)
