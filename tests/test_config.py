"""Settings are checked when they are made."""

from __future__ import annotations

import dataclasses
from ipaddress import ip_network
from math import nan

import pytest

from zt_async.config import NodeConfig, StackConfig

FLAGS = {"verify_checksums", "pacing"}
HOST = ip_network("10.0.0.1/32")


@pytest.mark.parametrize("field", dataclasses.fields(StackConfig), ids=lambda field: field.name)
def test_every_setting_of_the_stack_has_bounds(field):
    if field.name in FLAGS:
        return
    wrong = {"congestion_control": ("vegas",), "ephemeral_ports": ((0, 9), (9, 8), (1, 1 << 16))}
    for value in wrong.get(field.name, (-1, nan)):
        with pytest.raises(ValueError, match=field.name):
            StackConfig(**{field.name: value})


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("port", (-1, 1 << 16)),
        ("secondary_port", (-1, 1 << 16)),
        ("mtu", (1399, 10_325, nan)),
        ("identity_validation_burst", (0, nan)),
        ("max_peers", (0, nan)),
        ("event_queue", (0, nan)),
        ("offline_after", (0, -1, nan)),
        ("trusted_paths", ({HOST: 0}, {HOST: -1}, {HOST: 1 << 64})),
    ],
)
def test_settings_of_a_node_have_bounds(name, values):
    for value in values:
        with pytest.raises(ValueError, match=name.replace("trusted_paths", "trusted path ID")):
            NodeConfig(**{name: value})


def test_the_limits_themselves_are_allowed():
    NodeConfig(port=0xFFFF, secondary_port=None, mtu=1400, max_peers=1, trusted_paths={HOST: (1 << 64) - 1})
    NodeConfig(mtu=10_324, identity_validation_burst=1, event_queue=1)
    StackConfig(hop_limit=255, ephemeral_ports=(1, 0xFFFF), receive_buffer=4096, max_receive_buffer=4096)
    StackConfig(hop_limit=1, ephemeral_ports=(7, 7), delayed_ack=0, prompt_ack=0.5)
