"""The public asyncio API on the simulated net: no socket, no waiting, and the same every time."""

import hashlib
import os
import subprocess
import sys

import pytest

from tests.vl1.world import make_planet
from zt_async.aio.start import start
from zt_async.testing import Link, SimNet, SimUdp, run
from zt_async.testing.identities import throwaway_identity
from zt_async.types import NetworkId

NETWORK = NetworkId.ad_hoc(1, 65535)
DATA = bytes(range(256)) * 400


def transfer(seed):
    """A root and two members: one sends the other 100 kB and gets the hash back."""
    net = SimNet(seed, link=Link(loss=0.02, delay=0.020, jitter=0.005, reorder=0.02), trace=100)
    hosts = [net.add_host(name) for name in ("root", "server", "client")]
    planet = make_planet([(throwaway_identity(0), [hosts[0].sockets[0]])])

    async def serve(reader, writer):
        writer.write(hashlib.sha256(await reader.read()).digest())
        writer.close()

    async def main():
        _, server, client = nodes = [
            await start(
                identity=throwaway_identity(number),
                roots=planet,
                udp=SimUdp(net, host),
                context=net.context(host.name),
            )
            for number, host in enumerate(hosts)
        ]
        network = await server.join(NETWORK)
        await client.join(NETWORK)
        async with await server.start_server(serve, str(network.ipv6), 7000):
            reader, writer = await client.open_connection(str(network.ipv6), 7000)
            writer.write(DATA)
            writer.write_eof()
            assert await reader.read() == hashlib.sha256(DATA).digest()
            writer.close()
        for node in nodes:
            await node.stop()

    run(main(), net.clock, limit=300)
    assert net.counts["lost"] > 0
    return net.trace.digest()


@pytest.mark.sim
def test_nodes_meet_and_transfer_on_a_lossy_net():
    assert transfer(1) == transfer(1) != transfer(2)


@pytest.mark.sim
def test_a_run_does_not_depend_on_the_process():
    script = "from tests.testing.test_public_api import transfer; print(transfer(1))"
    digests = {
        subprocess.run(
            [sys.executable, "-c", script],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    assert digests == {transfer(1) + "\n"}
