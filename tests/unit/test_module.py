"""Arrays encoded in base64."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserve.errors import InvalidInput
from hubserve.module import decode_array, decode_base64, encode_array


@given(st.binary(max_size=300), st.sampled_from(["\n", "\r\n"]), st.booleans())
def test_base64_that_is_broken_into_lines_is_the_same_as_on_one(data, newline, as_bytes):
    text = base64.encodebytes(data).decode().replace("\n", newline)
    assert decode_base64(text.encode() if as_bytes else text) == data
    assert decode_base64(base64.b64encode(data)) == data


@pytest.mark.parametrize("text", ["@@@@AAAA", "AAAA\n@@@@", "AAAAA", "AA AA", "é", "AAAA\nA"])
def test_broken_base64_is_refused(text):
    with pytest.raises(ValueError, match=r"."):
        decode_base64(text)
    with pytest.raises(InvalidInput, match="not valid base64"):
        decode_array(text, {"shape": [3], "dtype": "uint8"})


@pytest.mark.parametrize("dtype", ["int8", ">i2", ">i8", ">f2", ">f4", ">f8", "?", ">u4"])
def test_arrays_in_either_byte_order_come_back_as_they_were(dtype):
    array = np.arange(6).reshape(2, 3).astype(dtype)[:, ::-1]
    text, about = encode_array(array)
    back = decode_array(text, about)
    assert back.tolist() == array.tolist()
    assert back.dtype == array.dtype.newbyteorder("=")
