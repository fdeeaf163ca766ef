"""Modules move in one file to a machine without a network, with their models and their packages."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import MODULES, ROOT, hub, share_engine_cache
from tests.unit.registry.toys import tar_of, write_module

OFFLINE = [sys.executable, str(ROOT / "tests" / "offline.py")]

#: run without a network: starts a server of the installed modules, asks each, prints their answers
ASK = """
import json, sys
from pathlib import Path
from tests.conftest import servers

home, folder = Path(sys.argv[1]), Path(sys.argv[2])
jobs = json.loads((folder / "jobs.json").read_text())
with servers(home, folder) as start:
    server = start({name: {} for name in jobs})
    for name, body in jobs.items():
        print(json.dumps(server.predict(name, json=body).json()))
"""


def offline(*command: object, home: Path, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run a command without a network."""
    variables = {**os.environ, "HUB_HOME": str(home), "PYTHONPATH": str(ROOT), **environ}
    return subprocess.run([*OFFLINE, *map(str, command)], env=variables, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


def ask_offline(home: Path, folder: Path, jobs: dict[str, Any]) -> list[Any]:
    """What modules of a home answer without a network."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    done = offline(sys.executable, "-c", ASK, home, folder, home=home)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("namespace", ["", "1"], ids=["namespace", "blocked sockets"])
def test_what_is_called_offline_has_no_network(tmp_path: Path, namespace: str) -> None:
    fetch = "import urllib.request; urllib.request.urlopen('https://pypi.org', timeout=5)"
    done = offline(sys.executable, "-c", fetch, home=tmp_path, HUBSERVE_TESTS_NO_NAMESPACE=namespace)
    assert done.returncode == 1
    assert "URLError" in done.stderr


@pytest.mark.slow
def test_the_classifier_and_the_reader_are_served_on_a_machine_without_a_network(
    measured_home: Path, engine_cache: Path, tmp_path: Path, cat_photo: Path, page_photo: Path
) -> None:
    home = measured_home
    for module in ("clas", "ocr"):
        done = hub("install", ROOT / "hubmodules" / module, home=home)
        assert done.returncode == 0, done.stderr
    bundle = tmp_path / "both.bundle.tar"
    made = hub("bundle", "clas_system", "ocr_system", "-o", bundle, home=home)
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("Bundled clas_system 1.0.0, ocr_system 1.0.0 (")

    other_home = share_engine_cache(tmp_path / "other", engine_cache)
    installed = offline(sys.executable, "-m", "hubserve", "install", bundle, home=other_home)
    assert installed.returncode == 0, installed.stderr
    assert [line.split()[:2] for line in installed.stdout.splitlines() if line.startswith("Installed")] == [
        ["Installed", "clas_system"],
        ["Installed", "ocr_system"],
    ]
    shown = json.loads(hub("show", "clas_system", "--json", home=other_home).stdout)["installed"]
    assert shown["provenance"]["kind"] == "bundle"
    assert not any(str(ROOT / "inference") in str(value) for value in shown.values())

    page = base64.b64encode(page_photo.read_bytes()).decode()
    pixels = base64.b64encode(bytes(3 * 224 * 224 * 4)).decode()
    jobs = {
        "clas_system": {"images": pixels, "revert_params": {"shape": [1, 3, 224, 224], "dtype": "float32"}},
        "ocr_system": {"images": [page]},
    }
    classes, texts = ask_offline(other_home, tmp_path, jobs)
    assert classes["status"] == "000", classes
    assert len(classes["results"]["prediction"][0]["class_ids"]) == 5
    assert texts["status"] == "000", texts
    assert len(texts["results"][0]) > 3
    ran = offline(sys.executable, "-m", "hubserve", "run", "--json", "clas_system", "--image_file", cat_photo, home=other_home)
    assert json.loads(ran.stdout)["prediction"][0]["class_ids"][0] == 285, ran.stderr


def test_the_packages_of_a_modules_environment_travel_with_it(home: Path, tmp_path: Path) -> None:
    module = write_module(tmp_path / "picky", name="picky", extra="import six\n", requirements__txt="six==1.16.0\n")
    (module / "module.py").write_text((module / "module.py").read_text().replace("return text", "return six.__version__"))
    done = hub("install", "--isolated", module, home=home)
    assert done.returncode == 0, done.stderr
    bundle = tmp_path / "picky.bundle.tar"
    made = hub("bundle", "picky", "-o", bundle, home=home)
    assert made.returncode == 0, made.stderr
    with tarfile.open(bundle) as tar:
        names = tar.getnames()
    assert names[0] == "bundle.json"
    assert any("six-1.16.0" in name for name in names), names

    other_home = tmp_path / "other"
    installed = offline(sys.executable, "-m", "hubserve", "install", "--isolated", bundle, home=other_home)
    assert installed.returncode == 0, installed.stderr
    assert "an environment of its own" in installed.stdout
    (answer,) = ask_offline(other_home, tmp_path, {"picky": {"text": ""}})
    assert answer["results"] == "1.16.0"


@pytest.fixture
def bundle(home: Path, tmp_path: Path) -> Path:
    """A bundle of a small module."""
    assert hub("install", MODULES / "shout", home=home).returncode == 0
    path = tmp_path / "shout.bundle.tar"
    assert hub("bundle", "shout", "-o", path, home=home).returncode == 0
    return path


def _members(bundle: Path) -> list[tuple[str, bytes]]:
    with tarfile.open(bundle) as tar:
        return [(each.name, tar.extractfile(each).read()) for each in tar]  # type: ignore[union-attr]  # all are files


def test_a_bundle_that_was_changed_is_refused_and_nothing_is_installed(home: Path, tmp_path: Path, bundle: Path) -> None:
    (index_name, index), (archive_name, archive) = _members(bundle)
    document = json.loads(index)
    hostile = {
        "changed": [(index_name, index), (archive_name, archive[:-9] + b"x" + archive[-8:])],
        "cut": [(index_name, index), (archive_name, archive[:100])],
        "more": [(index_name, index), (archive_name, archive), ("modules/extra", b"x")],
        "less": [(index_name, index)],
        "climbs": [(index_name, index.replace(archive_name.encode(), b"../../etc/passwd")), (archive_name, archive)],
        "no json": [(index_name, b"{"), (archive_name, archive)],
        "a page": [(index_name, index.replace(b".tar.gz", b".html")), (archive_name.replace(".tar.gz", ".html"), archive)],
        "newer": [(index_name, json.dumps({**document, "schema_version": 2}).encode()), (archive_name, archive)],
        "empty": [(index_name, json.dumps({**document, "modules": []}).encode())],
        "another module": [
            (index_name, json.dumps({**document, "modules": [{**document["modules"][0], "name": "other"}]}).encode()),
            (archive_name, archive),
        ],
    }
    other_home = tmp_path / "other"
    for why, members in hostile.items():
        refused = hub("install", tar_of(tmp_path / "bad.tar", *members), home=other_home)
        assert refused.returncode == 1, why
        assert "Traceback" not in refused.stderr, why
        assert json.loads(hub("list", "--json", home=other_home).stdout)["modules"] == [], why
    assert not list((other_home / "tmp").iterdir())
    good = hub("install", bundle, home=other_home)
    assert (good.returncode, good.stdout[:21]) == (0, "Installed shout 1.0.0")
    assert hub("install", bundle, "--digest", "sha256:" + "0" * 64, home=other_home).returncode == 1


def test_a_bundle_is_made_whole_or_not_at_all(home: Path, tmp_path: Path, bundle: Path) -> None:
    before = bundle.read_bytes()
    missing = hub("bundle", "shout", "nothing", "-o", bundle, home=home)
    assert missing.returncode == 1
    assert "nothing" in missing.stderr
    nowhere = hub("bundle", "shout", "-o", tmp_path / "gone" / "x.tar", home=home)
    assert (nowhere.returncode, "make the folder first" in nowhere.stderr) == (1, True)
    assert bundle.read_bytes() == before
    again = hub("bundle", "shout", "shout==1.0.0", home=home, cwd=tmp_path, environ={"PYTHONPATH": str(ROOT)})
    assert again.returncode == 0, again.stderr
    assert (tmp_path / "shout-1.0.0.bundle.tar").read_bytes() == before, "the same modules give the same bytes"
    shutil.rmtree(home / "modules")
    assert hub("bundle", "shout", home=home).returncode == 1
