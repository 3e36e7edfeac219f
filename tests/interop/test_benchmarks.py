"""The benchmarks run, and their table says what happened."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import parse_pairs
from benchmarks.measure import CONNECTIONS, MEASUREMENTS, TCP_P50, Cell
from benchmarks.report import table

CHECKOUT = Path(__file__).parents[2]


def test_table_has_ratios_and_failures() -> None:
    text = table(
        {
            ("ours", "ours"): {TCP_P50: Cell(50.0), CONNECTIONS: Cell(1500.0)},
            ("ours", "1.8.4"): {TCP_P50: Cell(None, "it died")},
            ("1.8.4", "1.8.4"): {TCP_P50: Cell(100.0, "it died"), CONNECTIONS: Cell(1000.0)},
        }
    )
    rows = {
        row[0]: row[1:] for row in ([c.strip() for c in r.split("|")[1:-1]] for r in text.splitlines()) if row
    }
    assert rows[""] == ["unit", "ours → ours", "ours → libzt 1.8.4", "libzt 1.8.4 → libzt 1.8.4"]
    assert rows[TCP_P50.name] == ["µs", "50 (2×)", "failed [1]", "100 [2]"]
    assert rows[CONNECTIONS.name] == ["per s", "1,500 (1.5×)", "", "1,000"]
    assert text.endswith("[1] it died\n[2] it died as published; the figure is of libzt repaired")


def test_pairs() -> None:
    assert len(parse_pairs(None, "1.8.4")) == 4
    assert parse_pairs(None, None) == [("ours", "ours")]
    assert parse_pairs(["libzt-ours"], "1.4.2") == [("1.4.2", "ours")]
    for wrong in ("libzt", "ours-theirs", "ours-ours-ours"):
        with pytest.raises(ValueError, match="is no pair of ours and libzt"):
            parse_pairs([wrong], "1.8.4")
    with pytest.raises(ValueError, match="is no pair of ours"):
        parse_pairs(["ours-libzt"], None)


async def benchmark(folder: Path, *options: str) -> tuple[list[dict[str, Any]], str]:
    """Run it; what it wrote of each pair, and its table."""
    results = folder / "results.json"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "benchmarks", "--quick", "--root", "ours", "--json", str(results), *options),
        cwd=CHECKOUT,
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(results.read_text())["pairs"], output.decode()


@pytest.mark.netns
@pytest.mark.usefixtures("network_namespaces")
async def test_all_measurements_run(tmp_path: Path) -> None:
    (pair,), text = await benchmark(tmp_path, "--pairs", "ours-ours")
    for metric in (metric for metrics in MEASUREMENTS.values() for metric in metrics):
        assert pair["cells"][metric.name]["value"] is not None
        assert pair["cells"][metric.name]["failure"] is None
        assert metric.name in text


@pytest.mark.interop
@pytest.mark.usefixtures("libzt")
async def test_libzt_is_measured_beside_ours(tmp_path: Path) -> None:
    (pair,), text = await benchmark(tmp_path, "--only", "tcp_ping_pong", "--pairs", "libzt-ours")
    assert (pair["client"], pair["server"]) == ("1.8.4", "ours")
    assert pair["cells"][TCP_P50.name]["value"] > 0
    assert "libzt 1.8.4 → ours" in text
