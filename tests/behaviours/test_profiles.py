"""Modules that import more than this Python has run in the environment of a profile, which is built once for all of them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hubserve.registry.environments.interpreters import host
from tests.conftest import Start, hub
from tests.unit.registry.environments.wheelhouse import repack, write_wheel

SOURCE = """
import os
import sys

{imports}

from hubserve.module import moduleinfo, serving


@moduleinfo(name="{name}", version="1.0.0"{more})
class Module:
    @serving
    def tell(self):
        versions = {{name: getattr(sys.modules.get(name), "__version__", "") for name in ("of_old", "heavy", "beside_me")}}
        return {{**versions, "environ": dict(os.environ), "path": sys.path, "prefix": sys.prefix}}
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheels")
    for name in ("of_old", "also_old", "heavy"):
        write_wheel(folder, name, "1.0")
    repack(folder, "numpy")
    return folder


@pytest.fixture
def with_profile(home: Path, wheels: Path, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a profile of the user's own, and no other packages than the wheels."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "uv-cache"))
    write_profile(home)
    return home


def write_profile(home: Path, name: str = "olden", **more: Any) -> None:
    provides = {"of_old": "of_old", "also_old": "also-old", "numpy": "numpy"}
    document = {
        "description": "what modules had in olden times",
        "pythons": [host().minor],
        "requirements": ["of_old==1.0", "also_old==1.0"],
        "provides": provides,
        "environ": {"OLDEN": "${site_packages}"},
        "size_mb": 2,
        "order": 1,
    }
    (home / "profiles").mkdir(parents=True, exist_ok=True)
    (home / "profiles" / f"{name}.json").write_text(json.dumps({**document, **more}))


def write(folder: Path, imports: str = "import of_old", requirements: str = "", more: str = "") -> Path:
    folder.mkdir(parents=True)
    (folder / "__init__.py").touch()
    (folder / "module.py").write_text(SOURCE.format(name=folder.name, imports=imports, more=more and ", " + more))
    if requirements:
        (folder / "requirements.txt").write_text(requirements)
    return folder


def install(home: Path, *words: object) -> dict[str, Any]:
    done = hub("install", "--json", *words, home=home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def listed(home: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    document = json.loads(hub("env", "--json", home=home).stdout)
    return next(each for each in document["profiles"] if each["name"] == "olden"), document["environments"]


@pytest.mark.slow
def test_two_installs_at_once_build_one_environment_and_a_later_one_is_quick_about_it(with_profile: Path, tmp_path: Path) -> None:
    home, environ = with_profile, {**os.environ, "HUB_HOME": str(with_profile)}
    assert listed(home)[0]["built"] is None
    sources = [write(tmp_path / "one"), write(tmp_path / "two")]
    command = [sys.executable, "-m", "hubserve", "install"]
    running = [
        subprocess.Popen([*command, each], env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for each in sources
    ]
    outputs = [each.communicate() for each in running]
    assert [each.returncode for each in running] == [0, 0], outputs
    profile, environments = listed(home)
    assert len(environments) == 1
    key = environments[0]["key"]
    assert (profile["built"], profile["modules"], environments[0]["profile"]) == (key, ["one 1.0.0", "two 1.0.0"], "olden")
    why = f"It runs in the environment profile olden, {key}: its code imports 'of_old' (module.py, line 5), which this Python does not have"
    assert all(why in stdout for stdout, _ in outputs)
    assert (
        sum("building the environment of profile 'olden' once, for all that use it: about 0.0 GB" in stderr for _, stderr in outputs) == 1
    )
    again = hub("install", sources[0], home=home)
    assert why in again.stdout
    assert not any(word in again.stderr for word in ("resolving", "building", "importing")), "all of it is known"
    (sources[0] / "new.txt").touch()
    assert "importing it once" in hub("install", sources[0], home=home).stderr, "what has changed is tried again"
    shown = " ".join(hub("show", "one", home=home).stdout.split())
    assert f"the profile olden, {key}" in shown
    assert "which this Python does not have" in shown


def test_modules_are_served_with_the_profiles_variables_and_pythonpath_behind_its_packages(
    with_profile: Path, tmp_path: Path, start: Start
) -> None:
    home, mine = with_profile, tmp_path / "mine"
    for name in ("of_old", "beside_me", "hubserve"):
        (mine / name).mkdir(parents=True)
        (mine / name / "__init__.py").write_text("__version__ = 'of PYTHONPATH'\n")
    source = write(tmp_path / "asks", "import of_old, also_old, beside_me")
    os.environ["PYTHONPATH"] = str(mine)
    try:
        install(home, source)
        server = start({"asks": {}}, environ={"PYTHONPATH": str(mine)})
    finally:
        del os.environ["PYTHONPATH"]
    seen = server.results("asks")
    assert (seen["of_old"], seen["beside_me"]) == ("1.0", "of PYTHONPATH")
    assert seen["environ"]["OLDEN"].endswith("site-packages")
    assert seen["path"].index(str(mine)) > seen["path"].index(seen["environ"]["OLDEN"])


@pytest.mark.slow
def test_requirements_are_added_to_a_profile_and_packages_by_hand_too(with_profile: Path, tmp_path: Path, start: Start) -> None:
    home = with_profile
    both = install(home, write(tmp_path / "both", "import of_old, heavy", "heavy\n"))
    assert both["environment_choice"]["profile"] == "olden"
    by_hand = install(home, "--with", "heavy", write(tmp_path / "by_hand", "import of_old, heavy"))
    assert by_hand["environment"] == both["environment"], "what is resolved to the same is the same"
    again = install(home, tmp_path / "by_hand")
    assert (again["environment"], again["environment_choice"]["packages"]) == (both["environment"], ["heavy"]), "it is kept"
    anew = hub("install", "--environment", "auto", "--no-check", tmp_path / "by_hand", home=home)
    assert "no profile has 'heavy'" in anew.stderr
    install(home, "--with", "heavy", tmp_path / "by_hand")
    server = start({"both": {}, "by_hand": {}})
    for name in ("both", "by_hand"):
        seen = server.results(name)
        assert (seen["of_old"], seen["heavy"]) == ("1.0", "1.0")
        assert seen["environ"]["OLDEN"]


@pytest.mark.slow
def test_a_profile_is_named_by_the_user_the_module_or_the_servers_settings(with_profile: Path, tmp_path: Path, start: Start) -> None:
    home = with_profile
    assert install(home, "--environment", "olden", write(tmp_path / "named", "import json"))["environment_choice"]["asked"] == "olden"
    key = install(home, tmp_path / "named")["environment"]
    assert key, "an install after it keeps it"
    wants = write(tmp_path / "wants", "import json", more='environment={"profile": "olden"}')
    assert install(home, wants)["environment"] == key
    on_host = hub("install", "--environment", "host", "--no-check", write(tmp_path / "on_host"), home=home)
    assert "It runs in this Python: --environment asks for it" in on_host.stdout
    assert "Warning: this Python does not have 'of_old' (module.py, line 5), which its code imports." in on_host.stderr
    lost = hub("install", "--environment", "oldne", wants, home=home)
    assert lost.returncode == 1
    assert "did you mean 'olden'" in lost.stderr
    folders = {name: write(tmp_path / name, "import json") for name in ("from_folder", "elsewhere")}
    found = write(tmp_path / "found")
    settings: dict[str, Any] = {name: {"init_args": {"directory": str(path)}} for name, path in {**folders, "found": found}.items()}
    settings["from_folder"]["environment"] = "olden"
    settings["wants"] = {"environment": "host"}
    server = start(settings)
    prefixes = {name: server.results(name)["prefix"] for name in settings}
    built = str(home / "environments" / key)
    assert prefixes == {"from_folder": built, "elsewhere": sys.prefix, "found": built, "wants": sys.prefix}


def test_a_profile_is_built_beforehand_and_names_what_it_cannot_keep(with_profile: Path) -> None:
    home = with_profile
    built = hub("env", "build", "olden", home=home)
    assert built.returncode == 0
    assert "All 3 names that the profile 'olden' provides can be imported." in built.stdout
    key = listed(home)[0]["built"]
    assert built.stdout.startswith(f"Built {key}, ")
    assert hub("env", "build", "olden", home=home).stdout.startswith(f"Already built: {key}")
    shown = hub("env", "show", "olden", home=home).stdout
    assert key in shown
    assert "also_old, numpy, of_old" in " ".join(shown.split())
    table = hub("env", home=home).stdout
    assert "olden" in table
    assert "paddlehub" in table
    assert "no, about 1.6 GB" in " ".join(table.split())
    write_profile(home, provides={"of_old": "of_old", "of_old.gone": "of_old", "also_old": "also-old"})
    checked = hub("env", "check", "olden", home=home)
    assert checked.returncode == 1
    assert "Fails: import of_old.gone: ModuleNotFoundError: No module named 'of_old.gone'" in checked.stdout
    for words, reason in (
        (("build",), "needs a profile's name"),
        (("list", "olden"), "takes no name"),
        (("build", "nothing"), "the environment profile 'nothing' does not exist"),
    ):
        done = hub("env", *words, home=home)
        assert done.returncode == 1
        assert reason in done.stderr
    pruned = hub("env", "prune", home=home)
    assert key in pruned.stdout
    assert listed(home)[0]["built"] is None


@pytest.mark.slow
def test_a_bundle_carries_the_profile_of_its_modules(with_profile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(with_profile, write(tmp_path / "packed"))
    bundle, other = tmp_path / "packed.bundle.tar", tmp_path / "other"
    made = hub("bundle", "packed", "--output", bundle, home=with_profile)
    assert made.returncode == 0, made.stderr
    monkeypatch.delenv("PIP_FIND_LINKS")
    placed = json.loads(hub("install", "--json", bundle, home=other).stdout)["installed"][0]
    assert placed["environment_choice"]["profile"] == "olden"
    assert listed(other)[0]["built"] == placed["environment"]
    assert (other / "profiles" / "olden.json").is_file()
