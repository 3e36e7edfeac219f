"""The names under which VL1 counts, and what adds up.

Each datagram given to ``receive_datagrams`` is counted once, under one name of DATAGRAMS. A whole packet for this
node, whether it came in one piece or in several, is counted once, under one name of PACKETS (or MALFORMED and a
DecodeError's reason), so that at any time

    DATAGRAM_PACKET + FRAGMENTS_JOINED = the sum over all names that begin with "packet: "

OTHERS count what is not a datagram or packet by itself.
"""

from __future__ import annotations

from typing import Final

DATAGRAM_PACKET: Final = "datagram: packet"
DATAGRAM_FRAGMENT: Final = "datagram: fragment"
DATAGRAM_RELAYED: Final = "datagram: relayed"

ACCEPTED: Final = "packet: accepted"
WAITING: Final = "packet: waiting"
NOT_AUTHENTIC: Final = "packet: not authentic"
UNKNOWN_SOURCE: Final = "packet: unknown source"
INVALID_IDENTITY: Final = "packet: invalid identity"
MALFORMED: Final = "packet: malformed, "

FRAGMENTS_JOINED: Final = "fragments: joined"
FRAGMENTS_ABANDONED: Final = "fragments: abandoned"

DATAGRAMS: Final = {
    DATAGRAM_PACKET: "a whole packet for this node",
    DATAGRAM_FRAGMENT: "a piece of a packet for this node",
    DATAGRAM_RELAYED: "for another node, and sent on",
    "datagram: wrong size": "too short to be anything, or too long",
    "datagram: bad fragment": "a fragment whose numbers make no sense",
    "datagram: repeated fragment": "a piece that is there already",
    "datagram: own source": "for another node, and said to come from this one",
    "datagram: relay refused": "for another node, and this is no root",
    "datagram: too many hops": "for another node, and relayed too often",
    "datagram: no way onward": "for another node, and nobody knows where that is",
}

PACKETS: Final = {
    ACCEPTED: "authentic, and acted upon or handed to VL2",
    WAITING: "of a source whose identity is being asked for or checked; these go over into the other names",
    NOT_AUTHENTIC: "the MAC does not match",
    UNKNOWN_SOURCE: "nobody said in time who the source is, or too many wait for that",
    INVALID_IDENTITY: "a HELLO of an identity without proof of work",
    "packet: own address": "said to come from this node",
    "packet: unknown suite": "of a cipher suite that does not exist",
    "packet: untrusted path": "in the clear, though nobody vouches for where it came from",
    "packet: bad compression": "authentic, but cannot be decompressed",
    "packet: identity collision": "a HELLO of an address that another identity has; it was told so",
    "packet: rate limit": "authentic or not yet checked, and one too many",
    "packet: unexpected reply": "an OK to nothing that was asked",
    "packet: not from a root": "something that only roots may say",
    "packet: ignored verb": "a verb for links between bonded nodes",
    "packet: unknown verb": "a verb that does not exist",
}

OTHERS: Final = {
    FRAGMENTS_JOINED: "packets put together from their fragments",
    FRAGMENTS_ABANDONED: "incomplete packets that were given up: too old, too large or too many",
    "send: too large": "packets that no seven fragments can carry",
    "send: too many waiting": "packets for nodes to which there is no way yet",
    "send: no way found": "packets that waited in vain",
    "whois: too many": "addresses that could not be asked for",
    "paths: too many": "paths that were not learned",
    "paths: too many attempts": "addresses that were not probed",
    "paths: too many pushes": "PUSH_DIRECT_PATHS that had no effect",
    "paths: refused": "addresses told by a root, where the peer may not be met",
    "world: malformed": "planets and moons that cannot be read",
    "world: refused": "planets and moons that take nothing's place",
}


class Refused(Exception):
    """Raised where a packet is dropped for a reason, which is a name of PACKETS without ``packet: ``."""
