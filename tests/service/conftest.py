import functools

import aiohttp
import pytest
import pytest_asyncio

from zt_async.aio.stores.memory import MemoryStore
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


class Store(MemoryStore):
    """In memory; ``failure`` is raised instead of committing."""

    failure: Exception | None = None

    async def commit(self, changes, fence=None):
        if self.failure is not None:
            raise self.failure
        await super().commit(changes, fence)


@pytest.fixture
def store():
    return Store()


@pytest_asyncio.fixture
async def api(store):
    """The API of one of two nodes, which has a controller, on real sockets."""
    async with private_world(2) as world:
        node = world.members[0]
        async with (
            node.controller(store) as controller,
            serve(node, controller, port=0) as service,
            aiohttp.ClientSession() as session,
        ):
            yield Api(world, service, controller, session)
