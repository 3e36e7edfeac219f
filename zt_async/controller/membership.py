"""Who is a member, and what a member's record gets from its network. vl2.md 8.2 and 8.3."""

from __future__ import annotations

from dataclasses import replace

from zt_async.controller.addresses import AddressBook, AddressPlan
from zt_async.controller.records import MAX_ADDRESSES, MAX_LIST, MemberRecord, NetworkRecord
from zt_async.crypto.identity import Identity
from zt_async.types import NodeAddress


def new_member(network: NetworkRecord, address: NodeAddress, now: int) -> MemberRecord:
    """The record of a node that asked for the first time.

    It has the network's default capabilities whether or not it is authorized already. (Upstream's controller gives
    them only to members that are authorized by their first request.)
    """
    capabilities = tuple(definition.id for definition in network.capabilities if definition.default)
    return MemberRecord(network_id=network.id, address=address, creation_time=now, capabilities=capabilities)


def admitted(
    network: NetworkRecord, member: MemberRecord, identity: Identity, token: str | None, now: int
) -> MemberRecord:
    """The record with the identity of whom asked, authorized where the network or a token does that by itself.

    Nothing changes when the record has another identity.
    """
    if member.identity is None:
        member = replace(member, identity=identity.public())
    elif member.identity != identity:
        return member
    if member.authorized:
        return member
    if not network.private:
        return member.with_authorization(True, now, "public")
    end = dict(network.auth_tokens).get(token) if token is not None else None
    if end is not None and (end == 0 or end > now):
        return member.with_authorization(True, now, "token", token)
    return member


def completed(
    network: NetworkRecord, plan: AddressPlan, book: AddressBook, member: MemberRecord
) -> MemberRecord:
    """The record with the tags that each member has, and with addresses of the pools; the same if it has them.

    It gets no more than records have room for. An address that it gets is free in ``book``, and not taken there yet.
    """
    had = {tag for tag, _ in member.tags}
    missing = [(tag, value) for tag, value in network.tags if value is not None and tag not in had]
    missing = missing[: MAX_LIST - len(had)]
    if missing:
        member = replace(member, tags=tuple(sorted((*member.tags, *missing))))
    for version in plan.missing(member)[: MAX_ADDRESSES - len(member.addresses)]:
        ip = plan.find(version, member.address, book)
        if ip is not None:
            member = replace(member, addresses=(*member.addresses, ip))
    return member
