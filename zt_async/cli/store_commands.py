"""``zt controller`` itself, and commands on its store, which need no controller that runs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, TypeAlias

import typer

from zt_async.aio.standby import LeasedStore
from zt_async.aio.stores.directory import export_directory, import_directory
from zt_async.cli import run
from zt_async.cli.failures import Failure
from zt_async.cli.options import DEFAULT_API, DEFAULT_HOME, Home, Member, Store
from zt_async.cli.output import show_json, show_table
from zt_async.context import system_context
from zt_async.crypto.identity import Identity
