import functools

import pytest
from typer.testing import CliRunner

from zt_async.cli.app import app
from zt_async.crypto.identity import Identity

from ..service.threaded import served


@pytest.fixture(autouse=True, scope="session")
def proofs_of_work():
    """Each identity's is checked once: without the extension it takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Identity, "validate", functools.cache(Identity.validate))
        yield


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path):
    for name in ("ZT_HOME", "ZT_TOKEN", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    """The API of a node with a controller, whose folder is ``service.home``."""
    home = tmp_path_factory.mktemp("node")
    with served(home) as service:
        service.home = home
        yield service


@pytest.fixture
def zt(service):
    """Runs a command on that node."""

    def run(*arguments, stdin=None, home=service.home):
        environment = {"ZT_HOME": str(home)}
        return CliRunner().invoke(app, [str(each) for each in arguments], input=stdin, env=environment)

    return run


@pytest.fixture
def done(zt):
    """Runs a command that has to succeed; gives what it shows."""

    def run(*arguments, stdin=None):
        result = zt(*arguments, stdin=stdin)
        assert result.exit_code == 0, result.output
        assert result.stderr == ""
        return result.stdout

    return run
