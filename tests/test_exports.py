"""What the package offers: each name is there once, documented and typed."""

import asyncio
import dataclasses
import importlib
import inspect
import pkgutil
import subprocess
import sys
import typing
from pathlib import Path

import pytest

import zt_async as zt
from zt_async import service, testing
from zt_async.aio import connect, datagram, server
from zt_async.aio.network import NetworkChoices
from zt_async.aio.start import Settings
from zt_async.aio.stores.lease import Leases
from zt_async.controller.records import member_attributes, network_attributes
from zt_async.controller.settings import MemberOptions, NetworkOptions
from zt_async.controller.store import Store

PACKAGES = [zt, testing, service]
CALLS = ("create_connection", "create_datagram_endpoint", "create_server", "open_connection", "start_server")
PROTOCOLS = (asyncio.Transport, asyncio.DatagramTransport, zt.Storage, Store, Leases)
DOCUMENTED_ELSEWHERE = {name for kind in PROTOCOLS for name in dir(kind)}


def public(package):
    """The names that a package imports from its own modules, or makes."""
    return {
        name
        for name, value in vars(package).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_all_is_what_can_be_imported(package):
    assert set(package.__all__) == public(package)
    assert len(package.__all__) == len(set(package.__all__))
    assert package.__all__ == sorted(package.__all__, key=order)


def test_what_needs_asyncpg_is_loaded_when_it_is_asked_for():
    script = """
        import sys
        import zt_async as zt
        assert "asyncpg" not in sys.modules
        assert zt.PostgresStore.__doc__
        assert "asyncpg" in sys.modules
    """
    subprocess.run([sys.executable, "-c", inspect.cleandoc(script)], check=True)
    with pytest.raises(AttributeError, match="'zt_async' has no attribute 'NoStore'"):
        _ = zt.NoStore


def order(name):
    """As ruff sorts: constants, classes, functions."""
    return (not name.isupper(), not name[0].isupper(), name)


def test_all_events_and_errors_are_exported():
    for module, base in (("events", zt.Event), ("errors", zt.ZeroTierError)):
        for name, value in vars(importlib.import_module(f"zt_async.{module}")).items():
            if isinstance(value, type) and issubclass(value, base):
                assert getattr(zt, name) is value


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_everything_is_documented(package):
    undocumented = []
    for name in package.__all__:
        thing = getattr(package, name)
        if not callable(thing):
            continue
        if not own_docstring(thing):
            undocumented.append(name)
        if isinstance(thing, type) and thing.__module__.startswith("zt_async"):
            undocumented += [
                f"{name}.{member}"
                for member, value in vars(thing).items()
                if not member.startswith("_") and not documented(member, value)
            ]
    assert undocumented == []


def own_docstring(thing):
    """Not the one that dataclasses and enums make of the signature."""
    text = thing.__doc__
    return bool(text) and not text.startswith(f"{thing.__name__}(")


def documented(member, value):
    if isinstance(value, property | staticmethod | classmethod) or inspect.isfunction(value):
        function = getattr(value, "fget", None) or getattr(value, "__func__", value)
        return bool(function.__doc__) or member in DOCUMENTED_ELSEWHERE or is_obvious(function)
    return True


def is_obvious(function):
    """A few lines whose name and type say it all."""
    return len(inspect.getsource(function).splitlines()) <= 6


def test_every_module_is_documented():
    for module in pkgutil.walk_packages(zt.__path__, "zt_async."):
        if module.name.endswith("_speedups"):
            continue
        source = Path(importlib.util.find_spec(module.name).origin).read_text()
        assert not source.strip() or source.lstrip().startswith(('"""', '"')), module.name


def test_the_package_is_typed():
    assert (Path(zt.__file__).parent / "py.typed").exists()
    for name in CALLS:
        function = getattr(zt, name)
        hints = typing.get_type_hints(function)
        parameters = inspect.signature(function).parameters
        assert set(hints) == {*parameters, "return"}
        assert typing.Any not in hints.values()


@pytest.mark.parametrize("name", CALLS)
def test_the_calls_of_the_package_are_those_of_a_node(name):
    of_node = inspect.signature(getattr(zt.Node, name))
    first, *parameters = of_node.parameters.values()
    assert first.name == "self"
    assert inspect.signature(getattr(zt, name)) == of_node.replace(parameters=parameters)
    assert inspect.iscoroutinefunction(getattr(zt, name))


def test_the_settings_of_start_are_those_of_a_node():
    fields = {field.name: field.type for field in dataclasses.fields(zt.NodeConfig)}
    assert Settings.__annotations__.keys() == fields.keys()
    assert typing.get_type_hints(Settings) == typing.get_type_hints(zt.NodeConfig)
    assert Settings.__total__ is False


def test_the_choices_of_join_are_those_of_a_network():
    assert typing.get_type_hints(NetworkChoices) == typing.get_type_hints(zt.NetworkSettings)
    assert NetworkChoices.__total__ is False


@pytest.mark.parametrize(
    ("options", "record", "check", "more"),
    [
        (NetworkOptions, zt.NetworkRecord, network_attributes, {"ipv4", "ipv6"}),
        (MemberOptions, zt.MemberRecord, member_attributes, set()),
    ],
)
def test_the_options_of_records_are_fields_that_can_be_set(options, record, check, more):
    assert options.__total__ is False
    names = options.__annotations__.keys() - more
    assert names <= {field.name for field in dataclasses.fields(record)}
    for name in names:
        with pytest.raises(zt.RecordError) as refused:
            check({name: object()})
        assert refused.value.field == name


@pytest.mark.parametrize(
    ("options", "function"),
    [
        (connect.ConnectOptions, connect.create_connection),
        (server.ServerOptions, server.create_server),
        (datagram.DatagramOptions, datagram.create_datagram_endpoint),
    ],
)
def test_options_are_what_the_calls_take(options, function):
    keywords = {
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY
    }
    assert options.__annotations__.keys() == keywords
    hints = typing.get_type_hints(function)
    assert {name: hints[name] for name in keywords} == typing.get_type_hints(options)


def test_importing_starts_nothing():
    """No threads, no loop, no uvloop: an import is quick and without side effects."""
    script = """
        import sys, threading
        import zt_async
        assert threading.active_count() == 1
        for module in ("uvloop", "rich", "pytest", "zt_async.testing"):
            assert module not in sys.modules, module
    """
    subprocess.run([sys.executable, "-c", inspect.cleandoc(script)], check=True)


def test_the_version():
    assert [int(part) for part in zt.__version__.split(".")]
