"""The table of statuses in docs/logging.md is that of the code."""

import re
from pathlib import Path

from hubserve.protocols.paddlehub import _OLD_USAGE, _STATUSES


def test_documented_statuses_are_those_of_the_code():
    page = Path(__file__, "../../../../docs/logging.md").resolve().read_text()
    rows = re.findall(r"^\| .+ \| `(\d+)` \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    coded = [(status, str(paddlehub), str(http)) for _, paddlehub, http, status in _STATUSES]
    assert sorted(rows) == sorted([*coded, ("112", str(_OLD_USAGE["paddlehub"]), str(_OLD_USAGE["http"]))])
