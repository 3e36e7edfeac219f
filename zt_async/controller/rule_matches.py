"""The matches of the rule language: their arguments, and the fields of JSON that come of them. vl2.md 9."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import Any, Final, TypeAlias

from zt_async.controller.rule_source import Word, listed, number, parse_number

JSON: TypeAlias = dict[str, Any]

_ETHERTYPES: Final = {
    "ipv4": 0x0800,
    "arp": 0x0806,
    "wol": 0x0842,
    "rarp": 0x8035,
    "ipv6": 0x86DD,
    "atalk": 0x809B,
    "aarp": 0x80F3,
    "ipx_a": 0x8137,
    "ipx_b": 0x8138,
}
_IP_PROTOCOLS: Final = {
    **dict.fromkeys(("icmp", "icmp4", "icmpv4"), 1),
    "igmp": 2,
    "ipip": 4,
    "tcp": 6,
    "egp": 8,
    "igp": 9,
    "udp": 17,
    "rdp": 27,
    "esp": 50,
    "ah": 51,
    **dict.fromkeys(("icmp6", "icmpv6"), 58),
    "l2tp": 115,
    "sctp": 132,
    "udplite": 136,
}
_CHARACTERISTICS: Final = {
    "inbound": 63,
    "multicast": 62,
    "broadcast": 61,
    "ipauth": 60,
    "macauth": 59,
    "tcp_fin": 0,
    "tcp_syn": 1,
    "tcp_rst": 2,
    "tcp_psh": 3,
    "tcp_ack": 4,
    "tcp_urg": 5,
    "tcp_ece": 6,
    "tcp_cwr": 7,
    "tcp_ns": 8,
    "tcp_rs2": 9,
    "tcp_rs1": 10,
    "tcp_rs0": 11,
}


# What an argument stands for


def named_number(word: Word, what: str, highest: int, names: Mapping[str, int]) -> int:
    """The number that a word is, or is the name of. Raises RuleLanguageError."""
    value = names.get(word.text, parse_number(word.text))
    if value is None or not 0 <= value <= highest:
        known = f" or a name{listed(names)}" if names else ""
        raise word.error(f"expected {what}, a number from 0 to {highest}{known}, not {word.text!r}")
    return value


def node_address(word: Word) -> str:
    """A node address as it is written. Raises RuleLanguageError."""
    if not re.fullmatch("[0-9a-fA-F]{10}", word.text):
        raise word.error(f"expected a ZeroTier address, 10 hexadecimal digits, not {word.text!r}")
    return word.text


def _range(word: Word, what: str, highest: int) -> JSON:
    first, dash, last = word.text.partition("-")
    start, end = parse_number(first), parse_number(last if dash else first)
    if start is None or end is None or not 0 <= start <= end <= highest:
        raise word.error(f"expected {what}, N or N-M from 0 to {highest}, not {word.text!r}")
    return {"start": start, "end": end}


def _mac(word: Word) -> JSON:
    digits = re.sub("[:.-]", "", word.text).lower()
    if not re.fullmatch("[0-9a-f]{12}", digits):
        raise word.error(f"expected a MAC address, 12 hexadecimal digits, not {word.text!r}")
    return {"mac": ":".join(digits[i : i + 2] for i in range(0, 12, 2))}


def _characteristics(word: Word) -> JSON:
    mask = 0
    for name in filter(None, word.text.split(",")):
        mask |= 1 << named_number(word._replace(text=name), "a characteristic", 63, _CHARACTERISTICS)
    return {"mask": f"{mask:016x}"}


def _probability(word: Word) -> JSON:
    if re.fullmatch(r"([0-9]+\.?[0-9]*|\.[0-9]+)(e-?[0-9]{1,3})?", word.text) and float(word.text) <= 1:
        return {"probability": int(0xFFFFFFFF * float(word.text))}
    raise word.error(f"expected a probability from 0.0 to 1.0, not {word.text!r}")


def _icmp(kind: Word, code: Word) -> JSON:
    wanted = number(code, "an ICMP code (-1 for any)", 0xFF, -1)
    return {"icmpType": number(kind, "an ICMP type", 0xFF), "icmpCode": None if wanted < 0 else wanted}


def _ip(side: str) -> Callable[[Word], JSON]:
    def fields(word: Word) -> JSON:
        address, _, bits = word.text.partition("/")
        try:
            ip = ip_address(address)
            if "%" not in address and re.fullmatch("[0-9]{1,3}", bits) and int(bits) <= ip.max_prefixlen:
                return {"type": f"MATCH_IPV{ip.version}_{side}", "ip": word.text}
        except ValueError:
            pass
        raise word.error(
            f"expected an IP address and its netmask bits, such as 10.0.0.0/8, not {word.text!r}"
        )

    return fields


MATCHES: Final[dict[str, tuple[str, int, Callable[..., JSON]]]] = {
    "ztsrc": ("MATCH_SOURCE_ZEROTIER_ADDRESS", 1, lambda node: {"zt": node_address(node).lower()}),
    "ztdest": ("MATCH_DEST_ZEROTIER_ADDRESS", 1, lambda node: {"zt": node_address(node).lower()}),
    "vlan": ("MATCH_VLAN_ID", 1, lambda vlan: {"vlanId": number(vlan, "a VLAN", 0xFFFF)}),
    "vlanpcp": ("MATCH_VLAN_PCP", 1, lambda pcp: {"vlanPcp": number(pcp, "a VLAN priority", 0xFF)}),
    "vlandei": ("MATCH_VLAN_DEI", 1, lambda dei: {"vlanDei": number(dei, "a VLAN drop bit", 0xFF)}),
    "ethertype": (
        "MATCH_ETHERTYPE",
        1,
        lambda kind: {"etherType": named_number(kind, "an ethertype", 0xFFFF, _ETHERTYPES)},
    ),
    "macsrc": ("MATCH_MAC_SOURCE", 1, _mac),
    "macdest": ("MATCH_MAC_DEST", 1, _mac),
    "ipsrc": ("", 1, _ip("SOURCE")),
    "ipdest": ("", 1, _ip("DEST")),
    "iptos": (
        "MATCH_IP_TOS",
        2,
        lambda mask, value: {"mask": number(mask, "a mask", 0xFF)} | _range(value, "a type of service", 0xFF),
    ),
    "ipprotocol": (
        "MATCH_IP_PROTOCOL",
        1,
        lambda protocol: {"ipProtocol": named_number(protocol, "an IP protocol", 0xFF, _IP_PROTOCOLS)},
    ),
    "icmp": ("MATCH_ICMP", 2, _icmp),
    "sport": ("MATCH_IP_SOURCE_PORT_RANGE", 1, lambda port: _range(port, "a port", 0xFFFF)),
    "dport": ("MATCH_IP_DEST_PORT_RANGE", 1, lambda port: _range(port, "a port", 0xFFFF)),
    "chr": ("MATCH_CHARACTERISTICS", 1, _characteristics),
    "framesize": ("MATCH_FRAME_SIZE_RANGE", 1, lambda size: _range(size, "a frame size", 0xFFFF)),
    "random": ("MATCH_RANDOM", 1, _probability),
}
"""By word: the type in JSON (for IP addresses it is among the fields), how many arguments there are, and what makes
fields of them."""

TAG_MATCHES: Final = {
    "tdiff": "MATCH_TAGS_DIFFERENCE",
    "tand": "MATCH_TAGS_BITWISE_AND",
    "tor": "MATCH_TAGS_BITWISE_OR",
    "txor": "MATCH_TAGS_BITWISE_XOR",
    "teq": "MATCH_TAGS_EQUAL",
    "tseq": "MATCH_TAG_SENDER",
    "treq": "MATCH_TAG_RECEIVER",
}
"""By word: the type in JSON; their arguments are a tag and a value."""
