"""Session keys and the packets they seal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.crypto.known import ADDRESSES, AGREED, BODY, HELLO, HELLO_TAIL, KBKDF, PACKET_ID, PACKETS
from zt_async.accel import salsa20_xor
from zt_async.crypto.keys import SessionKey, kbkdf, poly1305, seal_trusted
from zt_async.crypto.siv import AesGmacSiv

KEY = SessionKey(AGREED)
SUITES = (0, 1, 3)


@pytest.mark.parametrize("label", KBKDF)
def test_derived_keys(label):
    assert kbkdf(AGREED, label).hex() == KBKDF[label]


@pytest.mark.parametrize(("suite", "flags"), PACKETS)
def test_the_packets_of_vl1_11(suite, flags):
    packet = PACKETS[suite, flags]
    assert KEY.seal(PACKET_ID, ADDRESSES, flags, BODY, suite) == packet
    assert KEY.open(packet) == BODY


def test_the_hello_of_vl1_11():
    body = KEY.open(HELLO)
    assert body == HELLO[27:]
    tail = HELLO[-len(HELLO_TAIL) :]
    assert KEY.crypt_field(PACKET_ID, tail) == HELLO_TAIL
    assert KEY.crypt_field(PACKET_ID, HELLO_TAIL) == tail
    assert KEY.seal(PACKET_ID, ADDRESSES, 0, body, 0) == HELLO


def test_the_field_key_ignores_three_bits_of_the_packet_id():
    fields = {KEY.crypt_field(PACKET_ID[:7] + bytes((low,)), HELLO_TAIL) for low in range(8, 16)}
    assert len(fields) == 1
    assert KEY.crypt_field(PACKET_ID[:7] + b"\x10", HELLO_TAIL) not in fields


@given(
    st.binary(min_size=1, max_size=300),
    st.sampled_from(SUITES),
    st.sampled_from([0, 0x40]),
    st.binary(min_size=8, max_size=8),
)
def test_what_is_sealed_opens_at_every_hop_count(body, suite, flags, packet_id):
    packet = KEY.seal(packet_id, ADDRESSES, flags, body, suite)
    assert len(packet) == 27 + len(body)
    assert packet[8:18] == ADDRESSES
    assert packet[18] == flags | (0x88 if suite == 1 else suite << 3)
    for hops in range(8):
        assert KEY.open(packet[:18] + bytes((packet[18] | hops,)) + packet[19:]) == body


@pytest.mark.parametrize("size", [1, 15, 16, 17, 36, 37, 38, 64, 65, 2773, 9901])
@pytest.mark.parametrize("suite", SUITES)
def test_every_size(suite, size):
    body = bytes(index % 251 for index in range(size))
    assert KEY.open(KEY.seal(PACKET_ID, ADDRESSES, 0, body, suite)) == body


@given(st.sampled_from(SUITES), st.integers(0, 70), st.integers(0, 7))
def test_one_changed_bit_is_noticed(suite, index, bit):
    packet = bytearray(PACKETS[suite, 0])
    packet[index] ^= 1 << bit
    if index == 18 and bit < 3:
        assert KEY.open(bytes(packet)) == BODY
    else:
        assert KEY.open(bytes(packet)) is None


@pytest.mark.parametrize("suite", SUITES)
def test_a_changed_length_or_another_key_is_noticed(suite):
    packet = PACKETS[suite, 0]
    assert KEY.open(packet[:-1]) is None
    assert KEY.open(packet + b"\0") is None
    assert SessionKey(b"\1" + AGREED[1:]).open(packet) is None


@given(st.binary(min_size=28, max_size=400))
def test_random_bytes_do_not_open(packet):
    assert KEY.open(packet) is None


@pytest.mark.parametrize("suite", range(8))
def test_a_packet_larger_than_any_real_one_does_not_open(suite):
    assert KEY.open(bytes(18) + bytes((suite << 3,)) + bytes(70_000)) is None


def test_a_suite_1_packet_may_be_without_the_legacy_flag():
    """A receiver mangles the key with the flags as they came (vl1.md 10, trap 3)."""
    header = PACKET_ID + ADDRESSES + b"\x08"
    stream = salsa20_xor(KEY._packet_key(header, 27 + len(BODY)), PACKET_ID, bytes(64) + BODY)
    assert KEY.open(header + poly1305(stream[:32], stream[64:])[:8] + stream[64:]) == BODY


def test_a_32_byte_key_has_no_aes():
    old = SessionKey(AGREED[:32])
    for suite in (0, 1):
        assert old.seal(PACKET_ID, ADDRESSES, 0, BODY, suite) == PACKETS[suite, 0]
        assert old.open(PACKETS[suite, 0]) == BODY
    assert old.open(PACKETS[3, 0]) is None
    with pytest.raises(ValueError, match="suite 3"):
        old.seal(PACKET_ID, ADDRESSES, 0, BODY, 3)


@pytest.mark.parametrize("suite", [2, 4, 5, 6, 7, -1])
def test_no_other_suites(suite):
    with pytest.raises(ValueError, match=f"suite {suite}"):
        KEY.seal(PACKET_ID, ADDRESSES, 0, BODY, suite)


def test_trusted_path():
    packet = seal_trusted(PACKET_ID, ADDRESSES, 0x40, BODY, 0x1122334455667788)
    assert packet == PACKET_ID + ADDRESSES + b"\x50" + bytes.fromhex("1122334455667788") + BODY
    assert KEY.open(packet) is None


@pytest.mark.parametrize("size", [0, 16, 31, 33, 47, 49, 64])
def test_a_key_of_another_size_is_refused(size):
    with pytest.raises(ValueError, match="48 or 32 bytes"):
        SessionKey(bytes(size))


def test_the_key_is_not_shown():
    assert repr(KEY) == str(KEY) == "SessionKey(...)"
    assert not hasattr(KEY, "__dict__")


@given(st.binary(max_size=100), st.integers(0, 3), st.binary(min_size=8, max_size=8))
def test_siv_undoes_itself_and_notices_another_aad(plaintext, blocks, iv):
    siv = AesGmacSiv(bytes(range(32)), bytes(range(32, 64)))
    aad = bytes(16 * blocks)
    tag, ciphertext = siv.encrypt(iv, aad, plaintext)
    assert siv.decrypt(tag, aad, ciphertext) == plaintext
    assert siv.decrypt(tag, aad + bytes(16), ciphertext) is None
    assert siv.encrypt(iv, aad, plaintext) == (tag, ciphertext)
