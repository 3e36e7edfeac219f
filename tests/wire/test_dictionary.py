import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.wire.strategies import texts
from zt_async.errors import DecodeError
from zt_async.types import NodeAddress
from zt_async.wire.dictionary import Dictionary

keys = st.text(st.characters(codec="ascii", exclude_characters="\0\r\n="), max_size=8)
values = st.binary(max_size=60) | st.lists(st.sampled_from(b"\0\r\n\\=rn0ea")).map(bytes)


@given(st.lists(st.tuples(keys, values), max_size=10))
def test_entries_are_read_as_they_were_put(entries):
    d = Dictionary()
    for key, value in entries:
        d.put(key, value)
    again = Dictionary.decode(d.encode())
    assert {key: again.get(key) for key in again} == dict(reversed(entries))
    assert list(again) == list(d) == list(dict(entries))
    assert again.encode() == d.encode()


@given(st.integers(0, 2**64 - 1), st.booleans(), st.integers(0, 2**40 - 1).map(NodeAddress), texts)
def test_typed_values_are_read_as_they_were_put(number, flag, address, text):
    d = Dictionary()
    d.put_int("number", number)
    d.put_bool("flag", flag)
    d.put_address("address", address)
    d.put_text("text", text)
    again = Dictionary.decode(d.encode())
    assert again.get_text("text", 10_000) == text
    assert again.get_uint("number") == number
    assert again.get_bool("flag") is flag
    assert again.get_address("address") == address


@given(st.binary(max_size=300) | st.lists(st.sampled_from(b"\0\r\n\\=ab01xf-")).map(bytes))
def test_any_text_is_read_and_written_again_with_the_same_meaning(text):
    d = Dictionary.decode(text)
    again = Dictionary.decode(d.encode())
    assert {key: d.get(key) for key in d} == {key: again.get(key) for key in again}
    for key in d:
        assert 0 <= d.get_uint(key) < 1 << 64
        assert -(1 << 63) <= d.get_int(key) < 1 << 63
        assert isinstance(d.get_bool(key), bool)
        assert isinstance(d.get_text(key, 20), str)
        assert d.get_address(key) <= 0xFFFFFFFFFF


@pytest.mark.parametrize(
    ("text", "unsigned", "signed"),
    [
        (b"1f", 0x1F, 0x1F),
        (b"0x1F!", 0x1F, 0x1F),
        (b"0x", 0, 0),
        (b"0xg", 0, 0),
        (b" \t+1f", 0x1F, 0x1F),
        (b"-1f", 2**64 - 31, -31),
        (b"zzz", 0, 0),
        (b"f" * 17, 2**64 - 1, 2**63 - 1),
        (b"-" + b"f" * 17, 2**64 - 1, -(2**63)),
        (b"-8000000000000000", 2**63, -(2**63)),
        (b"0" * 126 + b"12", 1, 1),
        (b"", 7, 7),
    ],
)
def test_integers_are_read_as_c_reads_hexadecimal(text, unsigned, signed):
    d = Dictionary.decode(b"k=" + text)
    assert d.get_uint("k", 7) == unsigned
    assert d.get_int("k", 7) == signed


def test_what_is_missing_has_the_default():
    d = Dictionary.decode(b"empty=\nyes=true")
    assert d.get("none") is None
    assert d.get("empty") == b""
    assert (d.get_uint("none", 3), d.get_int("empty", -3)) == (3, -3)
    assert (d.get_bool("none", True), d.get_bool("empty", True), d.get_bool("yes")) == (True, False, True)
    assert d.get_address("none") == 0
    assert d.get_text("none", 5) == ""
    assert "empty" in d
    assert "none" not in d
    assert len(d) == 2


def test_a_text_is_cut_and_what_is_no_utf_8_is_replaced():
    d = Dictionary.decode("name=größe\xff".encode("latin-1") + b"\nlong=" + b"x" * 200)
    assert d.get_text("name", 127) == "gr\ufffd\ufffde\ufffd"
    assert d.get_text("long", 127) == "x" * 127
    assert Dictionary.decode(b"name=a\\0b").get_text("name", 127) == "a"


def test_bad_keys_and_numbers_are_refused():
    d = Dictionary()
    for key in ("a=b", "a\nb", "\r", "\0"):
        with pytest.raises(ValueError, match="a key of a dictionary"):
            d.put(key, b"")
    with pytest.raises(ValueError, match="64 bits"):
        d.put_int("k", 1 << 64)
    assert d.encode() == b""


def test_the_limit_holds_both_ways():
    d = Dictionary(10)
    d.put("a", b"12")
    with pytest.raises(ValueError, match="'b' does not fit into a dictionary of 10 bytes"):
        d.put("b", b"123\n")
    d.put("b", b"123")
    assert d.encode() == b"a=12\nb=123"
    assert Dictionary.decode(d.encode(), 10).get("b") == b"123"
    with pytest.raises(DecodeError, match="dictionary too long"):
        Dictionary.decode(d.encode(), 9)
