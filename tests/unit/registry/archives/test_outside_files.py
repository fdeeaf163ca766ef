"""Files outside a module's folder are found in its sources, without running them."""

import json
import os
import shutil
from pathlib import Path, PurePosixPath

import pytest

from hubserve.errors import InstallError
from hubserve.module import SEARCH_PATH_VARIABLE, find_file
from hubserve.registry.archives.outside_files import FOLDER, find_assets, packed_source
from hubserve.registry.archives.packing import pack
from hubserve.registry.installer import Installer
from hubserve.registry.resolve import resolve
from tests.unit.registry.toys import write_module


def _with_files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def _packed(folder: Path) -> list[str]:
    return [str(place) for _, place in find_assets(folder).files]


def test_a_model_beside_the_modules_parent_travels_with_its_place(tmp_path: Path) -> None:
    module = write_module(tmp_path / "repo" / "modules" / "toy", extra='MODEL, LABELS = "../inference/", "../inference/labels.txt"\n')
    _with_files(tmp_path / "repo" / "inference", "inference.pdmodel", "inference.pdiparams", "labels.txt", "other/inference.pdmodel")
    found = find_assets(module)
    assert found.source == PurePosixPath("modules/toy")
    names = ["inference/inference.pdiparams", "inference/inference.pdmodel", "inference/labels.txt"]
    assert [str(place) for _, place in found.files] == names, "another model's folder inside is another model"
    assert [path for path, _ in found.files] == [tmp_path / "repo" / name for name in names]
    assert found.named == ["../inference/", "../inference/labels.txt"]


def test_a_folder_without_model_files_is_packed_completely(tmp_path: Path) -> None:
    module = write_module(tmp_path / "toy", extra='DATA = "data/words/"\n')
    _with_files(tmp_path / "data" / "words", "a.txt", "deep/b.txt")
    assert _packed(module) == ["data/words/a.txt", "data/words/deep/b.txt"]


def test_what_is_a_part_of_the_module_or_holds_it_is_no_asset(tmp_path: Path) -> None:
    module = write_module(tmp_path / "repo" / "toy", extra='A, B, C, D = "own/data", "../toy/own", "../", "../.."\n')
    _with_files(module, "own/data/x.bin")
    _with_files(tmp_path, "beside.txt", "repo/beside.txt")
    assert _packed(module) == []


def test_words_that_only_look_like_paths_are_nothing(tmp_path: Path) -> None:
    module = write_module(
        tmp_path / "toy",
        extra='WORDS = ["image/png", "http://a/b", "a/\\n/b", "/", "b/" + "x" * 5000, "\\0/x", "2024/01"]\nclass C: """x/y"""\n',
    )
    assert _packed(module) == []


def test_absolute_paths_are_reported(tmp_path: Path) -> None:
    _with_files(tmp_path / "models", "m.onnx")
    module = write_module(tmp_path / "toy", extra=f'MODEL = "{tmp_path}/models"\n')
    found = find_assets(module)
    assert (found.files, found.fixed) == ([], [f"{tmp_path}/models"])


def test_links_are_taken_as_what_they_point_to(tmp_path: Path) -> None:
    module = write_module(tmp_path / "toy", extra='MODEL = "models/now/"\n')
    _with_files(tmp_path / "models" / "v2", "m.onnx")
    (tmp_path / "models" / "now").symlink_to("v2")
    assert find_assets(module).files == [(tmp_path / "models" / "v2" / "m.onnx", PurePosixPath("models/now/m.onnx"))]


def test_an_installed_module_is_looked_up_from_where_it_was_installed(tmp_path: Path) -> None:
    source = write_module(tmp_path / "repo" / "toy", extra='MODEL = "../models/m.onnx"\n')
    _with_files(tmp_path / "models", "m.onnx")
    installed = write_module(tmp_path / "home" / "toy" / "1.0.0", extra='MODEL = "../models/m.onnx"\n')
    assert find_assets(installed).files == []
    assert find_assets(installed, source) == find_assets(source)


def test_the_packed_place_is_read_back(tmp_path: Path) -> None:
    module = write_module(tmp_path / "toy", extra='MODEL = "../models/m.onnx"\n')
    assert packed_source(module) is None
    (module / FOLDER).mkdir()
    (module / FOLDER / "assets.json").write_text(find_assets(module).to_json_text())
    assert packed_source(module) == PurePosixPath(FOLDER, "toy")


@pytest.mark.parametrize(
    "document",
    [
        "no json",
        "[]",
        "{}",
        json.dumps({"schema_version": 1, "source": "../../etc"}),
        json.dumps({"schema_version": 1, "source": "/etc"}),
        json.dumps({"schema_version": 1, "source": 7}),
        json.dumps({"schema_version": 2, "source": "toy"}),
        "[" * 100_000,
    ],
)
def test_a_damaged_or_hostile_index_is_refused(tmp_path: Path, document: str) -> None:
    module = write_module(tmp_path / "toy")
    (module / FOLDER).mkdir()
    (module / FOLDER / "assets.json").write_text(document)
    with pytest.raises(InstallError) as caught:
        packed_source(module)
    assert "assets.json" in caught.value.message or "refused" in caught.value.message


def test_packed_assets_are_found_where_the_archive_is_installed(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    extra = "from hubserve.module import find_file\nimport os\n"
    module = write_module(
        tmp_path / "repo" / "toy", extra=extra + 'TEXT = find_file("../models/m.txt", os.path.dirname(__file__)).read_text()'
    )
    _with_files(tmp_path / "models", "m.txt")
    archive = pack(module, tmp_path, assets=find_assets(module))
    shutil.rmtree(tmp_path / "repo")
    shutil.rmtree(tmp_path / "models")
    installed = Installer().install(archive)  # it imports the module, which reads the file
    source = installed.folder / installed.manifest.source_folder
    assert source == installed.folder / FOLDER / "repo" / "toy"
    found = resolve("toy")
    monkeypatch.setenv(SEARCH_PATH_VARIABLE, os.pathsep.join(map(str, found.search_path)))
    assert find_file("../models/m.txt", found.folder).read_text() == "m.txt"
    again = pack(installed.folder, tmp_path / "again.tar.gz", assets=find_assets(installed.folder, source))
    assert Installer().install(again).manifest.digest == installed.manifest.digest, "what is installed can be packed again, whole"


def test_a_module_with_a_folder_of_that_name_is_not_packed_over(tmp_path: Path, home: Path) -> None:
    module = write_module(tmp_path / "toy", extra='MODEL = "../models/m.onnx"\n')
    _with_files(tmp_path / "models", "m.onnx")
    _with_files(module, ".assets/mine.txt")
    with pytest.raises(InstallError, match=r"has a folder \.assets already"):
        pack(module, tmp_path / "toy.tar.gz", assets=find_assets(module))
    assert not (tmp_path / "toy.tar.gz").exists()


def test_the_modules_code_does_not_run(tmp_path: Path) -> None:
    proof = tmp_path / "it-ran"
    module = write_module(tmp_path / "toy", extra=f"open({str(proof)!r}, 'w')\n")
    find_assets(module)
    assert not os.path.exists(proof)
