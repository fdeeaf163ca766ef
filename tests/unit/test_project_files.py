"""The files around the package agree: versions, Pythons, commands and links are the same wherever they are written."""

import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from tests.conftest import ROOT

PYPROJECT = (ROOT / "pyproject.toml").read_text("utf-8")
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"))


def read(path: Path) -> dict:
    return yaml.safe_load(path.read_text("utf-8"))


def supported_pythons() -> list[str]:
    """The Pythons that ``requires-python`` allows."""
    allowed = SpecifierSet(re.search(r'^requires-python = "(.+)"$', PYPROJECT, re.MULTILINE)[1])
    return [f"3.{minor}" for minor in range(30) if f"3.{minor}.5" in allowed]


def test_the_supported_pythons_are_the_same_everywhere() -> None:
    pythons = supported_pythons()
    assert len(pythons) > 3
    assert re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT) == pythons
    assert read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]["python"] == pythons
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert sorted(set(re.findall(r"python(3\.\d+)", makefile)), key=pythons.index) == pythons
    assert f"Python {pythons[0]} to {pythons[-1]}" in makefile
    assert f"Python {pythons[0]} to {pythons[-1]}" in (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_hooks_format_with_the_ruff_that_checks() -> None:
    pinned = set(re.findall(r"ruff==([\d.]+)", PYPROJECT))
    hooks = set(re.findall(r"ruff==([\d.]+)", (ROOT / ".pre-commit-config.yaml").read_text("utf-8")))
    assert len(pinned) == 1
    assert hooks == pinned == {metadata.version("ruff")}


def test_every_hook_has_a_name_a_command_and_a_pinned_package() -> None:
    hooks = read(ROOT / ".pre-commit-config.yaml")["repos"][0]["hooks"]
    assert len(hooks) > 5
    for each in hooks:
        assert each["name"]
        assert each["entry"]
        assert all("==" in package for package in each["additional_dependencies"])


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_workflows_run_what_is_there_with_as_few_rights_as_they_need(path: Path) -> None:
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert job["timeout-minutes"]
        assert all(("uses" in step) != ("run" in step) for step in job["steps"])
        assert all(re.fullmatch(r"[\w-]+/[\w-]+@v\d+", step["uses"]) for step in job["steps"] if "uses" in step)
        for command in (step["run"] for step in job["steps"] if "run" in step):
            if shutil.which("bash"):
                subprocess.run(["bash", "-n"], input=command, text=True, check=True)
    assert WORKFLOWS


def test_continuous_integration_runs_the_script_of_this_repository() -> None:
    steps = read(ROOT / ".github" / "workflows" / "ci.yml")["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == [".ci/run"]
    for script in (ROOT / ".ci" / "run", ROOT / ".ci" / "operations"):
        assert script.stat().st_mode & 0o111
        subprocess.run(["bash", "-n", script], check=True)


@pytest.mark.parametrize("path", [each for each in FORMS if each.name != "config.yml"], ids=lambda path: path.name)
def test_issue_forms_are_ones_that_github_shows(path: Path) -> None:
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    ids = [each["id"] for each in form["body"] if each["type"] != "markdown"]
    assert len(ids) == len(set(ids)) > 2
    for each in form["body"]:
        assert each["type"] in ("markdown", "input", "textarea", "dropdown", "checkboxes")
        assert each["attributes"].get("label") or each["type"] == "markdown"
        assert each["type"] not in ("dropdown", "checkboxes") or each["attributes"]["options"]


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "SECURITY.md", "docs/releasing.md", "docs/dependencies.md"])
def test_links_lead_to_files_and_headings(name: str) -> None:
    page = ROOT / name
    text = re.sub(r"^```.*?^```$", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, heading = target.partition("#")
        if "://" in target:
            continue
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.+)$", linked.read_text("utf-8"), re.MULTILINE)
            assert heading in [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles], target


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/releasing.md"])
def test_the_make_targets_and_paths_that_pages_name_are_there(name: str) -> None:
    text = (ROOT / name).read_text("utf-8")
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"`make ([a-z-]+)[`,]", text):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for path in re.findall(r"`((?:tests|bench|tools|docs|hubserve|\.github|\.ci)/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path


def test_the_licence_is_the_one_that_the_metadata_name() -> None:
    licence = (ROOT / "LICENSE").read_text("utf-8")
    assert "Apache License" in licence
    assert "Version 2.0, January 2004" in licence
    assert "END OF TERMS AND CONDITIONS" in licence
    assert metadata.metadata("hubserve")["License-Expression"] == "Apache-2.0"
