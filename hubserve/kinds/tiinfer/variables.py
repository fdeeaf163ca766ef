"""Read the ``TI_*`` variables, by which tiinfer scripts are configured."""

from pathlib import Path
from typing import Mapping, NamedTuple

from hubserve.errors import LoadFailed

MODEL_DIR = "TI_MODEL_DIR"
INSTANCES = "TI_INFERENCE_NUMS"
MAX_BATCH_SIZE = "TI_INFERENCE_MAX_BATCH_SIZE"
PREPROCESS_THREADS = "TI_PREPROCESS_NUMS"
POSTPROCESS_THREADS = "TI_POSTPROCESS_NUMS"


class Variables(NamedTuple):
    """The variables of one script.

    Attributes:
        model_dir: the argument of its constructor; "" for its own folder.
        instances: the number of processes; 0 if the variable is not set.
        max_batch_size: the most requests that ``predict`` gets at once; with 1 it gets one request, and no list.
        preprocess_threads, postprocess_threads: the number of threads that run these methods on objects of their own; 0 to run them with
            ``predict``.
    """

    model_dir: str
    instances: int
    max_batch_size: int
    preprocess_threads: int
    postprocess_threads: int


def read_variables(environ: Mapping[str, str]) -> Variables:
    """Read the variables.

    Raises:
        LoadFailed: the value of one is not a number in its range.
    """
    return Variables(
        model_dir=environ.get(MODEL_DIR, "").strip(),
        instances=_number(environ, INSTANCES, 0, 1),
        max_batch_size=_number(environ, MAX_BATCH_SIZE, 1, 1),
        preprocess_threads=_number(environ, PREPROCESS_THREADS, 0, 0),
        postprocess_threads=_number(environ, POSTPROCESS_THREADS, 0, 0),
    )


def model_dir_of(folder: Path, variables: Variables) -> str:
    """Return the absolute folder that is passed to a script's constructor.

    Args:
        folder: the script's; a relative ``TI_MODEL_DIR`` is looked up in it.
        variables: the script's.
    Raises:
        LoadFailed: ``TI_MODEL_DIR`` names no folder.
    """
    if not variables.model_dir:
        return str(folder)
    named = folder / variables.model_dir
    if not named.is_dir():
        raise LoadFailed(
            f"{MODEL_DIR} is '{variables.model_dir}', and there is no such folder. Correct it, or unset it to use the script's own folder."
        )
    return str(named)


def _number(environ: Mapping[str, str], name: str, default: int, least: int) -> int:
    text = environ.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and int(text) >= least):
        raise LoadFailed(f"{name} is '{text[:40]}'; give a whole number from {least} up, or unset it.")
    return int(text)
