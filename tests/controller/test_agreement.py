"""Two cores on one store, in any order of requests, edits and lost races: they agree in the end."""

from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st

from zt_async.controller import edits
from zt_async.controller.core import ControllerCore
from zt_async.controller.messages import Configure
from zt_async.controller.settings import member_change, network_change
from zt_async.controller.store import Tables
from zt_async.errors import Conflict, ControllerError
from zt_async.testing.identities import throwaway_identity
from zt_async.types import NetworkId

from .office import CONTROLLER, Ask, Office, ask_metadata, config_of

NETWORKS = [NetworkId(CONTROLLER.address << 24 | number) for number in (1, 2)]
MEMBERS = [throwaway_identity(number) for number in range(1, 7)]
POOL = {"ipv4": "10.1.0.0/29"}  # six addresses

CHANGES = st.sampled_from(
    [
        ("update_network", {"private": True}),
        ("update_network", {"private": False}),
        ("update_network", {"routes": ["10.1.0.0/30"]}),
        ("update_network", POOL),
        ("delete_network", {}),
        ("update_member", {"authorized": True}),
        ("update_member", {"authorized": False}),
        ("update_member", {"authorized": True, "addresses": ["10.1.0.2"]}),
        ("update_member", {"addresses": ["10.1.0.3", "10.1.0.4"]}),
        ("update_member", {"addresses": [], "active_bridge": True}),
        ("delete_member", {}),
        ("create_network", POOL | {"private": False}),
        ("ask", {}),
        ("ask", {}),
        ("ask", {}),
    ]
)
STEPS = st.lists(
    st.tuples(
        st.sampled_from([0, 1]),
        st.booleans(),
        st.lists(
            st.tuples(CHANGES, st.sampled_from(NETWORKS), st.sampled_from(MEMBERS)), min_size=1, max_size=3
        ),
    ),
    max_size=15,
)


def edit(batch, name, options, network_id, member):
    match name:
        case "create_network":
            edits.create_network(batch, network_change(options), network_id)
        case "update_network":
            edits.update_network(batch, network_id, network_change(options))
        case "delete_network":
            edits.delete_network(batch, network_id)
        case "update_member":
            edits.update_member(batch, network_id, member.address, member_change(options))
        case "delete_member":
            edits.delete_member(batch, network_id, member.address)


def refresh(office):
    office.core.replace(office.core.stored(office.store.snapshot(CONTROLLER.address)), office.now)


def do(office, steps):
    """Make a batch, anew where the other one was quicker."""
    for (name, _), network_id, member in steps:
        if name == "ask":
            office.core.receive_requests([Ask(network_id, member.public(), ask_metadata())], office.now)
    while True:
        batch = office.core.begin()
        for (name, options), network_id, member in steps:
            with suppress(ControllerError):  # the edit's own affair
                edit(batch, name, options, network_id, member)
        try:
            office.store.apply(batch.changes())
        except Conflict:
            office.core.abort(batch, again=True)
            refresh(office)
        else:
            office.core.finish(batch, office.now)
            return


def check(core: ControllerCore, store: Tables):
    """What is derived from the records is right, and nobody has the address of another."""
    assert core.tables.networks == store.networks
    assert core.tables.members == store.members
    assert core.tables.owners == store.owners
    assert core._states.keys() == store.networks.keys()
    for network_id, state in core._states.items():
        members = store.members[network_id].values()
        for record in (store.networks[network_id], *members):
            assert type(record).from_json(record.to_json()) == record
        held = [(ip, member.address) for member in members for ip in member.addresses]
        assert len(dict(held)) == len(held)
        assert {ip: state.book.owner(ip) for ip in state.book} == dict(held)
        assert state.waiting == sum(not member.authorized for member in members)
        assert state.bridges == {member.address for member in members if member.active_bridge}
        assert state.plan.network == store.networks[network_id]


@settings(deadline=None)
@given(STEPS)
def test_cores_agree_with_their_store(steps):
    store = Tables()
    offices = [Office(store, seed=1), Office(store, seed=2)]
    do(offices[0], [(("create_network", POOL), network_id, MEMBERS[0]) for network_id in NETWORKS])
    for number, settles, work in steps:
        office = offices[number]
        office.now += 2
        do(office, work)
        if settles:
            refresh(office)
            while office.core.has_undecided:
                do(office, [])
            while (message := office.core.next_message(office.now)) is not None:
                if isinstance(message, Configure):
                    config = config_of(message)
                    record = store.members[message.network_id][message.member]
                    assert record.authorized
                    assert {a.ip for a in config.addresses} <= set(record.addresses)
    for office in offices:
        refresh(office)
        while office.core.has_undecided:
            do(office, [])
    for office in offices:
        refresh(office)
        check(office.core, store)
