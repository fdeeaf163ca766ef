"""Hundreds of hostile archives; ``make hostile`` unpacks ten thousand."""

from collections import Counter

import pytest

from tests.unit.registry.archives.hostile import run


@pytest.mark.slow
def test_no_archive_writes_outside_its_folder_or_fails_without_a_reason() -> None:
    reasons: Counter[str] = Counter()
    run(400, lambda reason: reasons.update([reason]))
    assert sum(reasons.values()) >= 400
    assert sum(count for reason, count in reasons.items() if reason) > 200, "most are refused"
    assert reasons[""] > 5, "and some are harmless"
