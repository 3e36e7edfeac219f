"""What commands that ask a node have: a client of its HTTP API, which shows what was answered."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from zt_async.aio.storage import Kind
from zt_async.cli.failures import Failure
from zt_async.cli.options import DEFAULT_HOME, Api, AsJson, Home, Token, parse_place
from zt_async.cli.output import View, show, show_json

TIMEOUT: Final = 60.0  # s


class Object(dict[str, Any]):
    """A JSON object of an answer. Raises Failure for a key that it lacks, as those of others than nodes do."""

    def __missing__(self, key: str) -> Any:
        raise Failure(f"what answers is no node, or a very old one: it does not tell {key!r}")


class Client:
    """Asks the API of a node: that whose folder is ``home``, or at ``api``."""

    def __init__(
        self, home: Home = DEFAULT_HOME, api: Api = None, token: Token = None, as_json: AsJson = False
    ) -> None:
        """Raises Failure where the folder does not say what is not given."""
        home = home.expanduser()
        self._host, self._port = parse_place(api) if api is not None else ("127.0.0.1", _port(home))
        self._token = (token or _read(home, Kind.AUTH_TOKEN, "--token")).strip()
        if not self._token.isprintable():
            raise Failure("the token has characters in it that no token has")
        self._as_json = as_json

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        return self.ask("POST", path, body)

    def delete(self, path: str) -> Any:
        return self.ask("DELETE", path)

    def ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON of an answer. Raises Failure."""
        where = f"[{self._host}]:{self._port}" if ":" in self._host else f"{self._host}:{self._port}"
        connection = http.client.HTTPConnection(self._host, self._port, timeout=TIMEOUT)
        try:
            connection.request(
                method,
                path,
                None if body is None else json.dumps(body),
                {"X-ZT1-Auth": self._token.encode(), "Content-Type": "application/json"},
            )
            response = connection.getresponse()
            data = response.read()
        except OSError as error:
            raise Failure(
                f"no node answers at {where}: {error.strerror or error}. Is one running? 'zt node' starts one; "
                "--home or --api say which one is meant"
            ) from None
        except (http.client.HTTPException, ValueError) as error:
            raise Failure(f"what answers at {where} is no node: {error!r}") from None
        finally:
            connection.close()
        try:
            answer = json.loads(data, object_hook=Object) if data else None
        except ValueError:
            answer = None
        if response.status != 200:
            described = answer.get("description") if isinstance(answer, dict) else None
            raise Failure(described or f"{method} {path}: {response.status} {response.reason}")
        if answer is None:
            raise Failure(f"what answers at {where} is no node: this is no JSON")
        return answer

    def show(self, answer: object, view: View) -> None:
        """Show the JSON of an answer, or what people see of it."""
        if self._as_json:
            show_json(answer)
        else:
            show(view)


def _port(home: Path) -> int:
    text = _read(home, Kind.API_PORT, "--api")
    port = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    if not 0 < port <= 0xFFFF:
        raise Failure(f"{home / Kind.API_PORT.file()} has no port in it: {text[:100]!r}")
    return port


def _read(home: Path, kind: Kind, option: str) -> str:
    path = home / kind.file()
    try:
        return path.read_text("utf-8").strip()
    except FileNotFoundError:
        raise Failure(
            f"there is no {path}: no node runs there. 'zt node' starts one; or give another --home, or {option}"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
