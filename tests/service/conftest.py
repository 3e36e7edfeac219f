import functools

import aiohttp
import pytest
import pytest_asyncio

from zt_async.crypto.identity import Identity
from zt_async.service import serve
from zt_async.testing import private_world

from .api import Api


@pytest.fixture(autouse=True, scope="session")
def proofs_of_work():
    """Each identity's is checked once: without the extension it takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Identity, "validate", functools.cache(Identity.validate))
        yield


@pytest_asyncio.fixture
async def api():
    """The API of one of two nodes, which has a controller, on real sockets."""
    async with private_world(2) as world:
        node = world.members[0]
        async with (
            node.controller() as controller,
            serve(node, controller, port=0) as service,
            aiohttp.ClientSession() as session,
        ):
            yield Api(world, service, controller, session)
