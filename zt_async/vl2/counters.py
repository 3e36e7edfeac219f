"""The names under which VL2 counts.

Each packet given to ``receive_packets`` is counted once under a name of IN, or MALFORMED and a DecodeError's reason, or
NOT_TAKEN and a verb. Each frame given to ``send_frames`` is counted once under a name of OUT. OTHERS are no packets or
frames by themselves.
"""

from __future__ import annotations

from typing import Final

from zt_async.vl2.membership import Outcome

DELIVERED: Final = "in: delivered"
MALFORMED: Final = "in: malformed, "
NOT_JOINED: Final = "in: not joined"
NOT_A_MEMBER: Final = "in: not a member"
NOT_TAKEN: Final = "in: not taken, verb "
WAITING: Final = "in: waiting"
SENT: Final = "out: sent"

IN: Final = {
    DELIVERED: "frames for our own card, or for one behind us",
    NOT_JOINED: "about a network we are not on",
    NOT_A_MEMBER: "frames of a node that may not send any",
    WAITING: "frames of a node that was asked for its certificate; these go over into the other names",
    "in: rules": "frames that the network's rules refuse",
    "in: empty": "frames without payload",
    "in: own card": "frames that say they come from our own card",
    "in: foreign card": "frames from or to a card behind a bridge, where there is none",
    "in: no multicast": "frames for a group of a network that has multicast switched off",
    "in: bad multicast": "frames for a group with impossible MACs",
    "in: likes": "groups that somebody is in",
    "in: gather": "questions for members of a group",
    "in: gather refused": "the same from nodes that have no business there",
    "in: gathered": "answers to our questions",
    "in: unwanted multicast": "a member's word that it is not in a group",
    "in: credentials": "credentials",
    "in: too many credentials": "credentials of a node that sent some less than a second ago",
    "in: credentials wanted": "a peer's word that it has no certificate of ours",
    "in: chunk": "parts of a configuration",
    "in: repeated chunk": "parts that are there already",
    "in: unknown controller": "parts that cannot be checked, because nobody knows the controller yet",
    "in: refusal": "a controller's word that it has no configuration for us",
    "in: error ignored": "an error of somebody whom it is not for to say, or one that means nothing here",
    "in: request": "requests for a configuration, handed to the controller on this node",
    "in: no controller here": "requests for a configuration; they were told so",
    "in: request for another controller": "requests that the controller on this node cannot answer",
    "in: too many requests": "requests less than a second after another, or more than there is room for",
}

OUT: Final = {
    SENT: "frames handed to VL1",
    "out: multicast": "frames for a group",
    "out: bridged": "frames for a card behind a bridge",
    "out: own card": "frames that came straight back",
    "out: neighbour emulated": "solicitations answered on the spot",
    "out: not joined": "frames for a network we are not on",
    "out: not configured": "frames for a network without configuration",
    "out: foreign card": "frames of a card that is not ours, while we are no bridge",
    "out: unknown card": "frames for a card that is no member's, where there is no bridge",
    "out: rules": "frames that the network's rules refuse",
    "out: broadcast": "broadcasts on a network that does not carry them",
    "out: no multicast": "frames for a group of a network that has multicast switched off",
}

OTHERS: Final = {
    "configurations: applied": "that hold from then on",
    "configurations: held already": "that change nothing, not even their time",
    "configurations: old": "that are older than the one held",
    "configurations: for another": "of another network or member",
    "configurations: unreadable": "kept ones of an earlier run",
    "configurations: passed on": "parts sent on to other members",
    **{f"credentials: {outcome.value}": "what became of one that was received" for outcome in Outcome},
    "credentials: sent": "packets of them, at once or when the receiver takes one again",
    "credentials: not sent": "packets for a node for which too many wait",
    "credentials: passed on": "revocations sent on to other members",
    "copies: sent": "frames sent aside, as rules demand",
    "groups: full": "memberships for which there is no room",
    "likes: refused": "groups told by nodes that have no business there",
    "multicasts: sent": "frames sent to a member of a group",
    "multicasts: replicated": "frames sent on for another member",
    "multicasts: too many pending": "frames that go to no members who become known later",
}
