"""Content codings of bodies."""

import asyncio
import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import InvalidInput, TooLarge, Unavailable
from hubserve.net.admission import AdmissionControl
from hubserve.net.content_encoding import UnknownEncoding, decode_body, encode_body, wanted_coding


def decode(body: bytes, coding: str, limit: int = 1 << 20, max_bytes: int = 1 << 30) -> bytes:
    async def run() -> bytes:
        with AdmissionControl(10, max_bytes).admit() as admission:
            return bytes(await decode_body(memoryview(body), coding, limit, admission))

    return asyncio.run(run())


@given(st.binary(max_size=4000), st.sampled_from(["gzip", "deflate"]))
def test_a_compressed_body_is_decompressed_again(body: bytes, coding: str) -> None:
    assert decode(asyncio.run(encode_body([body[:7], memoryview(body)[7:]], coding)), coding) == body


def test_large_bodies_are_compressed_and_decompressed_in_steps() -> None:
    body = bytes(range(256)) * 20_000
    assert decode(asyncio.run(encode_body([body], "gzip")), "gzip", limit=len(body)) == body


def test_raw_deflate_is_accepted() -> None:
    assert decode(zlib.compress(b"hello" * 100)[2:-4], "deflate") == b"hello" * 100


@pytest.mark.parametrize("limit", [0, 1000, (1 << 20) - 1])
def test_more_than_the_limit_is_refused(limit: int) -> None:
    with pytest.raises(TooLarge, match="max_body_bytes"):
        decode(gzip.compress(b" " * (1 << 20)), "gzip", limit)


def test_a_body_beyond_the_memory_limit_is_refused_before_it_is_complete() -> None:
    with pytest.raises(Unavailable, match="max_pending_bytes"):
        decode(gzip.compress(b" " * (64 << 20)), "gzip", limit=1 << 30, max_bytes=4 << 20)


@pytest.mark.parametrize("body", [b"", b"x", b"\x1f\x8b", gzip.compress(b"hello", mtime=0)[:-3], gzip.compress(b"hello", mtime=0) + b"!"])
@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_a_body_of_another_coding_is_refused(body: bytes, coding: str) -> None:
    with pytest.raises(InvalidInput):
        decode(body, coding)


@pytest.mark.parametrize("coding", ["br", "gzip, gzip", "zstd", "\u00e9"])
def test_unknown_codings_are_refused(coding: str) -> None:
    with pytest.raises(UnknownEncoding, match="is not known here"):
        decode(b"", coding)


def test_only_a_single_coding_is_used() -> None:
    asked = ["gzip", " Deflate ", "gzip, deflate", "gzip;q=1", "*", "", "br"]
    assert [wanted_coding(each) for each in asked] == ["gzip", "deflate", "", "", "", "", ""]
