import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all-seeds", action="store_true", help="run the simulations for all their seeds")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seed" in metafunc.fixturenames:
        seeds = range(20) if metafunc.config.getoption("--all-seeds") else range(2)
        metafunc.parametrize("seed", seeds)
