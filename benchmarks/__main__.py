"""python -m benchmarks: zt_async and libzt side by side, in network namespaces of this machine."""

from __future__ import annotations

import argparse
import asyncio
import functools
import sys
import time
from pathlib import Path

from tests.interop import wheels
from tests.interop.namespaces import LabUnavailable

from .measure import MEASUREMENTS, QUICK, Benchmark, Effort
from .report import Results, label, machine, table, write_json

RESULTS = Path(__file__).parent / "results"


def parse_arguments() -> argparse.Namespace:
    names = [measurement.__name__ for measurement in MEASUREMENTS]
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="less of everything, for a first impression")
    parser.add_argument("--only", action="append", choices=names, help="this measurement; may be given again")
    parser.add_argument(
        "--pairs", nargs="+", metavar="CLIENT-SERVER", help="of ours and libzt: default all four"
    )
    parser.add_argument("--libzt", default="1.8.4", choices=wheels.WHEELS, help="version of libzt")
    parser.add_argument(
        "--root", choices=["ours", "libzt"], help="who is the root: default libzt, if it is there"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="default: a new file in benchmarks/results")
    return parser.parse_args()


def parse_pairs(texts: list[str] | None, libzt: str | None) -> list[tuple[str, str]]:
    """All four pairs, or those with the kinds that there are. Raises ValueError."""
    kinds = {"ours": "ours"} | ({"libzt": libzt} if libzt else {})
    if texts is None:
        return [(client, server) for client in kinds.values() for server in kinds.values()]
    pairs = [tuple(kinds.get(kind) for kind in text.split("-")) for text in texts]
    for text, pair in zip(texts, pairs, strict=True):
        if len(pair) != 2 or None in pair:
            raise ValueError(f"{text!r} is no pair of {' and '.join(kinds)}")
    return pairs  # type: ignore[return-value]


def tell(pair: str, text: str) -> None:
    print(f"{pair}: {text}", file=sys.stderr)


async def run(arguments: argparse.Namespace) -> None:
    effort = QUICK if arguments.quick else Effort()
    wanted = [m for m in MEASUREMENTS if not arguments.only or m.__name__ in arguments.only]
    try:
        wheels.libzt(arguments.libzt)
        wheels.lab_library()
        libzt = arguments.libzt
    except LabUnavailable as e:
        print(f"without libzt: {e}", file=sys.stderr)
        libzt = None
    pairs = parse_pairs(arguments.pairs, libzt)
    root = "ours" if arguments.root == "ours" or libzt is None else libzt

    results: Results = {}
    for pair in pairs:
        benchmark = Benchmark(pair, root, effort, functools.partial(tell, label(pair)))
        results[pair] = await benchmark.run(wanted)
    facts = {"libzt": libzt, "root": root, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    target = arguments.json or RESULTS / f"{facts['at'].replace(':', '')}.json"
    write_json(target, results, effort, **facts)
    about = machine()
    print(f"\n{about['cpu']}, {about['cores']} cores, Linux {about['kernel']}, CPython {about['python']}")
    print(f"root: {root if root == 'ours' else f'libzt {root}'}\n")
    print(table(results))
    print(f"\nJSON: {target}")


def main() -> None:
    try:
        asyncio.run(run(parse_arguments()))
    except (LabUnavailable, ValueError) as e:
        sys.exit(f"benchmarks: {e}")


if __name__ == "__main__":
    main()
