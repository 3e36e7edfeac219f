"""The local HTTP API that zerotier-one has, for the tools and web interfaces that speak it.

async with zt.start("node") as node, node.controller("networks.db") as controller:
    async with serve(node, controller) as service:
        ...
"""

from zt_async.service.app import DEFAULT_PORT, Service, serve

__all__ = ["DEFAULT_PORT", "Service", "serve"]
