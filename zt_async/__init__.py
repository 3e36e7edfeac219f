"""Asyncio-native ZeroTier."""

__version__ = "0.1.0"
