"""One libzt node as a process: a JSON object a line on stdin, answers and events a line each on stdout.

    libzt_node.py LIBZT LAB repaired|published

LIBZT is the wheel's extension file, LAB the library made of shims.c and load.cpp; the latter says what is
repaired.

A request is {"id": n, "do": verb, ...}; its answer is {"id": n, "result": {...}} or {"id": n, "error": text};
the verbs are the public methods of Node. libzt's events are {"event": code, "about": id, "at": seconds}, and
times are those of the monotonic clock. Every request runs in a thread of its own. End of input ends the
process. Never start one where a route leads out: without a planet a node looks for ZeroTier's public roots.
"""

import ctypes
import inspect
import json
import os
import resource
import sys
import threading
import time
from ctypes import byref, c_char, c_char_p, c_double, c_int, c_uint, c_uint64, c_ushort, c_void_p

MODES = ["echo", "sink", "discard", "source", "hold", "udp_echo"]
ANY = {4: b"0.0.0.0", 6: b"::"}


class RootSet(ctypes.Structure):
    _fields_ = (("identities", c_char_p * 16), ("endpoints", c_char_p * 32 * 16))


class Plan(ctypes.Structure):
    _fields_ = (
        ("prefix_size", c_uint64),
        ("prefix", c_char_p),
        ("size", c_uint64),
        ("seed", c_uint64),
        ("rate", c_double),
        ("timeout", c_double),
        ("half_close", c_int),
    )


class Outcome(ctypes.Structure):
    _fields_ = (
        ("sent", c_uint64),
        ("received", c_uint64),
        ("seconds", c_double),
        ("failed_in", c_int),
        ("error", c_int),
        ("end_of_stream", c_int),
        ("tail_size", c_int),
        ("sent_digest", c_char * 32),
        ("received_digest", c_char * 32),
        ("tail", c_char * 64),
    )


def raw(structure, field):
    """A char array's bytes, zeros included."""
    place = getattr(type(structure), field)
    return ctypes.string_at(ctypes.addressof(structure) + place.offset, place.size)


def check(code, what):
    if code < 0:
        raise RuntimeError(f"{what} failed with {code}")
    return code


def poll(condition, timeout, what):
    """libzt's events can be late or missing under load, so its state is asked for. Returns the time it became so."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(0.005)
    return time.monotonic()


class Node:
    def __init__(self, libzt, lab, output, repaired):
        self.lab = ctypes.CDLL(lab, mode=ctypes.RTLD_GLOBAL)
        self.zts = ctypes.CDLL(libzt)
        self.zts.zts_node_get_id.restype = c_uint64
        self.lab.lab_connect.restype = c_double
        self.lab.lab_server_stats.restype = None
        check(self.lab.lab_init(c_void_p(self.zts._handle), output, repaired), "finding libzt's symbols")

    def emit(self, message):
        line = json.dumps(message).encode() + b"\n"
        self.lab.lab_emit(line, len(line))

    # identities and worlds, before start

    def new_identity(self):
        text, size = ctypes.create_string_buffer(384), c_uint(384)
        check(self.zts.zts_id_new(text, byref(size)), "zts_id_new")
        return {"identity": text.value.decode()}

    def make_planet(self, roots, world_id, timestamp):
        """roots: (public identity, ["ip/port", ...]) each."""
        spec = RootSet()
        for i, (identity, endpoints) in enumerate(roots):
            spec.identities[i] = identity.encode()
            for k, endpoint in enumerate(endpoints):
                spec.endpoints[i][k] = endpoint.encode()
        world, keys = ctypes.create_string_buffer(4096), ctypes.create_string_buffer(4096)
        size, key_size = c_uint(4096), c_uint(4096)
        arguments = (world, byref(size), keys, byref(key_size), keys, byref(key_size))
        arguments += (c_uint64(world_id), c_uint64(timestamp), byref(spec))
        check(self.zts.zts_util_sign_root_set(*arguments), "zts_util_sign_root_set")
        return {"planet": world.raw[: size.value].hex()}

    # the node

    def start(self, home, planet, port):
        """Returns once the port is bound."""
        zts, self.planet = self.zts, bytes.fromhex(planet)
        check(zts.zts_init_from_storage(home.encode()), "zts_init_from_storage")
        check(self.lab.lab_events(), "zts_init_set_event_handler")
        check(zts.zts_init_set_roots(self.planet, len(self.planet)), "zts_init_set_roots")
        check(zts.zts_init_set_port(c_ushort(port)), "zts_init_set_port")
        check(zts.zts_init_allow_port_mapping(0), "zts_init_allow_port_mapping")
        check(zts.zts_init_allow_secondary_port(0), "zts_init_allow_secondary_port")
        if hasattr(zts, "zts_init_allow_tcp_relay"):
            check(zts.zts_init_allow_tcp_relay(0), "zts_init_allow_tcp_relay")
        began = time.monotonic()
        check(zts.zts_node_start(), "zts_node_start")
        poll(lambda: 0 < zts.zts_node_get_id() < 2**40 and zts.zts_node_get_port() == port, 30, "start")
        return {"address": zts.zts_node_get_id(), "port": zts.zts_node_get_port(), "began": began}

    def online(self, timeout):
        return {"at": poll(self.zts.zts_node_is_online, timeout, "online")}

    def join(self, network, timeout):
        """Returns once the virtual interface has the network's addresses."""
        began = time.monotonic()
        nwid = c_uint64(network)
        check(self.zts.zts_net_join(nwid), "zts_net_join")
        at = poll(lambda: self.zts.zts_net_transport_is_ready(nwid), timeout, "join")
        return {"began": began, "at": at, **self.addresses(network)}

    def begin_join(self, network):
        check(self.zts.zts_net_join(c_uint64(network)), "zts_net_join")
        return {}

    def leave(self, network):
        check(self.zts.zts_net_leave(c_uint64(network)), "zts_net_leave")
        return {}

    def addresses(self, network):
        text, found = ctypes.create_string_buffer(64), {}
        for name, family in (("ipv4", 2), ("ipv6", 10)):
            code = self.zts.zts_addr_get_str(c_uint64(network), family, text, 64)
            found[name] = text.value.decode() if code == 0 else None
        return found

    def status(self, network):
        """What the core says; addresses without prefixes, targets of routes likewise."""
        zts, nwid = self.zts, c_uint64(network)
        text, via = ctypes.create_string_buffer(64), ctypes.create_string_buffer(64)
        flags, metric = c_ushort(), c_ushort()
        addresses, routes = [], []
        check(zts.zts_core_lock_obtain(), "zts_core_lock_obtain")
        try:
            for index in range(max(0, zts.zts_core_query_addr_count(nwid))):
                check(zts.zts_core_query_addr(nwid, index, text, 64), "zts_core_query_addr")
                addresses.append(text.value.decode())
            for index in range(max(0, zts.zts_core_query_route_count(nwid))):
                found = (nwid, index, text, via, 64, byref(flags), byref(metric))
                check(zts.zts_core_query_route(*found), "zts_core_query_route")
                routes.append(text.value.decode())
        finally:
            zts.zts_core_lock_release()
        return {
            "status": zts.zts_net_get_status(nwid),
            "mtu": zts.zts_net_get_mtu(nwid),
            "addresses": addresses,
            "routes": routes,
        }

    # servers

    def serve(self, mode, port, family):
        number = self.lab.lab_serve(MODES.index(mode), ANY[family], port)
        return {"server": check(number, f"serving {mode} on port {port}")}

    def server_stats(self, server):
        counts = (c_uint64 * 5)()
        self.lab.lab_server_stats(server, counts)
        return dict(zip(("received", "sent", "accepted", "open", "datagrams"), counts, strict=True))

    def server_release(self, server):
        return {"released": self.lab.lab_server_release(server)}

    # clients

    def connect(self, ip, port, patience):
        seconds = self.lab.lab_connect(ip.encode(), port, c_double(patience))
        return {"seconds": seconds, "errno": 0} if seconds >= 0 else {"seconds": None, "errno": int(-seconds)}

    def exchange(self, ip, port, prefix, size, seed, rate, half_close, tail, timeout):
        prefix = bytes.fromhex(prefix)
        plan, outcome = Plan(len(prefix), prefix, size, seed, rate, timeout, half_close), Outcome()
        self.lab.lab_exchange(ip.encode(), port, byref(plan), tail, byref(outcome))
        return {
            "sent": outcome.sent,
            "received": outcome.received,
            "seconds": outcome.seconds,
            "failed_in": ("", "connect", "send", "receive")[outcome.failed_in],
            "errno": outcome.error,
            "end_of_stream": bool(outcome.end_of_stream),
            "sent_digest": raw(outcome, "sent_digest").hex(),
            "received_digest": raw(outcome, "received_digest").hex(),
            "tail": raw(outcome, "tail")[: outcome.tail_size].hex(),
        }

    def udp_echo(self, ip, port, count, size, seed, timeout):
        out, us = (c_int * 3)(), (c_double * count)()
        plan = (ip.encode(), port, count, size, c_uint64(seed), c_double(timeout))
        check(self.lab.lab_udp_echo(*plan, us, out), "udp_echo")
        return {"echoed": out[0], "lost": out[1], "wrong": out[2], **percentiles(us[: out[0]])}

    def ping_pong(self, ip, port, count, size):
        us = (c_double * count)()
        done = check(self.lab.lab_ping_pong(ip.encode(), port, count, size, us), "ping_pong")
        return {"done": done, **percentiles(us[:done])}

    def connect_rate(self, ip, port, count, seconds):
        us, out = (c_double * count)(), (c_double * 4)()
        self.lab.lab_connect_rate(ip.encode(), port, count, c_double(seconds), us, out)
        done, failed, error = (int(n) for n in out[:3])
        return {"done": done, "failed": failed, "errno": error, "seconds": out[3], **percentiles(us[:done])}

    def bulk(self, ip, discard_port, source_port, up, down, seconds, rate):
        out = (c_double * 6)()
        plan = (ip.encode(), discard_port, source_port, up, down, c_double(seconds), c_double(rate))
        self.lab.lab_bulk(*plan, out)
        return {
            "up_bytes": int(out[0]),
            "up_seconds": out[1],
            "down_bytes": int(out[2]),
            "down_seconds": out[3],
            "failed": int(out[4]),
            "errno": int(out[5]),
        }

    def hold(self, ip, port, count):
        error = c_int()
        return {"held": self.lab.lab_hold(ip.encode(), port, count, byref(error)), "errno": error.value}

    def release(self):
        return {"released": self.lab.lab_release()}


def percentiles(us):
    us = sorted(us)
    return {f"p{p}_us": us[min(len(us) - 1, len(us) * p // 100)] if us else None for p in (50, 99)}


def main():
    output = os.dup(1)
    os.dup2(2, 1)  # what libzt itself prints belongs to the errors
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libzt, lab, repaired = sys.argv[1:]
    node = Node(libzt, lab, output, repaired == "repaired")
    verbs = {name: verb for name, verb in inspect.getmembers(node, inspect.ismethod) if name[0] != "_"}

    def answer(number, verb, arguments):
        try:
            node.emit({"id": number, "result": verbs[verb](**arguments)})
        except Exception as e:  # the other side decides what it means
            node.emit({"id": number, "error": f"{type(e).__name__}: {e}"})

    for line in sys.stdin:
        request = json.loads(line)
        work = (request.pop("id"), request.pop("do"), request)
        threading.Thread(target=answer, args=work, daemon=True).start()
    os._exit(0)  # libzt's threads can hang an ordinary exit


if __name__ == "__main__":
    main()
