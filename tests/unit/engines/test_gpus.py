"""GPUs of the machine and of the process, and the errors about them."""

import re
from pathlib import Path

import pytest

from hubserve.engines import ENGINES, engine_class, gpus
from hubserve.engines.gpus import gpu_count, listed_gpus, no_gpu, visible_gpus, why_no_gpu
from hubserve.engines.package_versions import version_of
from hubserve.registry.environments.module_requirements import engine_profile
from hubserve.registry.environments.profile import get_profile
from tests.conftest import ROOT


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ((), 0),
        (("dev/nvidia0", "dev/nvidia1", "dev/nvidiactl", "dev/nvidia-uvm"), 2),
        (("dev/dxg", "usr/lib/wsl/lib/libcuda.so.1"), 1),
        (("dev/dxg",), 0),
        (("dev/nvhost-gpu",), 1),
    ],
)
def test_gpus_are_counted_by_their_device_files(tmp_path: Path, files: tuple[str, ...], count: int) -> None:
    for each in files:
        (tmp_path / each).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / each).touch()
    assert gpu_count(tmp_path) == count


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0, 1", ["0", "1"]),
        ("", []),
        ("-1", []),
        ("2,-1,3", ["2"]),
        ("all", []),
        ("GPU-ab,MIG-cd", ["GPU-ab", "MIG-cd"]),
        ("0,,1", ["0"]),
    ],
)
def test_a_list_of_gpus_ends_where_cuda_stops_reading(text: str, expected: list[str]) -> None:
    assert listed_gpus(text) == expected


def test_all_gpus_are_visible_unless_a_variable_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "gpu_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert (visible_gpus(), why_no_gpu()) == (["0", "1"], "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert (visible_gpus(), why_no_gpu()) == (["1"], "")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "none")
    assert visible_gpus() == []
    assert "CUDA_VISIBLE_DEVICES='none' hides all of them" in why_no_gpu()


def test_the_error_names_the_machine_first_and_the_package_s_remedy_only_where_it_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpus, "gpu_count", lambda: 0)
    text = str(no_gpu("PyTorch", "it is built for CPUs", "Install another."))
    assert text.startswith("a GPU is asked for, and this machine has none")
    assert "; it is built for CPUs. Compute on the CPU: KIND_CPU" in text
    monkeypatch.setattr(gpus, "gpu_count", lambda: 1)
    text = str(no_gpu("PyTorch", "it is built for CPUs", "Install another."))
    assert text.startswith("a GPU is asked for, and it is built for CPUs. Install another. Or compute on the CPU")
    assert "PyTorch finds none" in str(no_gpu("PyTorch"))


def test_the_guide_has_every_engine_and_says_which_have_gpus() -> None:
    guide = (ROOT / "docs" / "gpu.md").read_text("utf-8").partition("## Engines")[2].partition("\n\nEach needs")[0]
    rows = dict(re.findall(r"^\| `([a-z]+)` \| (.+?) \|", guide, re.MULTILINE))
    assert {name: not text.startswith("no;") for name, text in rows.items()} == {name: engine_class(name).has_gpu for name in ENGINES}


@pytest.mark.parametrize("name", [name for name in ENGINES if engine_class(name).gpu_profile])
def test_profiles_for_gpus_exist_have_the_package_and_are_not_chosen_automatically(home: Path, name: str) -> None:
    engine = engine_class(name)
    profile = get_profile(home, engine.gpu_profile)
    assert profile.packages_of(engine.package or name)[0] == engine.gpu_package
    assert not profile.automatic
    assert engine_profile(name, use_gpu=True) in ("", engine.gpu_profile)
    assert engine_profile(name, use_gpu=True) or version_of(engine.gpu_package)
