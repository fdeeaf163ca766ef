"""``hub access``."""

import json
from pathlib import Path

import pytest

from tests.conftest import hub_here


def test_a_key_is_created_listed_and_revoked(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "keys.json"
    words = ["--name", "team-a", "--modules", "ocr_*", "clas", "--expires", "90d", "--rate", "5", "--burst", "9", "--concurrency", "2"]
    made = hub_here("access", "create", file, *words, "--priority", "3", home=home)
    assert made.returncode == 0, made.stderr
    secret = made.stdout.strip()
    assert secret.startswith("hsk_")
    assert "shown only now" in made.stderr
    listed = hub_here("access", "list", file, home=home)
    for shown in ("team-a", "ocr_*, clas", "5/s, burst 9", "infer, metadata"):
        assert shown in listed.stdout
    assert secret.split("_", 2)[2] not in listed.stdout
    [about] = json.loads(hub_here("access", "list", file, "--json", home=home).stdout)
    assert (about["id"], about["priority"], about["expired"]) == (secret.split("_")[1], 3, False)
    revoked = hub_here("access", "revoke", file, "team-a", home=home)
    assert about["id"] in revoked.stdout
    assert "has no key" in hub_here("access", "list", file, home=home).stdout


def test_json_has_the_key_once(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "keys.json"
    made = json.loads(hub_here("access", "create", file, "--name", "ops", "--admin", "--metrics", "--json", home=home).stdout)
    assert made["key"].startswith(f"hsk_{made['id']}_")
    assert made["scopes"] == ["admin", "metrics"]
    hub_here("access", "create", file, "--name", "ops", "--admin", home=home)
    removed = json.loads(hub_here("access", "revoke", file, made["id"], "--json", home=home).stdout)
    assert [each["id"] for each in removed] == [made["id"]]
    assert "key" not in removed[0]
    assert len(json.loads(hub_here("access", "list", file, "--json", home=home).stdout)) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--name", "a"], "may do nothing"),
        (["--name", "a", "--scopes", "infer"], "may use no module"),
        (["--name", "a b", "--modules", "x"], "cannot be created"),
        (["--name", "a", "--modules", "x", "--rate", "-1"], "cannot be created"),
        (["--name", "a", "--modules", "x", "--expires", "soon"], "neither a span"),
        (["--name", "a", "--modules", "x", "--expires", "2020-01-01"], "is over"),
        (["--modules", "x"], "--name"),
    ],
)
def test_wrong_keys_are_refused_before_a_file_is_written(tmp_path: Path, home: Path, words: list[str], said: str) -> None:
    file = tmp_path / "keys.json"
    done = hub_here("access", "create", file, *words, home=home)
    assert done.returncode != 0
    assert said in done.stderr
    assert not file.exists()


def test_nothing_is_revoked_if_one_is_unknown(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "keys.json"
    assert hub_here("access", "revoke", file, "a", home=home).returncode == 1
    assert not file.exists()
    hub_here("access", "create", file, "--name", "a", "--modules", "x", home=home)
    done = hub_here("access", "revoke", file, "a", "b", home=home)
    assert "has no key 'b'" in done.stderr
    assert len(json.loads(hub_here("access", "list", file, "--json", home=home).stdout)) == 1
