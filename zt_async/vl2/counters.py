"""The names under which VL2 counts.

Each packet given to ``receive_packets`` is counted once under a name of IN, or MALFORMED and a DecodeError's reason, or
NOT_TAKEN and a verb. Each frame given to ``send_frames`` is counted once under a name of OUT.
"""

from __future__ import annotations

from typing import Final

DELIVERED: Final = "in: delivered"
MALFORMED: Final = "in: malformed, "
NOT_TAKEN: Final = "in: not taken, verb "
SENT: Final = "out: sent"

IN: Final = {
    DELIVERED: "frames for our own card",
    "in: not joined": "frames of a network we are not on",
    "in: not a member": "frames of a node that may not send any",
    "in: rules": "frames that the network's rules refuse",
    "in: empty": "frames without payload",
    "in: own card": "frames that say they come from our own card",
    "in: foreign card": "frames from or to a card behind a bridge, where there is none",
    "in: no controller here": "requests for a configuration; they were told so",
    "in: refusal": "a controller's word that it has no configuration for us",
    "in: refusal ignored": "the same from somebody else, or another error",
}

OUT: Final = {
    SENT: "frames handed to VL1",
    "out: own card": "frames that came straight back",
    "out: neighbour emulated": "solicitations answered on the spot",
    "out: not joined": "frames for a network we are not on",
    "out: not configured": "frames for a network without configuration",
    "out: foreign card": "frames that do not come from our own card",
    "out: unknown card": "frames for a card that is no member's",
    "out: rules": "frames that the network's rules refuse",
    "out: multicast": "frames for a group",
}
