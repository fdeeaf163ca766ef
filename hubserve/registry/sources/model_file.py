"""A model's own files on this machine, installed as a module without code."""

import json
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path

from hubserve.errors import HubError, InstallError
from hubserve.kinds import find_kind
from hubserve.kinds.model_file import CARD, KIND, Card, all_files, card_of, has_card, is_model, only_graph
from hubserve.registry.digests import check_digest, digest_of
from hubserve.registry.names import check_name, check_version, folder_name
from hubserve.registry.provenance import Origin
from hubserve.registry.sources.base import Fetched, Fetching, Request, Source, unsigned
from hubserve.registry.sources.local import local_path

#: version of a model that is installed without one
VERSION = "1.0.0"


class ModelSource(Source):
    """A model's file, or a folder with the files of one model and no module."""

    name = "model"

    def recognises(self, request: Request) -> bool:
        """Recognise a file by its name, a folder by its content."""
        path = local_path(request)
        if is_model(path):
            return True
        try:
            return path.is_dir() and find_kind(path).name == KIND and not has_card(path)
        except HubError:  # the folder source has a better message
            return False

    @contextmanager
    def fetched(self, request: Request) -> Fetching:
        """Provide a folder with the model's files and a card with its name and version."""
        path = local_path(request)
        if request.settings.require_signature and path.is_file():
            raise unsigned(f"'{path}'")
        graph = path if is_model(path) else only_graph(path)
        described = card_of(path)
        card = Card(request.model_name or described.name, request.model_version or VERSION, graph.name)
        check_name(card.name)
        check_version(card.version)
        provenance = {"kind": self.name}
        if path.is_file():
            provenance["sha256"] = digest_of(path, request.progress)
            check_digest(str(path), provenance["sha256"], request.sha256)
        elif request.sha256:
            raise InstallError("a digest is of a file, and a folder was given. Leave the digest out, or give the model's file.")
        files = all_files(graph)
        tmp = request.home / "tmp"
        tmp.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="model-", dir=tmp) as made:
            folder = Path(made) / folder_name(card.name)
            folder.mkdir()
            for each in files:
                _link_or_copy(each, folder / _relative_path(each, graph))
            (folder / CARD).write_text(json.dumps(card._asdict(), ensure_ascii=False) + "\n", encoding="utf-8")
            yield Fetched(folder, Origin(str(path), provenance, is_local=False))


def _relative_path(file: Path, graph: Path) -> Path:
    """Return the path of a file relative to the model's own; ONNX weights may be in a folder beside it."""
    with suppress(ValueError):
        return file.relative_to(graph.parent.resolve())
    with suppress(ValueError):
        return file.relative_to(graph.parent)
    return Path(graph.stem + file.suffix)  # parameters that were merged from the files of Paddle 1


def _link_or_copy(file: Path, target: Path) -> None:
    """Create a hard link to a file, or copy it to another file system."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file.resolve(), target)
    except OSError:  # another file system, or one without links
        shutil.copyfile(file, target)
