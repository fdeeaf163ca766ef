"""Regions are made by the unmodified client's own library, in the machine's own shared memory."""

import gc
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient.utils import shared_memory as client

from hubserve.errors import InvalidInput, TooLarge, Unavailable
from hubserve.protocols.open_inference.core.errors import NoSuchResource, NotSupported
from hubserve.protocols.open_inference.core.shared_memory import CudaSharedMemory, SharedMemory
from hubserve.settings import ServerSettings

VALUES = np.arange(64, dtype=np.float32)
FOLDER = Path("/dev/shm")


@pytest.fixture
def region() -> Iterator[Any]:
    """The client's handle of 256 bytes that hold VALUES."""
    handle = client.create_shared_memory_region("input", f"/hubserve-{secrets.token_hex(6)}", VALUES.nbytes)
    client.set_shared_memory_region(handle, [VALUES])
    yield handle
    client.destroy_shared_memory_region(handle)


@pytest.fixture
def memory() -> SharedMemory:
    return shared_memory()


def shared_memory(**settings: Any) -> SharedMemory:
    return SharedMemory(ServerSettings(modules_info={}, **{"shared_memory": True, **settings}))


def key_of(handle: Any) -> str:
    return str(handle._shm_key)


def path_of(handle: Any) -> Path:
    return FOLDER / key_of(handle).lstrip("/")


def read(memory: SharedMemory, offset: int = 0, byte_size: int = VALUES.nbytes) -> np.ndarray:
    return np.frombuffer(memory.section("input", offset, byte_size).read(), np.float32)


def test_a_client_s_data_are_read_from_a_region(memory: SharedMemory, region: Any) -> None:
    memory.register("input", key_of(region), 0, VALUES.nbytes)
    assert np.array_equal(read(memory), VALUES)
    client.set_shared_memory_region(region, [VALUES * 2])
    assert np.array_equal(read(memory), VALUES * 2)


def test_a_key_may_do_without_its_slash(memory: SharedMemory, region: Any) -> None:
    memory.register("input", key_of(region).lstrip("/"), 0, VALUES.nbytes)
    assert np.array_equal(read(memory), VALUES)


def test_offsets_of_region_and_section_add_up(memory: SharedMemory, region: Any) -> None:
    memory.register("input", key_of(region), 64, 128)
    assert np.array_equal(read(memory, 32, 16), VALUES[24:28])


def test_a_client_sees_what_is_written(memory: SharedMemory, region: Any) -> None:
    memory.register("input", key_of(region), 16, 64)
    answer = np.array([[1.5, -2.5]], np.float32)
    memory.section("input", 8, 56).write(answer)
    assert np.array_equal(client.get_contents_as_numpy(region, np.float32, [1, 2], 24), answer)
    assert np.array_equal(client.get_contents_as_numpy(region, np.float32, [6], 0), VALUES[:6])


def test_an_empty_array_can_be_written(memory: SharedMemory, region: Any) -> None:
    memory.register("input", key_of(region), 0, 256)
    memory.section("input", 256, 0).write(np.empty((0, 4), np.float32))
    assert memory.section("input", 0, 0).read().nbytes == 0


def test_an_output_longer_than_its_section_is_refused(memory: SharedMemory, region: Any) -> None:
    memory.register("input", key_of(region), 0, 256)
    with pytest.raises(InvalidInput, match="has 8 bytes, and its part of shared memory region 'input' only 7"):
        memory.section("input", 0, 7).write(bytes(8))
    assert np.array_equal(read(memory), VALUES)


@pytest.mark.parametrize(("offset", "byte_size"), [(0, 257), (256, 1), (1, 256), (2**63 - 1, 2**63 - 1)])
def test_a_section_outside_its_region_is_refused(memory: SharedMemory, region: Any, offset: int, byte_size: int) -> None:
    memory.register("input", key_of(region), 0, 256)
    with pytest.raises(InvalidInput, match="'input' has 256 bytes"):
        memory.section("input", offset, byte_size)


@pytest.mark.parametrize("wrong", [-1, 1.5, "16", None, True, 2**63, 10**40])
def test_an_invalid_offset_or_size_is_refused(memory: SharedMemory, region: Any, wrong: Any) -> None:
    with pytest.raises(InvalidInput, match="'offset' must be a whole number"):
        memory.register("input", key_of(region), wrong, 16)
    with pytest.raises(InvalidInput, match="'byte_size' must be a whole number"):
        memory.register("input", key_of(region), 0, wrong)
    assert memory.status() == []
    memory.register("input", key_of(region), 0, 256)
    with pytest.raises(InvalidInput, match="'shared_memory_offset' must be a whole number"):
        memory.section("input", wrong, 16)


def test_a_region_longer_than_its_file_is_refused(memory: SharedMemory, region: Any) -> None:
    with pytest.raises(InvalidInput, match="has 256 bytes, fewer than 200 from offset 100"):
        memory.register("input", key_of(region), 100, 200)
    assert memory.status() == []


def test_a_name_is_registered_once(memory: SharedMemory, region: Any) -> None:
    memory.register("input", key_of(region), 0, 256)
    with pytest.raises(InvalidInput, match="shared memory region 'input' already in manager"):
        memory.register("input", key_of(region), 0, 16)
    memory.unregister("input")
    memory.register("input", key_of(region), 0, 16)
    assert memory.status("input") == [{"name": "input", "key": key_of(region), "offset": 0, "byte_size": 16}]


def test_an_unregistered_region_is_refused(memory: SharedMemory, region: Any) -> None:
    memory.unregister("input")
    with pytest.raises(NoSuchResource, match="Unable to find system shared memory region: 'input'"):
        memory.status("input")
    with pytest.raises(InvalidInput, match="Unable to find shared memory region: 'input'"):
        memory.section("input", 0, 1)
    memory.register("input", key_of(region), 0, 256)
    memory.register("other", key_of(region), 0, 256)
    assert [each["name"] for each in memory.status()] == ["input", "other"]
    memory.unregister()
    assert memory.status() == []


@pytest.mark.parametrize(
    "key", ["", "/", "//", ".", "..", "/..", "../etc/passwd", "/../etc/passwd", "/a/b", "a/", "a\0b", "a" * 300, "\ud800/x", None, 7, b"a"]
)
def test_a_key_with_a_path_is_refused(memory: SharedMemory, key: Any) -> None:
    with pytest.raises(InvalidInput, match="is not a key of a POSIX shared memory object"):
        memory.register("input", key, 0, 1)


@pytest.mark.parametrize("key", ["/hubserve-nothing-here", "/\ud800"])
def test_a_key_without_an_object_is_refused(memory: SharedMemory, key: str) -> None:
    with pytest.raises(InvalidInput, match="Unable to open shared memory region"):
        memory.register("input", key, 0, 1)


def test_links_folders_and_pipes_are_refused(memory: SharedMemory, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(100))
    path = FOLDER / f"hubserve-{secrets.token_hex(6)}"
    path.symlink_to(secret)
    try:
        with pytest.raises(InvalidInput, match="it is a link"):
            memory.register("input", path.name, 0, 1)
    finally:
        path.unlink()
    path.mkdir()
    try:
        with pytest.raises(InvalidInput, match="Unable to open shared memory region"):
            memory.register("input", path.name, 0, 1)
    finally:
        path.rmdir()
    os.mkfifo(path)
    try:
        with pytest.raises(InvalidInput, match="is not a shared memory object"):
            memory.register("input", path.name, 0, 1)
    finally:
        path.unlink()


def test_a_truncated_file_is_an_error_and_does_not_end_the_server(memory: SharedMemory, region: Any) -> None:
    memory.register("input", key_of(region), 0, 256)
    section = memory.section("input", 0, 256)
    os.truncate(path_of(region), 100)
    with pytest.raises(InvalidInput, match="has been cut short since it was registered"):
        section.read()
    with pytest.raises(InvalidInput, match="has been cut short since it was registered"):
        section.write(bytes(256))
    assert path_of(region).stat().st_size == 100
    os.truncate(path_of(region), 256)
    assert np.array_equal(np.frombuffer(section.read(), np.float32)[:25], VALUES[:25])


def test_a_file_that_another_process_keeps_truncating_does_not_end_the_server(memory: SharedMemory, region: Any) -> None:
    memory.register("input", key_of(region), 0, 256)
    saws = "import os, sys\nprint('cutting', flush=True)\nwhile True:\n    os.truncate(sys.argv[1], 0)\n    os.truncate(sys.argv[1], 256)\n"
    with subprocess.Popen([sys.executable, "-c", saws, str(path_of(region))], stdout=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stdout.readline() == b"cutting\n"
        try:
            section, outcomes = memory.section("input", 0, 256), set()
            for _ in range(3000):
                try:
                    outcomes.add(section.read().nbytes)
                    section.write(bytes(256))
                except InvalidInput:
                    outcomes.add(-1)
        finally:
            process.kill()
    assert outcomes
    assert outcomes <= {256, -1}


def test_a_section_outlives_its_region_and_its_file(memory: SharedMemory, region: Any) -> None:
    memory.register("input", key_of(region), 0, 256)
    section = memory.section("input", 0, 256)
    memory.unregister("input")
    copy = FOLDER / f"{path_of(region).name}-moved"
    path_of(region).rename(copy)
    try:
        assert np.array_equal(np.frombuffer(section.read(), np.float32), VALUES)
        section.write(bytes(256))
    finally:
        copy.rename(path_of(region))
    assert not client.get_contents_as_numpy(region, np.float32, [64]).any()


def test_a_region_that_nothing_uses_keeps_no_file_open(memory: SharedMemory, region: Any) -> None:
    gc.collect()  # what other tests left would be closed some time
    before = len(os.listdir("/proc/self/fd"))
    memory.register("input", key_of(region), 0, 256)
    with pytest.raises(InvalidInput):
        memory.register("other", key_of(region), 0, 257)
    assert len(os.listdir("/proc/self/fd")) == before + 1
    memory.unregister()
    assert len(os.listdir("/proc/self/fd")) == before


def test_regions_are_bounded_in_number(memory: SharedMemory, region: Any) -> None:
    for number in range(512):
        memory.register(str(number), key_of(region), 0, 256)
    with pytest.raises(Unavailable, match="512 shared memory regions, which is its limit"):
        memory.register("input", key_of(region), 0, 256)
    memory.unregister("7")
    memory.register("input", key_of(region), 0, 256)


def test_an_input_may_not_be_longer_than_a_body_may_be(region: Any) -> None:
    memory = shared_memory(max_body_bytes=200)
    memory.register("input", key_of(region), 0, 256)
    with pytest.raises(TooLarge, match="256 bytes in shared memory is over this server's limit of 200 bytes"):
        memory.section("input", 0, 256).read()
    assert memory.section("input", 0, 200).read().nbytes == 200


def test_a_server_without_shared_memory_says_so(region: Any) -> None:
    memory = shared_memory(shared_memory=False)
    with pytest.raises(NotSupported, match="shared memory is off on this server"):
        memory.register("input", key_of(region), 0, 256)
    with pytest.raises(NotSupported, match="shared memory is off on this server"):
        memory.section("input", 0, 256)
    assert memory.status() == []
    memory.unregister()


def test_memory_of_a_gpu_is_refused_and_its_absence_is_no_error() -> None:
    memory = CudaSharedMemory()
    with pytest.raises(NotSupported, match="failed to register CUDA shared memory region: 'input', GPUs not supported"):
        memory.register("input")
    memory.unregister()
    memory.unregister("input")
    assert memory.status() == []
    with pytest.raises(NoSuchResource, match="Unable to find cuda shared memory region: 'input'"):
        memory.status("input")
