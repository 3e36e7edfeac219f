"""A client of the API, as tests use it."""

from __future__ import annotations

import io
import json as json_module
from typing import Any, NamedTuple

import aiohttp

from zt_async.aio.controller import Controller
from zt_async.service import Service
from zt_async.testing import PrivateWorld


class Answer(NamedTuple):
    status: int
    json: Any
    text: str
    headers: Any


class Api:
    """What runs, and requests to it; they have the token unless they say otherwise."""

    def __init__(
        self, world: PrivateWorld, service: Service, controller: Controller, session: aiohttp.ClientSession
    ) -> None:
        self.world = world
        self.node, self.other = world.members
        self.service = service
        self.controller = controller
        self._session = session

    async def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        if headers is None:
            headers = {"X-ZT1-Auth": self.service.token}
        if body is not None:
            data = json_module.dumps(body).encode()
        async with self._session.request(
            method,
            self.service.url + path,
            data=None if data is None else io.BytesIO(data),
            headers=headers,
        ) as response:
            text = await response.text()
            is_json = response.content_type == "application/json" and text
            parsed = json_module.loads(text) if is_json else None
            return Answer(response.status, parsed, text, response.headers)

    async def get(self, path: str) -> Any:
        """The JSON of what has to be there."""
        answer = await self.ask("GET", path)
        assert answer.status == 200, answer.text
        return answer.json

    async def post(self, path: str, body: Any = None) -> Any:
        """The JSON that answers a change that has to be made."""
        answer = await self.ask("POST", path, body)
        assert answer.status == 200, answer.text
        return answer.json

    async def delete(self, path: str) -> Any:
        answer = await self.ask("DELETE", path)
        assert answer.status == 200, answer.text
        return answer.json

    async def everything(self) -> Any:
        """All that requests can change."""
        networks = await self.get("/unstable/controller/network")
        members = [
            await self.get(f"/unstable/controller/network/{network['id']}/member")
            for network in networks["data"]
        ]
        joined = [
            {key: value for key, value in network.items() if key != "multicastSubscriptions"}
            for network in await self.get("/network")
        ]
        return networks, members, joined, await self.get("/moon"), await self.get("/config")
