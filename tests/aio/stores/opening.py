"""Stores that are closed when a test is over."""

from __future__ import annotations

from contextlib import asynccontextmanager


@asynccontextmanager
async def opening(make):
    """Gives what makes and opens stores; they are closed at the end."""
    opened = []

    async def open_one(**options):
        store = make(**options)
        opened.append(store)
        await store.open()
        return store

    try:
        yield open_one
    finally:
        for store in opened:
            await store.close()
