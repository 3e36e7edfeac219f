"""What nodes say of themselves when they ask. vl2.md 2.4."""

from hypothesis import given
from hypothesis import strategies as st

from zt_async.controller.messages import Claims
from zt_async.types import NetworkId
from zt_async.wire.config_chunks import decode_config_request, encode_config_request

from .office import ask_metadata

KEYS = st.sampled_from([b"revr=", b"majv=", b"a=", b"a=token:", b"\n", b"\0", b"\\", b"="])


@given(st.lists(KEYS | st.binary(max_size=20), max_size=60).map(b"".join))
def test_anything_can_be_read(metadata):
    claims = Claims.read(metadata)
    assert all(number < 1 << 64 for number in (*claims.version, claims.protocol))
    assert claims.token != ""


def test_what_comes_before_the_cut_of_long_metadata_is_read():
    long = ask_metadata() + b"\nnew=" + b"x" * 2000
    metadata = decode_config_request(encode_config_request(NetworkId(1), long)).metadata
    assert Claims.read(metadata) == Claims(True, (1, 14, 1), 12, None)


def test_an_ordinary_node():
    assert Claims.read(ask_metadata()) == Claims(True, (1, 14, 1), 12, None)
    assert Claims.read(ask_metadata("token:let me in")).token == "let me in"
    assert Claims.read(ask_metadata("password:let me in")).token is None
