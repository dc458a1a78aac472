"""The addresses of an attempt as columns: asked for in user memory, used by the kernel, and where they differ.

Rule of this file: each distinct address is decoded once; what the kernel used wins over what was asked for.
"""

from __future__ import annotations

import socket
from typing import NamedTuple

import numpy as np

from callout.batch import Array, Coded, Column, Plain, coded, compact, distinct
from callout.capture.memory import Copies
from callout.sockaddr import decode_sockaddr, family_name, parse_sockaddr

ASKED = np.dtype([("data", "V128"), ("pointer", "u8"), ("addrlen", "i4"), ("unreadable", "i4")])
PEER = np.dtype([("ip", "V16"), ("port", "u2"), ("family", "u2"), ("asked", "i4")])
KNOWN, PORTLESS = -1, -2  # in `asked`: the kernel's own address, with and without a port
AT_ENTRY = ("connect", "connect_ia32", "socketcall")  # of other calls callout reads the address at the socket
WHEN, AROUND = "between entry and the kernel's copy", "around the kernel's copy"
PORTED = (6, 17, 33, 132, 136, 262)  # TCP, UDP, DCCP, SCTP, UDP-Lite, MPTCP
END = np.dtype([("ip", "V16"), ("family", "u2")])


class Asked(NamedTuple):
    """An address as the call passed it: its bytes, the length given, and where it lay."""

    data: bytes
    length: int
    pointer: int
    unreadable: bool

    @property
    def known(self) -> bool:
        """Whether there is a family to decode."""
        return not self.unreadable and self.length >= 2

    def text(self) -> str:
        """strace's notation; where it prints a pointer, so do we."""
        if self.known:
            return decode_sockaddr(self.data, self.length)
        return f"{self.pointer:#x}" if self.pointer else "NULL"


class Place(NamedTuple):
    """A destination by its parts; None for those that its family does not have."""

    ip: str | None = None
    port: int | None = None
    address: str | None = None

    @property
    def type(self) -> str | None:
        """network.type."""
        return None if self.ip is None else "ipv6" if ":" in self.ip else "ipv4"

    def text(self) -> str:
        """`ip:port` as people write it."""
        return f"[{self.ip}]:{self.port}" if self.type == "ipv6" else f"{self.ip}:{self.port}"


class Addresses:
    """The address columns of one array of records. ``flag(name)``: where an attempt_flag is set."""

    def __init__(
        self, records: Array, flags: dict[str, int], copies: Copies, entries: dict[int, str]
    ) -> None:
        self.r = records
        self._entries = entries
        self._copies = copies
        self._bits = flags
        self._set = np.ascontiguousarray(records["flags"])
        self._asked: tuple[Array, list[Asked]] | None = None
        self._peers: tuple[Array, list[Place]] | None = None

    def flag(self, name: str) -> Array:
        """Where one of the attempt_flag bits is set."""
        on: Array = (self._set & self._bits[name]) != 0
        return on

    def asked(self) -> tuple[Array, list[Asked]]:
        """Number of each row's address as it was passed, and the distinct ones."""
        if self._asked is None:
            r, unreadable = self.r, self.flag("FLAG_UNREADABLE")
            k = np.empty(len(r), ASKED)
            k["data"] = whole(r["sockaddr"], 128)
            # the pointer is shown only where there is nothing else, so it must not make equal addresses distinct
            k["pointer"] = np.where(unreadable | (r["addrlen"] < 2), r["pointer"], 0)
            k["addrlen"], k["unreadable"] = r["addrlen"], unreadable
            codes, first = distinct(k)
            self._asked = (
                codes,
                [
                    Asked(bytes(data)[: max(0, min(length, 128))], length, pointer, bool(bad))
                    for data, pointer, length, bad in k[first].tolist()
                ],
            )
        return self._asked

    def sockaddr(self) -> Column:
        """connect.sockaddr: the address as passed; what the kernel used, where the call was not seen."""
        codes, addresses = self.asked()
        unseen = self.flag("FLAG_NO_ADDRESS")
        if not unseen.any():
            return compact(codes, [address.text() for address in addresses])
        peer_codes, places = self.peers()
        merged = np.where(unseen, len(addresses) + peer_codes, codes).astype(np.int32)
        return compact(merged, [*(a.text() for a in addresses), *(used_text(p) for p in places)])

    def family(self) -> Column:
        """Family of the socket; of the address where there is no socket."""
        codes, addresses = self.asked()
        asked = np.array(
            [int.from_bytes(a.data[:2], "little") if a.known else -1 for a in addresses], np.int32
        )
        numbers = np.where(self.r["family"] != 0, self.r["family"].astype(np.int32), asked[codes])
        return coded(numbers, lambda n: None if n < 0 else family_name(int(n)))

    def peers(self) -> tuple[Array, list[Place]]:
        """Number of each row's destination, and the distinct ones."""
        if self._peers is None:
            r = self.r
            asked_codes, asked = self.asked()
            used = self.flag("FLAG_PEER") & (r["peer_family"] != 0)
            k = np.zeros(len(r), PEER)
            k["ip"][used] = whole(r["daddr"], 16)[used]
            k["port"], k["family"] = np.where(used, r["dport"], 0), np.where(used, r["peer_family"], 0)
            k["asked"] = np.where(used, np.where(self.ported(), KNOWN, PORTLESS), asked_codes)
            codes, first = distinct(k)
            self._peers = (
                codes,
                [
                    Place(ip_text(bytes(ip), family), None if index == PORTLESS else port)
                    if index < 0
                    else place_of(asked[index])
                    for ip, port, family, index in k[first].tolist()
                ],
            )
        return self._peers

    def destination(self, part: str) -> Column:
        """One part of the destination: ip, address or type."""
        codes, places = self.peers()
        return compact(codes, [getattr(place, part) for place in places])

    def destination_port(self) -> Column:
        """Port of the destination, where its family has one."""
        codes, places = self.peers()
        ports = np.array([-1 if p.port is None else p.port for p in places], np.int32)[codes]
        return Plain(np.maximum(ports, 0).astype(np.uint16), ports >= 0)

    def ported(self) -> Array:
        """Where the socket's protocol has ports: raw sockets keep their protocol number in that place."""
        known: Array = np.isin(self.r["protocol"], PORTED)
        return known

    def source_port(self) -> Column:
        """Local port, once the kernel chose it."""
        ports = self.r["sport"].astype(np.uint16)
        return Plain(ports, self.flag("FLAG_LOCAL") & (ports != 0) & self.ported())

    def source_ip(self) -> Column:
        """Local address, once the kernel chose it; the unspecified one means that it did not yet."""
        k = np.zeros(len(self.r), END)
        k["ip"] = whole(self.r["saddr"], 16)
        k["family"] = np.where(self.flag("FLAG_LOCAL"), self.r["peer_family"], 0)
        return coded(
            k,
            lambda key: (
                ip_text(key["ip"].tobytes(), int(key["family"])) if any(key["ip"].tobytes()) else None
            ),
        )

    def differing(self, name: str) -> tuple[Array, list[tuple[Asked, Place]]]:
        """Rows with a flag: their number among the distinct pairs of asked and used address, -1 elsewhere."""
        rows = np.flatnonzero(self.flag(name))
        codes = np.full(len(self.r), -1, np.int32)
        if not len(rows):
            return codes, []
        asked_codes, asked = self.asked()
        peer_codes, places = self.peers()
        pairs = asked_codes[rows].astype(np.int64) * len(places) + peer_codes[rows]
        codes[rows], first = distinct(pairs)
        return codes, [(asked[asked_codes[rows[i]]], places[peer_codes[rows[i]]]) for i in first]

    def swapped(self) -> Column:
        """connect.swapped: both addresses, where user memory was changed between entry and use."""
        rows = np.flatnonzero(self.flag("FLAG_SWAPPED"))
        codes = np.full(len(self.r), -1, np.int32)
        codes[rows] = np.arange(len(rows))
        asked_codes, asked = self.asked()
        peer_codes, places = self.peers()
        values = []
        for row in rows.tolist():
            copy = self._copies.get(int(self.r["id"][row]))
            entry = asked[asked_codes[row]]
            used = places[peer_codes[row]].text() if copy is None else decode_sockaddr(copy, entry.length)
            way = self._entries.get(int(self.r["entry"][row]))
            values.append({"entry": entry.text(), "used": used, "when": WHEN if way in AT_ENTRY else AROUND})
        return Coded(codes, values)

    def rewritten_from(self) -> Column:
        """connect.rewritten_from: the address asked for, where a cgroup program replaced it."""
        codes, pairs = self.differing("FLAG_REWRITTEN")
        return Coded(codes, [place_of(asked).text() for asked, _ in pairs])


def whole(column: Array, size: int) -> Array:
    """A column of byte arrays as one opaque value per row."""
    return np.ascontiguousarray(column).view(f"V{size}").ravel()


def place_of(asked: Asked) -> Place:
    """The destination that an address names."""
    if not asked.known:
        return Place()
    a = parse_sockaddr(asked.data, asked.length)
    return Place(a.ip, a.port, a.address)


def used_text(place: Place) -> str | None:
    """An address that was seen only in the kernel, in strace's notation."""
    if place.ip is None or place.port is None:
        return None
    port = place.port.to_bytes(2, "big")
    if place.type == "ipv4":
        return decode_sockaddr(b"\2\0" + port + socket.inet_aton(place.ip) + bytes(8))
    return decode_sockaddr(
        b"\x0a\0" + port + bytes(4) + socket.inet_pton(socket.AF_INET6, place.ip) + bytes(4)
    )


def ip_text(data: bytes, family: int) -> str | None:
    """An address as text; None for families without."""
    if family == socket.AF_INET:
        return socket.inet_ntop(socket.AF_INET, data[:4])
    return socket.inet_ntop(socket.AF_INET6, data) if family == socket.AF_INET6 else None
