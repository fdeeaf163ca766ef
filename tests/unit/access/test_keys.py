"""Keys, their file, and what they use of their limits."""

import hashlib
import json
import logging
import os
import stat
import subprocess
import sys
from collections import Counter
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from hubserve.access import keyring
from hubserve.access.gate import Gate
from hubserve.access.key_file import changing, read_keys
from hubserve.access.keys import Need, digest_of, id_of, key_in, new_key
from hubserve.access.limits import Usage
from hubserve.access.refusals import Forbidden, LimitReached, Unauthenticated
from hubserve.access.stored_keys import format_keys, make_key
from hubserve.errors import ConfigError, HubError


@pytest.fixture(autouse=True)
def _follows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "_CHECK_EVERY_S", 0.0)


def create(path: Path, name: str = "team", **values: Any) -> str:
    """Add a key to a file; return its text."""
    key_id, text = new_key()
    given = {"scopes": ["infer", "metadata"], "modules": ["ocr_*", "clas"], **values}
    with changing(path) as keys:
        keys.append(make_key(id=key_id, name=name, sha256=digest_of(text).hex(), **given))
    return text


def refusal(gate: Gate, text: str, need: Need = Need.INFER) -> HubError:
    with pytest.raises(HubError) as raised:
        gate.admit(text, need)
    return raised.value


def test_a_key_is_256_random_bits_and_an_id_and_only_its_digest_is_kept(tmp_path: Path) -> None:
    text = create(tmp_path / "keys.json")
    prefix, key_id, secret = text.split("_", 2)
    assert (prefix, len(secret)) == ("hsk", 43)
    content = (tmp_path / "keys.json").read_text()
    assert secret not in content
    [kept] = json.loads(content)["keys"]
    assert (kept["id"], kept["sha256"]) == (key_id, hashlib.sha256(text.encode()).hexdigest())
    assert len({new_key() for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    ("text", "key_id"),
    [("hsk_ab12_x_y_z", "ab12"), ("hsk_ab12", ""), ("xyz_ab12_s", ""), ("", ""), ("hsk__s", ""), ("hsk_a_" + "s" * 300, "")],
)
def test_the_id_is_found_whatever_the_secret_contains(text: str, key_id: str) -> None:
    assert id_of(text) == key_id


@pytest.mark.parametrize(
    ("api_key", "authorization", "found"),
    [
        ("", "Bearer abc", "abc"),
        ("", "bearer  abc ", "abc"),
        ("abc", "Basic eDp5", "abc"),
        ("abc", "Bearer other", "abc"),
        ("", "Basic eDp5", ""),
        ("", "abc", ""),
        ("", "", ""),
    ],
)
def test_a_key_is_taken_from_either_header(api_key: str, authorization: str, found: str) -> None:
    assert key_in(api_key, authorization) == found


def test_wrong_unknown_and_revoked_keys_get_the_same_text(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    text, revoked = create(path), create(path)
    refused: Counter[str] = Counter()
    gate = Gate(path, refused)
    gate.admit(revoked, Need.INFER).end()
    with changing(path) as keys:
        del keys[1]
    errors = [refusal(gate, each) for each in (text[:-1] + "~", "hsk_0123456789_" + "a" * 43, revoked, "nonsense", "hsk_é_\udc80")]
    assert {type(each) for each in errors} == {Unauthenticated}
    assert len({each.message for each in errors}) == 1
    missing = refusal(gate, "")
    assert isinstance(missing, Unauthenticated)
    assert not missing.is_invalid
    assert "X-API-Key" in missing.message
    assert refused == {"key_invalid": 5, "key_missing": 1}
    gate.admit(text, Need.INFER)


def test_a_key_ends_at_its_time(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    now = datetime.now(timezone.utc)
    over, lasting = create(path, expires=now - timedelta(seconds=1)), create(path, expires=now + timedelta(hours=1))
    refused: Counter[str] = Counter()
    gate = Gate(path, refused)
    assert "expired on" in refusal(gate, over).message
    gate.admit(lasting, Need.INFER)
    assert refused == {"key_expired": 1}
    assert "expired" not in refusal(gate, over[:-3] + "~~~").message, "only the holder of the secret learns it"


ADMIN_NEEDS = {Need.ADMIN, Need.METADATA, Need.METRICS}


@pytest.mark.parametrize(
    ("scopes", "permitted"),
    [
        (["infer"], {Need.INFER}),
        (["metadata"], {Need.METADATA}),
        (["metrics"], {Need.METRICS}),
        (["admin"], ADMIN_NEEDS),
        (["infer", "admin"], {Need.INFER, *ADMIN_NEEDS}),
        ([], set()),
    ],
)
def test_scopes_permit_what_they_name(tmp_path: Path, scopes: list[str], permitted: set[Need]) -> None:
    path = tmp_path / "keys.json"
    text = create(path, scopes=scopes)
    gate = Gate(path, Counter())
    for need in Need:
        if need in {*permitted, Need.OPEN, Need.ANY}:
            gate.admit(text, need).end()
        else:
            assert isinstance(refusal(gate, text, need), Forbidden)


def test_modules_are_shown_by_their_names_and_patterns(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    gate_of = {name: create(path, name=name, scopes=["infer", "metadata", *more]) for name, more in (("team", []), ("ops", ["admin"]))}
    gate = Gate(path, Counter())
    shown = {
        (name, need): [each for each in ("ocr_en", "clas", "clas2", "other", "") if gate.admit(gate_of[name], need).shows(each)]
        for name in ("team", "ops")
        for need in (Need.INFER, Need.METADATA)
    }
    own = ["ocr_en", "clas"]
    assert shown == {
        ("team", Need.INFER): own,
        ("team", Need.METADATA): own,
        ("ops", Need.INFER): own,
        ("ops", Need.METADATA): ["ocr_en", "clas", "clas2", "other", ""],
    }
    assert not gate.admit("", Need.OPEN).shows("clas")
    assert not gate.admit(gate_of["team"], Need.ANY).shows("clas")


def test_the_priority_of_a_key_bounds_what_its_requests_ask_for(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keys = {priority: create(path, priority=priority) for priority in (-10, 0, 7)}
    gate = Gate(path, Counter())
    given = {priority: [gate.admit(text, Need.INFER).priority(asked) for asked in (-100, 0, 50)] for priority, text in keys.items()}
    assert given == {-10: [-10, 0, 50], 0: [0, 0, 50], 7: [7, 7, 50]}


def test_a_rate_has_a_burst_and_is_refilled() -> None:
    key = make_key(id="abcd", name="n", sha256="0" * 64, scopes=[], rate=2.0, burst=3).usable()
    usage = Usage()

    def wait_s(now: float) -> int:
        try:
            usage.begin_request(key, now)
        except LimitReached as error:
            return error.retry_after_s
        return 0

    assert [wait_s(10.0) for _ in range(5)] == [0, 0, 0, 1, 1]
    assert [wait_s(10.5) for _ in range(2)] == [0, 1]
    assert [wait_s(1000.0) for _ in range(4)] == [0, 0, 0, 1], "a pause saves up no more than a burst"
    assert usage.requests == 7


def test_a_slow_rate_says_when_to_come_back() -> None:
    key = make_key(id="abcd", name="n", sha256="0" * 64, scopes=[], rate=0.1).usable()
    usage = Usage()
    usage.begin_request(key, 5.0)
    with pytest.raises(LimitReached) as raised:
        usage.begin_request(key, 5.0)
    assert raised.value.retry_after_s == 10


def test_requests_in_progress_are_limited_and_streams_by_themselves(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    text = create(path, concurrency=1)
    refused: Counter[str] = Counter()
    gate = Gate(path, refused)
    first = gate.admit(text, Need.INFER)
    assert isinstance(refusal(gate, text), LimitReached)
    stream = gate.admit(text, Need.INFER, is_stream=True)
    with pytest.raises(LimitReached):
        gate.admit(text, Need.INFER, is_stream=True)
    with pytest.raises(LimitReached), gate.request(stream):
        pass
    first.end()
    first.end()
    with gate.request(stream) as grant:
        assert grant.name == "team"
        assert isinstance(refusal(gate, text), LimitReached)
    gate.admit(text, Need.INFER).end()
    assert refused == {"key_limit": 4}


def test_a_stream_ends_with_its_key(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    text = create(path)
    gate = Gate(path, Counter())
    stream = gate.admit(text, Need.INFER, is_stream=True)
    with changing(path) as keys:
        keys[0].modules = ["other"]
    with gate.request(stream) as grant:
        assert grant.shows("other")
        assert not grant.shows("clas")
    with changing(path) as keys:
        keys.clear()
    with pytest.raises(Unauthenticated), gate.request(stream):
        pass


def test_a_broken_file_keeps_the_last_good_keys(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "keys.json"
    text = create(path)
    gate = Gate(path, Counter())
    with caplog.at_level(logging.ERROR, "hubserve"):
        path.write_text('{"keys": [{"id": "hsk_secret"')
        for _ in range(3):
            gate.admit(text, Need.INFER)
        path.unlink()
        for _ in range(3):
            gate.admit(text, Need.INFER)
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR"], "each state once"
    assert "hsk_secret" not in caplog.text
    path.write_text("[]")
    with pytest.raises(ConfigError, match="cannot be used"):
        gate.reload()
    new = create_anew(path)
    gate.admit(new, Need.INFER)
    refusal(gate, text)


def test_a_key_is_accepted_as_soon_as_it_is_created(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "_CHECK_EVERY_S", 3600.0)
    path = tmp_path / "keys.json"
    create(path)
    gate = Gate(path, Counter())
    gate.admit(create(path), Need.INFER)


def create_anew(path: Path) -> str:
    path.unlink()
    return create(path)


def test_the_links_of_a_kubernetes_secret_are_followed(tmp_path: Path) -> None:
    """As the kubelet does it: keys.json -> ..data/keys.json, and ..data is replaced by a link to a new folder."""
    texts = {}
    for revision in ("..1", "..2"):
        (tmp_path / revision).mkdir()
        texts[revision] = create(tmp_path / revision / "keys.json")
    os.utime(tmp_path / "..2" / "keys.json", ns=(os.stat(tmp_path / "..1" / "keys.json").st_mtime_ns,) * 2)
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "keys.json").symlink_to("..data/keys.json")
    gate = Gate(tmp_path / "keys.json", Counter())
    gate.admit(texts["..1"], Need.INFER)
    (tmp_path / "..data_tmp").symlink_to("..2")
    (tmp_path / "..data_tmp").rename(tmp_path / "..data")
    gate.admit(texts["..2"], Need.INFER)
    refusal(gate, texts["..1"])


def test_files_are_private_and_keep_their_group(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    before = os.umask(0)
    try:
        create(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o606)
        create(path)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o640)
        create(path)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert len(read_keys(path)) == 3
    assert [each.name for each in tmp_path.iterdir() if "partial" in each.name] == []


def test_a_link_to_the_file_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    link = tmp_path / "keys.json"
    link.symlink_to("real/keys.json")
    create(link)
    assert link.is_symlink()
    assert len(read_keys(tmp_path / "real" / "keys.json")) == 1


def test_processes_that_add_keys_at_the_same_time_lose_none(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    code = (
        "import sys; from pathlib import Path; from tests.unit.access.test_keys import create\n"
        "for _ in range(10): create(Path(sys.argv[1]))"
    )
    running = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(3)]
    assert [each.wait(60) for each in running] == [0, 0, 0]
    assert len({each.id for each in read_keys(path)}) == 30


GOOD = {"id": "abcd", "name": "n", "sha256": "0" * 64, "scopes": ["infer"], "modules": ["*"]}


@pytest.mark.parametrize(
    "change",
    [
        {"id": "x y"},
        {"sha256": "00"},
        {"scopes": ["everything"]},
        {"name": "a\nb"},
        {"rate": 0},
        {"concurrency": 0},
        {"priority": 101},
        {"expires": "2027-01-01T00:00:00"},
        {"modules": [""]},
        {"secret": "s"},
    ],
)
def test_a_wrong_file_is_refused_as_a_whole(tmp_path: Path, change: dict[str, Any]) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [GOOD]}))
    Gate(path, Counter())
    path.write_text(json.dumps({"keys": [{**GOOD, **change}]}))
    with pytest.raises(ConfigError, match="cannot be used") as raised:
        Gate(path, Counter())
    assert str(path) in raised.value.message


def test_two_keys_with_one_id_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_text(json.dumps({"keys": [GOOD, GOOD]}))
    with pytest.raises(ConfigError, match="twice"):
        Gate(path, Counter())


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    key = make_key(
        **GOOD,
        created=datetime.now(timezone.utc),
        expires=datetime(2030, 1, 1, tzinfo=timezone.utc),
        rate=0.5,
        burst=9,
        concurrency=2,
        priority=-3,
    )
    path = tmp_path / "keys.json"
    path.write_bytes(format_keys([key]))
    assert read_keys(path) == [key]


def test_the_use_of_keys_that_were_rotated_out_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hubserve.access.gate._MOST_USAGES", 3)
    path = tmp_path / "keys.json"
    gate, held = None, []
    for _ in range(10):
        path.unlink(missing_ok=True)
        text = create(path, concurrency=1)
        gate = gate or Gate(path, Counter())
        grant = gate.admit(text, Need.INFER)
        if len(held) < 2:
            held.append(grant)
        else:
            grant.end()
    assert gate is not None
    assert len(gate._usages) <= 4
    assert sum(each.requests for each in gate._usages.values()) == 2
