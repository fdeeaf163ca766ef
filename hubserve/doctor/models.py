"""Checks of the model files, label files and engines that a module's settings name."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hubserve.doctor import sources
from hubserve.doctor.findings import ERROR, NOTE, WARNING, Finding, from_error
from hubserve.doctor.target import Target
from hubserve.engines import AUTO, ENGINES, engine_class, find_model_files
from hubserve.engines.model_formats import backend_of_file
from hubserve.engines.selection import installed_readers, is_installed
from hubserve.engines.torch_files import check_file
from hubserve.engines.weights import check_weights
from hubserve.errors import HubError, InvalidInput
from hubserve.kinds import model_file
from hubserve.models.class_names import AUTO as NAMED_AUTO
from hubserve.models.labels import read_label_file
from hubserve.module import SEARCH_PATH_VARIABLE, find_file, find_folder
from hubserve.paths import home
from hubserve.registry.engine_note import read_engine_note
from hubserve.registry.environments.engine_environment import environment_of

_FOLDER = re.compile(r"(.*_)?model_dir|(.*_)?model_folder")
#: keys of files that may be missing
_DEFAULT = re.compile(r"default_.*")
_FILE = re.compile(r"(.*_)?(model_file|params_file|model_path|map_file|label_list|label_file|labels_file|dict_path|dict_file|vocab_file)")
_LABELS = re.compile(r"(default_)?class_id_map_file")


def check_model_files(target: Target) -> Iterator[Finding]:
    """Check that the folders and files in the settings exist and are complete."""
    for setting in target.settings():
        value = setting.value
        if not isinstance(value, str) or not value or "://" in value or "{" in value:
            continue
        if _LABELS.fullmatch(setting.key) and value == NAMED_AUTO:
            continue
        with searching(target.search_path):
            if _FOLDER.fullmatch(setting.key):
                yield from _folder(target, setting)
            elif _FILE.fullmatch(setting.key):
                yield from _file(target, setting)


def check_own_model(target: Target) -> Iterator[Finding]:
    """Check the files of a module that is a model itself, and that an engine for them is installed."""
    if target.info.kind != model_file.KIND:
        return
    graph = target.folder if model_file.is_model(target.folder) else target.folder / model_file.card_of(target.folder).file
    try:
        files = model_file.all_files(graph)
        for each in files:
            if each.suffix == ".pdiparams":
                check_weights(each)
        if backend_of_file(graph) == "pytorch":
            check_file(graph)
    except HubError as error:
        yield from_error(error, "model", "Export or copy the model again", str(graph))
        return
    others = "".join(f" and {each.name}" for each in files[1:])
    yield Finding(NOTE, "model", f"{graph.name}{others} {'are' if others else 'is'} complete", file=str(graph))
    readers = [name for name in ENGINES if engine_class(name).reads(graph)]
    if not installed_readers(graph) and not any(environment_of(home(), each) for each in readers):
        profile = next(filter(None, (engine_class(each).profile for each in readers)), "")
        fix = f"hub env build {profile}" if profile else "pip install 'hubserve[cpu,fast]'"
        yield Finding(
            ERROR,
            "engine",
            f"none of the engines that read it is installed here or has an environment ({', '.join(readers)})",
            fix,
            str(graph),
        )


@contextmanager
def searching(search_path: list[Path]) -> Iterator[None]:
    """Resolve paths as an instance of the module does."""
    before = os.environ.get(SEARCH_PATH_VARIABLE)
    os.environ[SEARCH_PATH_VARIABLE] = os.pathsep.join(map(str, search_path))
    try:
        yield
    finally:
        os.environ.pop(SEARCH_PATH_VARIABLE)
        if before is not None:
            os.environ[SEARCH_PATH_VARIABLE] = before


def _folder(target: Target, setting: sources.Literal) -> Iterator[Finding]:
    about, file = target.about(setting)
    fix = f"Put the model's files there, or set '{setting.key}' in init_args to another folder"
    try:
        files = find_model_files(find_folder(setting.value, target.folder))
        if files.weights is not None and files.weights.suffix == ".pdiparams":
            check_weights(files.weights)
    except HubError as error:
        yield from_error(error, about, fix, file)
    else:
        yield Finding(NOTE, about, f"{files.graph}{f' and {files.weights.name}' if files.weights else ''} are complete", file=file)


def _file(target: Target, setting: sources.Literal) -> Iterator[Finding]:
    about, file = target.about(setting)
    fix = f"Put the file there, or set '{setting.key}' in init_args to another"
    try:
        path = find_file(setting.value, target.folder)
    except HubError as error:
        if not _DEFAULT.fullmatch(setting.key):
            yield from_error(error, about, fix, file)
        return
    if not path.stat().st_size:
        yield Finding(ERROR, about, "the file is empty", fix, str(path))
    elif _LABELS.fullmatch(setting.key):
        yield from _labels(about, path)


def _labels(about: str, path: Path) -> Iterator[Finding]:
    """Check a file of names, or of lines ``<class id> <name>``."""
    try:
        labels = read_label_file(path)
    except InvalidInput as error:
        line = re.search(r"line \d+", error.message)
        yield from_error(error, line.group() if line else about, "Write each line like '285 Egyptian cat', or names only", str(path))
        return
    seen: dict[int, int] = {}
    for label in labels:
        if label.number in seen:
            reason = f"the label file names class {label.number} twice, in lines {seen[label.number]} and {label.line}; the last counts"
            yield Finding(WARNING, f"line {label.line}", reason, "Remove one of them", str(path))
        seen[label.number] = label.line


def check_engine(target: Target) -> Iterator[Finding]:
    """Check the engine in the settings, and report the one that computed the module last."""
    for setting in target.settings():
        if setting.key == "engine" and isinstance(setting.value, str):
            yield from _named_engine(target, setting)
    note: dict[str, Any] | None = read_engine_note(target.info, target.folder)
    if note is None:
        return
    name = str(note.get("name", "?"))
    yield Finding(NOTE, "engine", f"{name} computed it last, noted at {note['noted_at']}: {note.get('reason') or 'no reason given'}")
    if name.isidentifier() and not is_installed(name):
        yield Finding(
            WARNING, "engine", f"{name}, which computed it last, is no longer installed: another will be chosen", f"pip install {name}"
        )


def _named_engine(target: Target, setting: sources.Literal) -> Iterator[Finding]:
    about, file = target.about(setting)
    if setting.value == AUTO:
        return
    try:
        engine_class(setting.value)
    except HubError as error:
        yield from_error(error, about, "Name one of them, or 'auto'", file)
        return
    if not is_installed(setting.value):
        yield Finding(
            ERROR, about, f"the engine {setting.value} is not installed here", "pip install 'hubserve[cpu,fast]', or set it to 'auto'", file
        )
