"""Triton's perf_analyzer against a real server, in every form; where the binary runs (see bench/perf_analyzer.py)."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.perf_analyzer import VARIANTS, find, measure
from bench.v2_grpc import server
from tests.conftest import ROOT

COMMAND = find(Path(os.environ.get("PERF_ANALYZER_TOOLS", ROOT / ".perf_analyzer")))

pytestmark = pytest.mark.skipif(COMMAND is None, reason="no perf_analyzer runs here; 'python bench/perf_analyzer.py --fetch' fetches one")


@pytest.fixture(scope="module")
def addresses() -> Iterator[dict[str, str]]:
    with server(workers=1, shared_memory=True) as addresses:
        yield dict(zip(VARIANTS, addresses, strict=True))


@pytest.mark.parametrize(("protocol", "form"), [(protocol, form) for protocol, forms in VARIANTS.items() for form in forms])
def test_perf_analyzer_measures(addresses: dict[str, str], protocol: str, form: str) -> None:
    assert COMMAND
    row, text = measure(COMMAND, protocol, addresses[protocol], 16, 2, 0.3, VARIANTS[protocol][form])
    assert row, text
    assert float(row[0]) > 0
