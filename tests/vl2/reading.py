"""A slow and literal reading of vl2.md 6.3 to 6.6, to hold the rules engine against."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from zt_async.types import MACAddress
from zt_async.wire.rules import RuleType

COPIES = (RuleType.ACTION_TEE, RuleType.ACTION_WATCH, RuleType.ACTION_REDIRECT)
FORCED_FALSE, FORCED_TRUE = "F!", "T!"


class Frame:
    """A frame and its circumstances: what 6.3 calls inputs. ``own`` and ``remote`` are ``Side``s."""

    def __init__(self, payload, ethertype, to_mac, from_mac, source, destination, inbound, own, remote):
        self.payload = payload
        self.ethertype = ethertype
        self.to_mac = to_mac
        self.from_mac = from_mac
        self.source = source
        self.destination = destination
        self.inbound = inbound
        self.own = own
        self.remote = remote


class Side:
    """What a member has: tags, addresses it owns, capabilities (ID and rules)."""

    def __init__(self, address, tags=(), owned=(), capabilities=(), emulated=None, unknown_matches=False):
        self.address = address
        self.tags = dict(tags)
        self.owned = frozenset(owned)
        self.granted = tuple(capabilities)
        self.emulated = emulated
        self.unknown_matches = unknown_matches
        self.state = self

    # What a filter asks of the member at the other end

    def tag(self, tag_id):
        return self.tags.get(tag_id)

    def owns(self, thing):
        return thing in self.owned

    def capabilities(self):
        return self.granted


class Read:
    """The outcome of one table."""

    def __init__(self):
        self.result = "NO_MATCH"
        self.matched = []
        self.copy = None
        self.redirect = None


def read_table(rules, frame):
    out = Read()
    state = {"set": 1, "super": 0, "skip_drop": 0}
    for index, rule in enumerate(rules):
        if rule.type < 16:
            if state["set"]:
                out.matched.append(index)
                if read_action(rule, frame, state, out):
                    return out
            else:
                if frame.inbound and rule.type in COPIES and target(rule) == frame.own.address:
                    state["super"] = 1
                state["set"] = 1
            continue
        if not state["set"] and not rule.alternative:
            continue
        result = read_match(rule, frame, state)
        if result == FORCED_FALSE:
            m = 0
        elif result == FORCED_TRUE:
            m = 1
        else:
            m = int(bool(result)) ^ int(rule.inverted)
        if m:
            out.matched.append(index)
        state["set"] = state["set"] | m if rule.alternative else state["set"] & m
    return out


def target(rule):
    return rule.operand[0] & 0xFFFFFFFFFF


def read_action(rule, frame, state, out):
    """Carry out an action; True if it ends the evaluation."""
    if rule.type == RuleType.ACTION_ACCEPT:
        out.result = "SUPER_ACCEPT" if state["super"] else "ACCEPT"
        return True
    if rule.type == RuleType.ACTION_DROP:
        if state["skip_drop"]:
            state["skip_drop"] = 0
            return False
        out.result = "DROP"
        return True
    if rule.type == RuleType.ACTION_BREAK:
        return True
    if rule.type == RuleType.ACTION_PRIORITY:
        out.result = "ACCEPT"
        return True
    if rule.type in COPIES:
        to = target(rule)
        if to == frame.source:
            return False
        if to == frame.own.address:
            if frame.inbound:
                out.result = "SUPER_ACCEPT"
            return frame.inbound
        if to == frame.destination:
            return False
        if rule.type == RuleType.ACTION_REDIRECT:
            out.result, out.redirect = "REDIRECT", to
            return True
        length = rule.operand[2]
        copied = frame.payload if length == 0 else frame.payload[:length]
        out.copy = (to, copied, rule.type == RuleType.ACTION_WATCH)
    return False


def read_match(rule, frame, state):
    """The result of a match before NOT, or a forced one."""
    payload, operand = frame.payload, rule.operand
    ipv4 = frame.ethertype == 0x0800 and len(payload) >= 20
    ipv6 = frame.ethertype == 0x86DD and len(payload) >= 40
    final, rest = final_header(payload, frame.ethertype)
    match rule.type:
        case RuleType.MATCH_SOURCE_ZEROTIER_ADDRESS:
            return operand[0] == frame.source
        case RuleType.MATCH_DEST_ZEROTIER_ADDRESS:
            return operand[0] == frame.destination
        case RuleType.MATCH_VLAN_ID | RuleType.MATCH_VLAN_PCP | RuleType.MATCH_VLAN_DEI:
            return operand[0] == 0
        case RuleType.MATCH_MAC_SOURCE:
            return operand[0] == frame.from_mac
        case RuleType.MATCH_MAC_DEST:
            return operand[0] == frame.to_mac
        case RuleType.MATCH_IPV4_SOURCE | RuleType.MATCH_IPV4_DEST:
            if not ipv4:
                return FORCED_FALSE
            at = 12 if rule.type == RuleType.MATCH_IPV4_SOURCE else 16
            bits = f"{int.from_bytes(payload[at : at + 4], 'big'):032b}"
            return f"{operand[0]:032b}"[: operand[1]] == bits[: operand[1]]
        case RuleType.MATCH_IPV6_SOURCE | RuleType.MATCH_IPV6_DEST:
            if not ipv6:
                return FORCED_FALSE
            at = 8 if rule.type == RuleType.MATCH_IPV6_SOURCE else 24
            bits = f"{int.from_bytes(payload[at : at + 16], 'big'):0128b}"
            return bits[: operand[1]].ljust(128, "0") == f"{operand[0]:0128b}"
        case RuleType.MATCH_IP_TOS:
            if not (ipv4 or ipv6):
                return FORCED_FALSE
            value = payload[1] if ipv4 else int.from_bytes(payload[:2], "big") >> 4 & 0xFF
            return operand[1] <= value & operand[0] <= operand[2]
        case RuleType.MATCH_IP_PROTOCOL:
            return FORCED_FALSE if final is None else final == operand[0]
        case RuleType.MATCH_ETHERTYPE:
            return operand[0] == frame.ethertype
        case RuleType.MATCH_ICMP:
            if final != (1 if ipv4 else 58) or len(rest) < 2 or rest[0] != operand[0]:
                return FORCED_FALSE
            return rest[1] == operand[1] if operand[2] & 1 else FORCED_TRUE
        case RuleType.MATCH_IP_SOURCE_PORT_RANGE | RuleType.MATCH_IP_DEST_PORT_RANGE:
            if final is None:
                return FORCED_FALSE
            if final not in (6, 17, 132, 136) or len(rest) <= 4:
                return False
            at = 0 if rule.type == RuleType.MATCH_IP_SOURCE_PORT_RANGE else 2
            port = int.from_bytes(rest[at : at + 2], "big")
            return operand[0] <= port <= operand[1] and not (ipv6 and port == 0)
        case RuleType.MATCH_CHARACTERISTICS:
            return characteristics(frame) & operand[0] != 0
        case RuleType.MATCH_FRAME_SIZE_RANGE:
            return operand[0] <= len(payload) <= operand[1]
        case RuleType.MATCH_RANDOM:
            return operand[0] == 0xFFFFFFFF  # the tests throw no dice: every number drawn is the highest
        case RuleType.INTEGER_RANGE:
            return operand[0] <= integer(payload, operand[2], operand[3]) <= operand[1]
        case RuleType.MATCH_TAG_SENDER | RuleType.MATCH_TAG_RECEIVER:
            return read_tag(rule, frame, state)
    if RuleType.MATCH_TAGS_DIFFERENCE <= rule.type <= RuleType.MATCH_TAGS_EQUAL:
        return read_tags(rule, frame, state)
    return frame.own.unknown_matches


def read_tags(rule, frame, state):
    tag_id, value = rule.operand
    local, remote = frame.own.tags.get(tag_id), frame.remote.tags.get(tag_id) if frame.remote else None
    if local is None:
        return FORCED_FALSE
    if remote is None:
        if frame.inbound and not state["super"]:
            return FORCED_FALSE
        state["skip_drop"] = 1
        return FORCED_TRUE
    return {
        RuleType.MATCH_TAGS_DIFFERENCE: abs(local - remote) <= value,
        RuleType.MATCH_TAGS_BITWISE_AND: local & remote == value,
        RuleType.MATCH_TAGS_BITWISE_OR: local | remote == value,
        RuleType.MATCH_TAGS_BITWISE_XOR: local ^ remote == value,
        RuleType.MATCH_TAGS_EQUAL: local == value and remote == value,
    }[rule.type]


def read_tag(rule, frame, state):
    tag_id, value = rule.operand
    if state["super"]:
        state["skip_drop"] = 1
        return FORCED_TRUE
    if (rule.type == RuleType.MATCH_TAG_SENDER) == frame.inbound:
        tag = frame.remote.tags.get(tag_id) if frame.remote else None
        if tag is None and not frame.inbound:
            state["skip_drop"] = 1
            return FORCED_TRUE
    else:
        tag = frame.own.tags.get(tag_id)
    return FORCED_FALSE if tag is None else tag == value


def characteristics(frame):
    bits = 0
    if frame.inbound:
        bits |= 1 << 63
    if frame.to_mac >> 40 & 1:
        bits |= 1 << 62
    if frame.to_mac == 0xFFFFFFFFFFFF:
        bits |= 1 << 61
    ip = sender_ip(frame)
    if ip == "authenticated" or (ip is not None and owns(frame, ip)):
        bits |= 1 << 60
    if owns(frame, MACAddress(frame.from_mac)):
        bits |= 1 << 59
    final, rest = final_header(frame.payload, frame.ethertype)
    if final == 6 and len(rest) >= (14 if frame.ethertype == 0x0800 else 15):
        bits |= rest[13] | (rest[12] & 0x0F) << 8
    return bits


def sender_ip(frame):
    payload = frame.payload
    if frame.ethertype == 0x0800 and len(payload) >= 20:
        return IPv4Address(payload[12:16])
    if frame.ethertype == 0x0806 and len(payload) >= 28:
        return IPv4Address(payload[14:18])
    if frame.ethertype == 0x86DD and len(payload) >= 40:
        if len(payload) >= 64 and payload[6] == 58 and payload[40] == 0x87:
            return "authenticated"
        if len(payload) >= 64 and payload[6] == 58 and payload[40] == 0x88:
            return IPv6Address(payload[48:64])
        return IPv6Address(payload[8:24])
    return None


def owns(frame, thing):
    if not frame.inbound:
        return thing in frame.own.owned
    if isinstance(thing, IPv6Address) and frame.own.emulated and frame.own.emulated(frame.source, thing):
        return True
    return frame.remote is not None and thing in frame.remote.owned


def integer(payload, index, form):
    bits = (form & 0x3F) + 1
    size = -(-bits // 8)
    if form & 0x80:
        raw = payload[index : index + size]
        return int.from_bytes(raw, "little") >> (8 * size - bits) if len(raw) == size else 0
    raw = payload[index + 8 - size : index + 8]
    return int.from_bytes(raw, "big") % 2**bits if len(raw) == size else 0


def final_header(payload, ethertype):
    """The protocol and what follows from its header on; None where the packet cannot be read."""
    if ethertype == 0x0800 and len(payload) >= 20:
        return payload[9], payload[(payload[0] & 15) * 4 :]
    if ethertype == 0x86DD and len(payload) >= 40:
        header, at = payload[6], 40
        while header in (0, 43, 60, 135):
            if len(payload) < at + 8:
                return None, b""
            header, at = payload[at], at + payload[at + 1] * 8 + 8
        if at > len(payload):
            return None, b""
        return header, payload[at:]
    return None, b""


def read_filter(rules, frame, copies):
    """6.5 and 6.6: the result (0, 1 or 2), what is sent aside, and the matched entries of the base rules."""
    base = read_table(rules, frame)
    accepting = base
    if base.result == "NO_MATCH":
        holder = frame.remote if frame.inbound else frame.own
        for capability in sorted(holder.granted if holder else (), key=lambda capability: capability.id):
            read = read_table(capability.rules, frame)
            if read.result in ("ACCEPT", "SUPER_ACCEPT", "REDIRECT"):
                accepting = read
                break
    if accepting.result in ("NO_MATCH", "DROP"):
        return 0, [], base.matched
    aside = []
    for read in [base] if accepting is base else [accepting, base]:
        if read.copy and copies:
            to, copied, watch = read.copy
            flags = {(False, False): 0x02, (False, True): 0x16, (True, False): 0x08, (True, True): 0x1C}
            aside.append((to, flags[frame.inbound, watch], copied))
    if accepting.result == "REDIRECT":
        aside.append((accepting.redirect, 0x0A if frame.inbound else 0x04, frame.payload))
        return 0, aside, base.matched
    return 2 if accepting.result == "SUPER_ACCEPT" else 1, aside, base.matched
