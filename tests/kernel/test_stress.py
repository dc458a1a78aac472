"""Fifty processes, of several threads each, making mixed attempts at once: each that they log has exactly one row, with
its verdict.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from callout.capture.files import open_file
from callout.capture.kernel import KernelSource
from callout.capture.loading import returns
from callout.capture.tiers import RETURNS
from callout.lab.ways import NotHere, ring
from callout.narrowing import Narrowing

from .watch import PATIENCE, finish, traced

pytestmark = pytest.mark.kernel
SECONDS = float(os.environ.get("CALLOUT_STRESS_SECONDS", "30"))
PROCESSES = 50
COMM = "callout-stress"
BOTH = sum(RETURNS)  # sends of datagrams and of Fast Open have their results here
THREADS = 2  # of each process, which share its listeners
COLUMNS = (
    "process.pid",
    "process.thread.id",
    "@timestamp",
    "connect.entry",
    "connect.return",
    "connect.verdict",
    "connect.errno",
)

ACTOR = r"""
import ctypes, errno, json, os, random, select, socket, struct, sys, threading, time
from callout.lab.ways import ring
log, seconds, seed = open(sys.argv[1], "w"), float(sys.argv[2]), int(sys.argv[3])
libc = ctypes.CDLL(None, use_errno=True)
libc.prctl(15, b"callout-stress", 0, 0, 0)
server = socket.create_server(("127.0.0.1", 0), backlog=64)
listening = server.getsockname()
path = sys.argv[1] + ".socket"
local = socket.socket(socket.AF_UNIX); local.bind(path); local.listen(64)
closed = socket.socket(); closed.bind(("127.0.0.1", 0)); refusing = closed.getsockname()
silent = socket.create_server(("127.0.0.1", 0))
drop = ctypes.create_string_buffer(struct.pack("HBBI", 6, 0, 0, 0))  # a classic filter that drops every packet
silent.setsockopt(socket.SOL_SOCKET, 26, struct.pack("HxxxxxxQ", 1, ctypes.addressof(drop)))
unanswered = silent.getsockname()

lines = []
def said(what, result, verdict, error, entry="connect"):
    lines.append(json.dumps([what, threading.get_native_id(), entry, result, verdict, error]))

def result(s, address):
    return -s.connect_ex(address)

def tcp():
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        said("tcp", result(s, listening), "established", None)
        server.accept()[0].close()
def refused():
    with socket.socket() as s:
        said("refused", result(s, refusing), "refused", "ECONNREFUSED")
def nonblocking():
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        s.setblocking(False)
        r = result(s, listening)
        select.select([], [s], [])
        said("nonblocking", r, "established", None)
        server.accept()[0].close()
def nonblocking_refused():
    with socket.socket() as s:
        s.setblocking(False)
        r = result(s, refusing)
        select.select([], [s], [])
        assert s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNREFUSED
        said("nonblocking_refused", r, "refused", "ECONNREFUSED")
def abandoned():
    s = socket.socket(); s.setblocking(False)
    r = result(s, unanswered)
    s.close()
    said("abandoned", r, "aborted", None)
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        said("udp", result(s, ("127.0.0.1", 9)), "associated", None)
def unix():
    with socket.socket(socket.AF_UNIX) as s:
        said("unix", result(s, path), "established", None)
        local.accept()[0].close()
def sent():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        r = s.sendto(b"x", ("127.0.0.1", 9))
        said("sent", min(r, 0), "associated", None, "sendto")
def sent_to_nobody():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
        try:
            s.sendto(b"x", path + "-not")
        except FileNotFoundError:
            said("sent_to_nobody", -errno.ENOENT, "unreachable", "ENOENT", "sendto")
def opened():
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        r = s.sendto(b"x", 0x20000000, listening)
        said("opened", min(r, 0), "established", None, "sendto_fastopen")
        server.accept()[0].close()
def opened_refused():
    with socket.socket() as s:
        try:
            s.sendto(b"x", 0x20000000, refusing)
        except ConnectionRefusedError:
            said("opened_refused", -errno.ECONNREFUSED, "refused", "ECONNREFUSED", "sendto_fastopen")
def missing():
    with socket.socket(socket.AF_UNIX) as s:
        said("missing", result(s, path + "-not"), "unreachable", "ENOENT")
def bad_descriptor():
    address = struct.pack("H", 2) + bytes(14)
    r = libc.connect(-1, address, 16)
    said("bad_descriptor", -ctypes.get_errno() if r else 0, "invalid", "EBADF")

def by_ring(s, address, *more):
    submitter, pinned = ring.Ring(), ring.Pinned(address)
    flags = ring.IO_LINK if more else 0
    try:
        return submitter.run([ring.connect_entry(s.fileno(), pinned, len(address), flags), *more])[0]
    finally:
        os.close(submitter._fd)
def packed(address):
    return struct.pack("=H", 2) + struct.pack("!H4s8x", address[1], socket.inet_aton(address[0]))
def ring_tcp():
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        said("ring_tcp", by_ring(s, packed(listening)), "established", None, "io_uring")
        server.accept()[0].close()
def ring_refused():
    with socket.socket() as s:
        said("ring_refused", by_ring(s, packed(refusing)), "refused", "ECONNREFUSED", "io_uring")
def ring_udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        said("ring_udp", by_ring(s, packed(("127.0.0.1", 9))), "associated", None, "io_uring")
def ring_missing():
    with socket.socket(socket.AF_UNIX) as s:
        name = struct.pack("H", 1) + (path + "-not").encode() + b"\0"
        said("ring_missing", by_ring(s, name), "unreachable", "ENOENT", "io_uring")
def ring_cancelled():
    soon = ring.Pinned(struct.pack("=qq", 0, 20_000_000))
    with socket.socket() as s:
        r = by_ring(s, packed(unanswered), ring.entry(ring.LINK_TIMEOUT, -1, soon.at, length=1))
        said("ring_cancelled", r, "aborted", "ECANCELED", "io_uring")

ways = [tcp, refused, nonblocking, nonblocking_refused, abandoned, udp, unix, missing, bad_descriptor]
if sys.argv[4] == "sends":
    ways += [sent, sent_to_nobody, opened, opened_refused]
if sys.argv[5] == "ring":
    ways += [ring_tcp, ring_refused, ring_udp, ring_missing, ring_cancelled]
broken = []
def act(chance, end):
    libc.prctl(15, b"callout-stress", 0, 0, 0)
    try:
        while time.monotonic() < end:
            chance.choice(ways)()
    except BaseException:
        broken.append(True)
        raise
sys.stdin.readline()
end = time.monotonic() + seconds
threads = [threading.Thread(target=act, args=(random.Random(f"{seed} {i}"), end)) for i in range(int(sys.argv[6]))]
for thread in threads: thread.start()
for thread in threads: thread.join()
log.write("\n".join(lines))
log.close()
sys.exit(len(broken))
"""


def test_each_attempt_has_one_row(tmp_path: Path) -> None:
    with KernelSource(Narrowing(pids=frozenset()), also=("sends",)) as source:
        sends = "sends" if returns([s.program for s in source.states if s.error is None]) == BOTH else "none"
    try:
        ring.Ring()
        rings = "ring"
    except NotHere:
        rings = "none"
    logs = [tmp_path / str(i) for i in range(PROCESSES)]
    actors = [
        subprocess.Popen(
            ["unshare", "-n", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", sys.executable, "-c", ACTOR,
             str(log), str(SECONDS), str(i), sends, rings, str(THREADS)],
            stdin=subprocess.PIPE,
        )
        for i, log in enumerate(logs)
    ]  # fmt: skip
    file, summary = tmp_path / "rows.arrow", tmp_path / "summary"
    try:
        with traced(
            tmp_path, "-w", str(file), "--sends", "--no-names", "--comm", COMM, "--summary", str(summary)
        ) as tracer:
            for actor in actors:
                assert actor.stdin
                actor.stdin.write(b"\n")
                actor.stdin.close()
            for actor in actors:
                assert actor.wait(SECONDS + PATIENCE * 3) == 0
            finish(tracer)
    finally:
        for actor in actors:
            actor.kill()
            actor.wait()
    totals = json.loads(summary.read_text())
    assert (totals["lost"], totals["extra"]) == (0, {})
    seen: dict[tuple[int, int], list[tuple[Any, ...]]] = defaultdict(list)
    with open_file(str(file)) as source:
        for batch in source.batches():
            nothing = [None] * len(batch)
            columns = [batch.column(name).tolist() if name in batch else nothing for name in COLUMNS]
            for pid, thread, *rest in zip(*columns, strict=True):
                seen[pid, thread].append(tuple(rest))
    assert totals["attempts"] == totals["rows"] == sum(map(len, seen.values()))
    for actor, log in zip(actors, logs, strict=True):
        made: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
        for line in log.read_text().splitlines():
            _, thread, *told = json.loads(line)
            made[thread].append(tuple(told))
        for thread, attempts in made.items():
            assert [row[1:] for row in sorted(seen.pop((actor.pid, thread)))] == attempts
    assert not seen
    assert totals["rows"] > PROCESSES
