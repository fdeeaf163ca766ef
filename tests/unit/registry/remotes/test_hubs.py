"""Repositories of Hugging Face and ModelScope: their own clients, and a server with their interfaces."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hubserve.errors import HubError, InstallError
from hubserve.registry.configuration import InstallSettings
from hubserve.registry.installer import Installer
from hubserve.registry.progress import silent
from hubserve.registry.remotes import open_remote
from hubserve.registry.remotes.copies import copy_of_module
from tests.conftest import hub_here
from tests.remote_places import TOKEN, Hub, hub_server, texts_below
from tests.triton_models import scale

pytest.importorskip("huggingface_hub")
pytest.importorskip("modelscope_hub")

SETTINGS = InstallSettings(fetch_timeout_s=5)


@pytest.fixture
def hub(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as server:
        for name, value in server.environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
        monkeypatch.setenv("MODELSCOPE_HOME", str(tmp_path / "ms"))
        import huggingface_hub.constants

        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", server.url)  # it was read when another test imported it
        server.files = {"README.md": b"about", "onnx/model.onnx": scale(tmp_path / "made.onnx", 2.0).read_bytes()}
        server.in_lfs = {"onnx/model.onnx"}
        yield server


@pytest.mark.parametrize("scheme", ["hf", "modelscope"])
def test_a_repository_is_installed_with_its_digests(hub: Hub, home: Path, scheme: str) -> None:
    hub.token = TOKEN
    installed = Installer().install(f"{scheme}:org/name", check=False)
    provenance = installed.manifest.provenance or {}
    assert installed.info.name == "name"
    assert provenance["kind"] == scheme
    assert provenance["file"] == "onnx/model.onnx"
    assert provenance["sha256"] == hashlib.sha256(hub.files["onnx/model.onnx"]).hexdigest()
    if scheme == "hf":
        assert provenance["commit"] == hub.commit
        assert provenance["url"] == f"hf:org/name@{hub.commit}"
    assert TOKEN not in texts_below(home)
    assert not any("README" in path for path, _ in hub.seen)
    asked = [headers for path, headers in hub.seen if "name" in path or "/cdn/" in path]  # the library asks for general documents, too
    sent = [{name.lower(): value for name, value in headers.items()} for headers in asked]
    hosts = {(each["host"].partition(":")[0], "authorization" in each) for each in sent}
    assert hosts == ({("127.0.0.1", True), ("localhost", False)} if scheme == "hf" else {("127.0.0.1", True)})


@pytest.mark.parametrize("scheme", ["hf", "modelscope"])
def test_a_cut_download_goes_on(hub: Hub, tmp_path: Path, scheme: str) -> None:
    hub.files["big.onnx"] = b"x" * 3_000_000
    hub.cut["big.onnx"] = 2_000_000
    steps: list[tuple[str, int, int]] = []
    copy = copy_of_module(f"{scheme}:org/name//big.onnx", tmp_path, SETTINGS, lambda *step: steps.append(step))
    assert copy.path.read_bytes() == hub.files["big.onnx"]
    assert [headers["Range"] for path, headers in hub.seen if "big.onnx" in path and "Range" in headers][-1] == "bytes=2000000-"
    assert ("fetching", 3_000_005, 3_000_005) in steps  # with README.md, which is beside it


def test_an_interrupted_copy_is_resumed_by_the_next_one(hub: Hub, tmp_path: Path) -> None:
    hub.files["big.onnx"] = b"x" * 3_000_000

    def interrupt(step: str, done_bytes: int = 0, total_bytes: int = 0) -> None:
        if done_bytes > 1_000_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        copy_of_module("hf:org/name//big.onnx", tmp_path, SETTINGS, interrupt)
    copy_of_module("hf:org/name//big.onnx", tmp_path, SETTINGS, silent)
    asked = [headers["Range"] for path, headers in hub.seen if "/cdn/big" in path and "Range" in headers]
    begun = [int(each.removeprefix("bytes=").rstrip("-")) for each in asked]
    assert begun
    assert begun[0] > 1_000_000


@pytest.mark.parametrize("scheme", ["hf", "modelscope"])
def test_other_content_than_listed_is_refused(hub: Hub, tmp_path: Path, scheme: str) -> None:
    hub.lies["onnx/model.onnx"] = b"y" * len(hub.files["onnx/model.onnx"])
    with pytest.raises(InstallError, match="its SHA-256 is"):
        copy_of_module(f"{scheme}:org/name", tmp_path, SETTINGS, silent)
    hub.lies["onnx/model.onnx"] = hub.files["onnx/model.onnx"] + b"more"
    with pytest.raises(InstallError, match="larger than the"):
        copy_of_module(f"{scheme}:org/name", tmp_path, SETTINGS, silent)
    hub.lies["onnx/model.onnx"] = b"short"
    with pytest.raises(InstallError, match=r"its SHA-256 is|bytes"):
        copy_of_module(f"{scheme}:org/name", tmp_path, SETTINGS, silent)


def test_other_content_than_git_has_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.in_lfs.clear()
    copy_of_module("hf:org/name", tmp_path / "a", SETTINGS, silent)
    hub.lies["onnx/model.onnx"] = b"y" * len(hub.files["onnx/model.onnx"])
    with pytest.raises(InstallError, match="another content than git"):
        copy_of_module("hf:org/name", tmp_path / "b", SETTINGS, silent)


@pytest.mark.parametrize("scheme", ["hf", "modelscope"])
@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "a\\b", "C:/x", "a\x00b", "onnx"])
def test_hostile_names_are_refused(hub: Hub, tmp_path: Path, scheme: str, name: str) -> None:
    hub.files[name] = b"hostile"
    with pytest.raises(InstallError, match="is refused"):
        copy_of_module(f"{scheme}:org/name", tmp_path / "copies", SETTINGS, silent)
    assert b"hostile" not in texts_below(tmp_path).encode("latin-1")


def test_huge_listings_are_refused(hub: Hub, tmp_path: Path) -> None:
    hub.files |= {f"file{number}": b"" for number in range(200)}
    with pytest.raises(InstallError, match="more than 100 files"):
        open_remote("hf:org/name", SETTINGS._replace(max_files=100)).listing()
    with pytest.raises(InstallError, match="more than 10 bytes"):
        open_remote("modelscope:org/name", SETTINGS._replace(max_bytes=10)).listing()


@pytest.mark.parametrize("scheme", ["hf", "modelscope"])
def test_a_hub_that_hangs_is_given_up(hub: Hub, scheme: str) -> None:
    hub.hangs = True
    with pytest.raises(HubError, match=r"cannot be listed|has not answered"):
        open_remote(f"{scheme}:org/name", SETTINGS._replace(fetch_timeout_s=1)).listing()


@pytest.mark.parametrize("scheme", ["hf", "modelscope"])
def test_what_needs_another_token_is_named(hub: Hub, scheme: str) -> None:
    hub.token = "another"
    with pytest.raises(InstallError, match=r"is not given out \(status 401\)") as caught:
        open_remote(f"{scheme}:org/name", SETTINGS).listing()
    assert TOKEN not in str(caught.value)
    hub.token = ""
    with pytest.raises(InstallError, match="is not given out"):
        open_remote(f"{scheme}:org/unknown", SETTINGS).listing()


def test_of_several_models_one_has_to_be_named(hub: Hub, tmp_path: Path) -> None:
    hub.files |= {"onnx/model_quantized.onnx": b"q", "onnx/model.onnx_data": b"d", "onnx/model_quantized.onnx_data": b"e"}
    with pytest.raises(InstallError, match=r"holds 2 models: .* 'hf:org/name//onnx/model.onnx'"):
        copy_of_module("hf:org/name", tmp_path, SETTINGS, silent)
    copy = copy_of_module("hf:org/name//onnx/model.onnx", tmp_path, SETTINGS, silent)
    assert sorted(each.name for each in copy.path.parent.iterdir()) == ["model.onnx", "model.onnx_data"]
    hub.files = {"notes.txt": b"none"}
    with pytest.raises(InstallError, match="neither a module nor a model"):
        copy_of_module("hf:org/name", tmp_path, SETTINGS, silent)


@pytest.mark.parametrize(
    "text", ["hf:name", "hf:a/b/c", "hf:../b", "hf:a/..", "hf:a/b@../c", f"hf:https://user:{TOKEN}@host/a/b", "hf:a/b c"]
)
def test_other_forms_are_refused(hub: Hub, text: str) -> None:
    with pytest.raises(InstallError) as caught:
        open_remote(text, SETTINGS)
    assert TOKEN not in str(caught.value)


def test_a_module_of_paddlehub_is_fetched_whole(hub: Hub, tmp_path: Path) -> None:
    hub.files = {"module.py": b"x = 1", "assets/weights.onnx": b"w", "assets/other.onnx": b"o"}
    copy = copy_of_module("hf:org/name@main", tmp_path, SETTINGS, silent)
    assert sorted(each.relative_to(copy.path).as_posix() for each in copy.path.rglob("*.*")) == [
        "assets/other.onnx",
        "assets/weights.onnx",
        "module.py",
    ]
    listed = (copy.origin.provenance or {})["files"].splitlines()
    assert [line.split("  ")[1] for line in listed] == ["assets/other.onnx", "assets/weights.onnx", "module.py"]


def test_the_state_says_what_was_copied(hub: Hub, tmp_path: Path) -> None:
    copy_of_module("hf:org/name", tmp_path, SETTINGS, silent)
    state: dict[str, Any] = json.loads(next(tmp_path.rglob("state.json")).read_text())
    assert state["revision"] == hub.commit
    asked = len(hub.seen)
    copy_of_module("hf:org/name", tmp_path, SETTINGS, silent)
    assert [path for path, _ in hub.seen[asked:]] == ["/api/models/org/name?blobs=true"]


def test_a_repository_is_downloaded_without_installing_it(hub: Hub, home: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    answer = hub_here("download", "hf:org/name", "-o", target, "--json", home=home)
    assert answer.returncode == 0, answer.stderr
    assert (target / "model.onnx").read_bytes() == hub.files["onnx/model.onnx"]
    assert json.loads(answer.stdout)["provenance"]["commit"] == hub.commit
    again = hub_here("download", "hf:org/name", "-o", target, home=home)
    assert again.returncode != 0
    assert "exists already" in again.stderr
    hub.files = {"module.py": b"x = 1"}
    assert hub_here("download", "hf:org/name", "-o", target, home=home).returncode == 0
    assert (target / "name" / "module.py").read_bytes() == b"x = 1"


def test_installed_files_can_be_verified(hub: Hub, home: Path) -> None:
    Installer().install("hf:org/name", check=False)
    assert hub_here("verify", "name", home=home).returncode == 0
    shown = hub_here("show", "name", home=home).stdout
    assert hub.commit in shown
    assert TOKEN not in shown
    next(home.rglob("model.onnx")).write_bytes(b"changed")
    assert hub_here("verify", "name", home=home).returncode == 1
