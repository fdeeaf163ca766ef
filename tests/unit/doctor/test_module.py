"""Findings of hub doctor about modules, each provoked without running the module's code."""

import json
import shutil
from pathlib import Path

import pytest

from hubserve.doctor.module import examine_module
from hubserve.registry.engine_note import note_engine
from hubserve.registry.installer import Installer
from hubserve.registry.resolve import resolve
from tests.conftest import MODULES, ROOT
from tests.triton_models import scale
from tests.unit.doctor.found import the, without_engines, worse_than_notes

SOURCE = """from hubserve.module import moduleinfo, serving

{before}

@moduleinfo(name="{name}", version="1.0.0")
class Thing:
    def __init__(self, {arguments}):
        pass

    {mark}
    def serve(self, text):
        return text
{after}
"""


def make(folder: Path, before: str = "", name: str = "thing", arguments: str = "size=1", mark: str = "@serving", after: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "module.py").write_text(SOURCE.format(before=before, name=name, arguments=arguments, mark=mark, after=after))
    return folder


@pytest.fixture
def folder(tmp_path: Path, home: Path) -> Path:
    return tmp_path / "thing"


@pytest.mark.parametrize(
    "path", [ROOT / "hubmodules" / "clas", *sorted(each.parent for each in MODULES.glob("*/module.py"))], ids=lambda path: path.name
)
def test_good_modules_have_no_errors(path: Path, home: Path, model_dir: Path) -> None:
    found = worse_than_notes(examine_module(str(path)))
    assert [each for each in found if "'gradio', which is not installed here: code that needs it fails" not in each.reason] == []


def test_a_module_that_is_not_installed_is_an_error_that_says_what_to_do(home: Path) -> None:
    found = the(examine_module("nowhere"), "nowhere")
    assert (found.level, found.fix) == ("error", "Install one with: hub install FOLDER_OR_ARCHIVE")


@pytest.mark.parametrize(
    ("text", "about", "says"),
    [
        ("x = (\n", "line 1", "'(' was never closed"),
        ("class Thing:\n    pass\n", "module.py", "no class under @moduleinfo"),
        ("NAME = 'x'\n@moduleinfo(name=NAME, version='1')\nclass Thing:\n    pass\n", "line 2", "needs name='...' as a literal text"),
    ],
)
def test_problems_of_module_py_are_reported_with_their_line(folder: Path, text: str, about: str, says: str) -> None:
    folder.mkdir()
    (folder / "module.py").write_text(text)
    found = the(examine_module(str(folder)), about)
    assert (found.level, found.file) == ("error", str(folder / "module.py"))
    assert says in found.reason


def test_a_name_that_cannot_be_used_is_an_error(folder: Path) -> None:
    found = the(examine_module(str(make(folder, name="../up"))), "module.py")
    assert (found.level, "cannot be used" in found.reason) == ("error", True)


def test_no_module_code_is_run(folder: Path) -> None:
    make(folder, before="raise SystemExit('it was run')")
    (folder / "__init__.py").write_text("raise SystemExit('it was run')")
    assert worse_than_notes(examine_module(str(folder))) == []


def test_a_module_that_answers_nothing_and_a_second_class_are_warnings(folder: Path) -> None:
    make(folder, mark="", after='\n@moduleinfo(name="second", version="1")\nclass Second:\n    pass')
    found = examine_module(str(folder))
    assert "no method is marked" in the(found, "module.py").reason
    second = the(found, "line 15")
    assert (second.level, "'Second'" in second.reason) == ("warning", True)


def test_another_file_that_is_not_python_is_an_error_with_its_line(folder: Path) -> None:
    make(folder)
    (folder / "helper.py").write_text("\n\nprint 'old'\n")
    found = the(examine_module(str(folder)), "line 3")
    assert (found.level, found.file) == ("error", str(folder / "helper.py"))


def test_requirements_that_are_not_met_are_errors_with_their_lines(folder: Path) -> None:
    make(folder)
    lines = [
        "# a comment",
        "numpy>=1",
        "no-such-package==1.0  # needed",
        "numpy<0.1",
        "-r other.txt",
        "what is this",
        "x; python_version < '3'",
    ]
    (folder / "requirements.txt").write_text("\n".join(lines))
    found = {each.about: each for each in worse_than_notes(examine_module(str(folder)))}
    assert list(found) == ["line 3: no-such-package", "line 4: numpy", "line 6"]
    assert found["line 3: no-such-package"].fix == "pip install 'no-such-package==1.0'"
    assert "is not a requirement" in found["line 6"].reason
    assert {each.level for each in found.values()} == {"error"}


def test_imports_that_fail_are_errors_and_those_that_need_not_happen_are_warnings(folder: Path) -> None:
    before = """import json, numpy.linalg
import missing_one.part
from . import helper
import helper
from thing.helper import x
from paddlehub.module.module import runnable
try:
    import missing_two
except ImportError:
    missing_two = None
def late():
    from missing_three import y
"""
    make(folder, before=before)
    (folder / "helper.py").touch()
    found = {each.about: each for each in worse_than_notes(examine_module(str(folder)))}
    assert {about: each.level for about, each in found.items()} == {"line 4": "error", "line 10": "warning", "line 14": "warning"}
    assert "'missing_one', which is not installed here: the module cannot be loaded" in found["line 4"].reason


def test_what_to_install_is_named_only_where_it_is_certain_and_what_lies_beside_is_there(folder: Path, tmp_path: Path) -> None:
    make(folder, before="import sentencepiece_ng\nimport imgaug\nimport words\nfrom parts import a")
    (tmp_path / "words.py").touch()
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "a.py").touch()
    (folder / "requirements.txt").write_text("paddlehub>=2.1\nPaddleHub[extra]\n")
    found = worse_than_notes(examine_module(str(folder)))
    assert [each.fix for each in found] == [
        "Install the package that provides 'sentencepiece_ng'; its name may differ",
        "pip install imgaug",
    ]


def test_a_source_with_links_and_what_is_not_installed_of_it_has_not_changed(folder: Path, tmp_path: Path, home: Path) -> None:
    make(folder)
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "weights").write_text("one")
    (folder / "data").symlink_to(tmp_path / "disk")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("ref")
    Installer(home).install(folder, check=False)
    assert "source" not in [each.about for each in examine_module("thing")]
    (tmp_path / "disk" / "weights").write_text("two")
    assert "has changed since the module was installed from it" in the(examine_module("thing"), "source").reason


def clas(folder: Path, **settings: str) -> Path:
    """Copy the classifier with other settings in its params.py."""
    shutil.copytree(ROOT / "hubmodules" / "clas", folder)
    params = folder / "params.py"
    for key, value in settings.items():
        lines = params.read_text("utf-8").splitlines()
        params.write_text("\n".join(f'"{key}": {value!r},' if f'"{key}":' in line else line for line in lines))
    return folder


def test_missing_model_and_label_files_are_errors_with_file_key_and_line(folder: Path) -> None:
    found = examine_module(str(clas(folder, inference_model_dir="nowhere/", class_id_map_file="nowhere.txt")))
    model, labels = the(found, "inference_model_dir (line 9)"), the(found, "class_id_map_file (line ")
    assert {model.level, labels.level} == {"error"}
    assert model.file == str(folder / "params.py")
    assert "cannot find the folder 'nowhere/': looked at" in model.reason
    assert model.fix == "Give an absolute path or put it there."


def test_weights_that_are_cut_short_or_missing_are_errors(folder: Path, tmp_path: Path, model_dir: Path) -> None:
    cut = tmp_path / "cut"
    cut.mkdir()
    shutil.copy(model_dir / "inference.pdmodel", cut)
    module = str(clas(folder, inference_model_dir=str(cut)))
    assert "its weights 'inference.pdiparams' are missing" in the(examine_module(module), "inference_model_dir").reason
    (cut / "inference.pdiparams").write_bytes((model_dir / "inference.pdiparams").read_bytes()[:-1000])
    found = the(examine_module(module), "inference_model_dir")
    assert (found.level, "damaged or cut short" in found.reason) == ("error", True)


@pytest.mark.parametrize(
    ("content", "level", "says"),
    [
        (b"", "error", "the file is empty"),
        (b"0 tench\n\none goldfish\n", "error", "line 3 is not '<class id> <name>': 'one goldfish'"),
        (b"0 tench\n1\n", "error", "line 2 is not"),
        (b"0 caf\xe9\n", "error", "not UTF-8"),
        (b"0 tench\n5 fish\n0 shark\n", "warning", "names class 0 twice, in lines 1 and 3"),
    ],
)
def test_problems_of_a_label_file_are_reported(
    folder: Path, tmp_path: Path, model_dir: Path, content: bytes, level: str, says: str
) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_bytes(content)
    (found,) = worse_than_notes(examine_module(str(clas(folder, inference_model_dir=str(model_dir), class_id_map_file=str(labels)))))
    assert (found.level, found.file, says in found.reason) == (level, str(labels), True)


def test_arguments_of_the_configuration_count_before_the_modules_own(folder: Path, model_dir: Path) -> None:
    module = str(clas(folder, inference_model_dir="nowhere/", class_id_map_file=""))
    right = examine_module(module, init_args={"inference_model_dir": str(model_dir)}, origin="c.json")
    assert worse_than_notes(right) == []
    (wrong,) = worse_than_notes(examine_module(module, init_args={"inference_model_dir": "/else/where"}, origin="c.json"))
    assert (wrong.file, wrong.about) == ("c.json", "modules_info.clas_system.init_args.inference_model_dir")


def test_an_engine_that_does_not_exist_is_an_error_with_the_nearest(folder: Path, model_dir: Path) -> None:
    module = str(clas(folder, inference_model_dir=str(model_dir), class_id_map_file="", engine="openvin"))
    (found,) = worse_than_notes(examine_module(module))
    assert found.about.startswith("engine (line ")
    assert "Did you mean 'openvino'?" in f"{found.reason} {found.fix}"


def test_an_engine_that_is_not_installed_is_an_error(folder: Path, model_dir: Path, tmp_path: Path, home: Path) -> None:
    module = str(clas(folder, inference_model_dir=str(model_dir), class_id_map_file="", engine="openvino"))
    assert worse_than_notes(examine_module(module)) == []
    done = without_engines(tmp_path, "-m", "hubserve", "doctor", module, "--json", "--quiet", home=home)
    (found,) = json.loads(done.stdout)["findings"]
    assert (found["level"], found["reason"]) == ("error", "the engine openvino is not installed here")


def test_the_engine_that_computed_a_module_last_is_reported_and_missed(folder: Path) -> None:
    make(folder)
    where = resolve(str(folder))
    note_engine(where.info, where.folder, {"name": "onnxruntime", "reason": "it was the fastest"})
    assert "it was the fastest" in the(examine_module(str(folder)), "engine").reason
    note_engine(where.info, where.folder, {"name": "gone_engine", "reason": ""})
    (found,) = worse_than_notes(examine_module(str(folder)))
    assert "gone_engine, which computed it last, is no longer installed" in found.reason


def test_installed_files_that_have_changed_are_an_error_and_a_changed_source_is_a_note(folder: Path) -> None:
    installed = Installer().install(make(folder))
    assert worse_than_notes(examine_module("thing")) == []
    (folder / "more.py").touch()
    assert the(examine_module("thing"), "source").level == "note"
    (installed.folder / "module.py").write_text((installed.folder / "module.py").read_text() + "\n")
    (found,) = worse_than_notes(examine_module("thing"))
    assert (found.level, found.about, found.fix) == ("error", "digest", f"Install it again: hub install {folder}")


def test_arguments_that_the_module_does_not_take_are_errors_with_the_nearest(folder: Path) -> None:
    make(folder)
    about = {"init_args": {"sizes": 2, "size": 1}, "predict_args": {"txt": ""}, "origin": "c.json"}
    found = worse_than_notes(examine_module(str(folder), **about))
    assert [(each.about, each.file) for each in found] == [
        ("modules_info.thing.init_args.sizes", "c.json"),
        ("modules_info.thing.predict_args.txt", "c.json"),
    ]
    assert "did you mean 'size'?" in found[0].reason
    make(folder, arguments="**settings")
    assert len(worse_than_notes(examine_module(str(folder), **about))) == 1


def test_a_models_file_is_examined_as_it_is_served(tmp_path: Path, home: Path) -> None:
    found = examine_module(str(scale(tmp_path / "net.onnx")))
    assert worse_than_notes(found) == []
    assert the(found, "module").reason == "net 1, a model module"
    assert the(found, "model").reason == "net.onnx is complete"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("cut.onnx", b"\x3a\xff\xff\xff\x0f", "is not an ONNX model, or is damaged"),
        ("net.xml", b"<net></net>", "its weights 'net.bin' are missing"),
    ],
)
def test_a_models_file_that_cannot_be_served_is_an_error_that_says_why(
    tmp_path: Path, home: Path, name: str, content: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(content)
    (found,) = worse_than_notes(examine_module(str(tmp_path / name)))
    assert (found.level, found.file) == ("error", str(tmp_path / name))
    assert says in found.reason


def test_a_model_that_no_installed_engine_reads_is_an_error(tmp_path: Path, home: Path) -> None:
    done = without_engines(tmp_path, "-m", "hubserve", "doctor", str(scale(tmp_path / "net.onnx")), "--json", "--quiet", home=home)
    (found,) = json.loads(done.stdout)["findings"]
    assert (found["level"], found["about"], found["fix"]) == ("error", "engine", "pip install 'hubserve[cpu,fast]'")
    assert "onnxruntime" in found["reason"]
