import pytest

from hubserve.errors import Unavailable
from hubserve.net.admission import SLOWEST_BYTES_PER_S, SMALL_BYTES, AdmissionControl, Pace

MAX_BYTES = 1_000_000


@pytest.fixture
def full() -> AdmissionControl:
    control = AdmissionControl(10, MAX_BYTES)
    control.hold(MAX_BYTES)
    return control


def test_small_bodies_are_counted_and_accepted_whatever_others_hold(full: AdmissionControl) -> None:
    with full.admit() as admission:
        for received in range(0, SMALL_BYTES + 1, 1024):
            admission.reserve(received)
        assert full.bytes == MAX_BYTES + SMALL_BYTES
        with pytest.raises(Unavailable, match=r"has no room for 1 more \(max_pending_bytes\); try again later"):
            admission.reserve(SMALL_BYTES + 1)
        assert full.bytes == MAX_BYTES + SMALL_BYTES
    assert full.bytes == MAX_BYTES


def test_parts_of_a_large_body_are_counted_as_they_arrive(full: AdmissionControl) -> None:
    full.release(MAX_BYTES // 2)
    full.hold(SMALL_BYTES, held=0)
    full.hold(MAX_BYTES // 2 - SMALL_BYTES, held=SMALL_BYTES)
    with pytest.raises(Unavailable):
        full.hold(1, held=MAX_BYTES // 2)
    full.release(MAX_BYTES)
    assert full.bytes == 0


def test_announced_bodies_are_checked_and_not_counted(full: AdmissionControl) -> None:
    with full.admit() as admission:
        admission.check_room(SMALL_BYTES)
        with pytest.raises(Unavailable):
            admission.check_room(SMALL_BYTES + 1)
        full.release(MAX_BYTES)
        admission.reserve(10)
        admission.check_room(MAX_BYTES)
        assert full.bytes == 10


def test_a_large_answer_is_refused_only_if_others_hold_everything(full: AdmissionControl) -> None:
    with full.admit() as admission:
        admission.check_answer(SMALL_BYTES)
        with pytest.raises(Unavailable, match="no room for this answer of 65537 bytes"):
            admission.check_answer(SMALL_BYTES + 1)
        full.release(1)
        admission.reserve(1000)  # its own reservations do not count against it
        admission.check_answer(50 * MAX_BYTES)


def test_unwritten_answers_keep_large_bodies_out(full: AdmissionControl) -> None:
    full.hold_answer(5000)
    full.release(MAX_BYTES)
    full.hold(MAX_BYTES - 5000)
    with pytest.raises(Unavailable):
        full.hold(MAX_BYTES - 4999)
    full.release(5000)
    full.hold(5000, held=SMALL_BYTES)


def test_a_pace_is_kept_period_by_period(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    pace = Pace(10)
    now[0] = 109.9
    assert pace.is_kept(0)
    now[0] = 110
    assert pace.is_kept(50 * SLOWEST_BYTES_PER_S)
    assert pace.due == 120
    now[0] = 120
    assert not pace.is_kept(59 * SLOWEST_BYTES_PER_S), "bytes moved quickly before do not count"
    assert pace.is_kept(60 * SLOWEST_BYTES_PER_S)
