"""Load that other processes put on the machine."""

import pytest

from hubserve.engines.machine_load import IdleSince, Used, load_between, used


def test_what_all_cores_have_done_is_read(tmp_path):
    first, second = used(), used()
    assert first is not None
    assert second.busy >= first.busy >= 0
    (tmp_path / "stat").write_text("cpu  100 50 25 9000 10 5 5 15 0 0\ncpu0 1 1 1 1\n")
    assert used(tmp_path / "stat") == Used(1.85, 0.15)
    (tmp_path / "stat").write_text("nothing of the kind")
    assert used(tmp_path / "stat") is None
    assert used(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("busy_s", "stolen_s", "own_s", "busy"),
    [(2.0, 0.0, 2.0, False), (2.3, 0.0, 2.0, False), (2.9, 0.0, 2.0, True), (2.0, 0.3, 2.0, True), (1.9, 0.0, 2.0, False)],
)
def test_a_machine_is_busy_by_what_others_do_and_not_by_the_measuring(busy_s, stolen_s, own_s, busy):
    load = load_between(Used(100.0, 1.0), Used(100.0 + busy_s, 1.0 + stolen_s), own_s, 2.0, 2)
    assert load["busy"] is busy
    assert load["others_cores"] == pytest.approx(max(0.0, busy_s - own_s) / 2, abs=0.01)


def test_where_the_system_does_not_tell_a_machine_is_not_called_busy():
    load = load_between(None, Used(1.0, 0.0), 0.5, 1.0, 2)
    assert (load["busy"], load["others_cores"]) == (False, None)


def test_idle_time_counts_from_the_last_work():
    idle = IdleSince(2)
    seen = [idle.idle_s(Used(busy, 0.0), clock) for clock, busy in [(0, 0.0), (10, 0.5), (20, 1.0), (30, 9.0), (40, 9.1), (50, 9.2)]]
    assert seen == [0, 10, 20, 0, 10, 20]
    assert idle.idle_s(None, 60) == 0
