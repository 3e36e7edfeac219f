import os
from collections.abc import Callable

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--fuzz-count",
        type=int,
        default=int(os.environ.get("FUZZ_COUNT", "20000")),
        help="datagrams that each fuzzed node is given (default: FUZZ_COUNT, else 20000; all: 1000000)",
    )


REPORTS = pytest.StashKey[list[str]]()


@pytest.fixture
def report(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Add a line to what is shown at the end of the run (with ``-v``, or for large counts)."""
    lines = request.config.stash.setdefault(REPORTS, [])
    return lambda line: lines.append(f"{request.node.name}: {line}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.get_verbosity() > 0 or config.getoption("--fuzz-count") >= 100_000:
        for line in config.stash.get(REPORTS, []):
            terminalreporter.write_line(line)


@pytest.fixture
def fuzz_count(request: pytest.FixtureRequest) -> int:
    return request.config.getoption("--fuzz-count")
