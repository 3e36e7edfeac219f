"""Measures zt_async and libzt side by side, each with itself and with the other: ``python -m benchmarks``."""
