"""The results as a table for people and as JSON for programs."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .measure import METRICS, Cell, Effort, Metric

Results = dict[tuple[str, str], dict[Metric, Cell]]
"""Cells by client and server."""

REPAIRED = (
    "As published, libzt takes received IPv6 frames in without its stack's lock, and dies or stalls of it; "
    "repaired means that it takes the lock (tests/interop/lab/load.cpp)."
)


def label(pair: tuple[str, str]) -> str:
    """Client first."""
    client, server = (kind if kind == "ours" else f"libzt {kind}" for kind in pair)
    return f"{client} → {server}"


def table(results: Results) -> str:
    """A Markdown table, client → server in each column, with ratios to libzt → libzt; failures below it."""
    reference = next((pair for pair in results if "ours" not in pair), None)
    rows = [["", "unit", *map(label, results)]]
    notes: dict[str, int] = {}
    for metric in METRICS:
        cells = [results[pair].get(metric) for pair in results]
        if not any(cells):
            continue
        base = results[reference].get(metric) if reference else None
        row = [metric.name, metric.unit]
        for pair, cell in zip(results, cells, strict=True):
            text = _figure(metric, cell, None if pair == reference else base)
            if cell and cell.failure:
                reason = "" if cell.value is None else " as published; the figure is of libzt repaired"
                text += f" [{notes.setdefault(cell.failure + reason, len(notes) + 1)}]"
            row.append(text)
        rows.append(row)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    rows.insert(1, ["-" * width for width in widths])
    lines = ["| " + " | ".join(f"{c:<{w}}" for c, w in zip(row, widths, strict=True)) + " |" for row in rows]
    lines.append("")
    if reference:
        lines.append(f"(n×): so many times as good as {label(reference)}.")
    if notes:
        lines.append(REPAIRED)
    return "\n".join(lines + [f"[{number}] {note}" for note, number in notes.items()])


def _figure(metric: Metric, cell: Cell | None, base: Cell | None) -> str:
    if cell is None:
        return ""
    if cell.value is None:
        return "failed"
    text = f"{cell.value:,.0f}" if cell.value >= 100 else f"{cell.value:.3g}"
    if base and base.value and cell.value > 0:
        ratio = cell.value / base.value if metric.more_is_better else base.value / cell.value
        text += f" ({ratio:.0f}×)" if ratio >= 10 else f" ({ratio:.2g}×)"
    return text


def machine() -> dict[str, Any]:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "cpu": model or platform.machine(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def write_json(path: Path, results: Results, effort: Effort, **facts: Any) -> None:
    pairs = [
        {
            "client": client,
            "server": server,
            "cells": {m.name: {"unit": m.unit, **asdict(cell)} for m, cell in cells.items()},
        }
        for (client, server), cells in results.items()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    document = {**facts, "machine": machine(), "effort": asdict(effort), "pairs": pairs}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
