"""GPUs of the machine and of the process, and the errors about them."""

from pathlib import Path

import pytest

from hubserve.engines import gpus
from hubserve.engines.gpus import gpu_count, listed_gpus, no_gpu, visible_gpus, why_no_gpu


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
