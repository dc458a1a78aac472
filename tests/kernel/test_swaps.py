"""Sockaddr swaps (TOCTOU): a hostile thread changes the address while the kernel copies it.

The truth is the socket's own peer (getpeername); what a row says was read at entry is its sockaddr. They differ
exactly where connect.swapped says so.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from callout.capture.kernel import KernelSource
from callout.narrowing import Narrowing

from .watch import PATIENCE, Watch

pytestmark = pytest.mark.kernel
RACES = int(os.environ.get("CALLOUT_RACES", "100000"))
ROUND = 5000  # as many as the ring holds for certain: the racer goes on when their rows have come

RACER = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct sockaddr_in shared;
static volatile int over;

static void *swap(void *unused)
{
	while (!over) { /* two whole addresses: one byte tells them apart, so a copy is never a mixture */
		((volatile unsigned char *)&shared.sin_addr)[3] = 1;
		((volatile unsigned char *)&shared.sin_addr)[3] = 2;
	}
	return unused;
}

int main(int argc, char **argv)
{
	int races = atoi(argv[1]), round = atoi(argv[2]), s = socket(AF_INET, SOCK_DGRAM, 0);
	pthread_t thread;
	unsigned char *used = malloc(races);

	shared.sin_family = AF_INET;
	shared.sin_port = htons(9);
	shared.sin_addr.s_addr = htonl(0x7f000001);
	if (s < 0)
		return 1;
	pthread_create(&thread, NULL, swap, NULL);
	for (int i = 0; i < races; i++) {
		struct sockaddr_in peer;
		socklen_t size = sizeof(peer);

		if (i % round == 0 && getchar() == EOF)
			return 1;
		if (connect(s, (struct sockaddr *)&shared, sizeof(shared)) || getpeername(s, (struct sockaddr *)&peer, &size))
			return 2;
		used[i] = ntohl(peer.sin_addr.s_addr) & 0xff;
	}
	over = 1;
	pthread_join(thread, NULL);
	return fwrite(used, 1, races, stdout) != (size_t)races;
}
"""


@pytest.fixture(scope="module")
def racer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("gcc is not installed")
    place = tmp_path_factory.mktemp("racer")
    source, program = place / "racer.c", place / "racer"
    source.write_text(RACER)
    subprocess.run(["gcc", "-O1", "-pthread", "-o", str(program), str(source)], check=True)
    return program


def swaps_of(racer: Path) -> int:
    """One run: every row is checked against the truth; returns how many addresses were swapped."""
    with (
        subprocess.Popen(
            [racer, str(RACES), str(ROUND)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as process,
        KernelSource(Narrowing(pids=frozenset({process.pid})), urgent=True) as source,
    ):
        assert process.stdin
        assert process.stdout
        watch = Watch(source)
        for done in range(0, RACES, ROUND):
            process.stdin.write(b"\n")
            process.stdin.flush()
            rows = watch.rows(min(done + ROUND, RACES))
        truth = process.stdout.read()
        assert process.wait(PATIENCE) == 0
    assert len(rows) == len(truth) == RACES
    swaps = 0
    for row, used in zip(rows, truth, strict=True):
        assert row["destination.ip"] == f"127.0.0.{used}"
        differs = f'"127.0.0.{used}"' not in row["connect.sockaddr"]
        assert ("connect.swapped" in row) == differs, row
        assert "connect.rewritten_from" not in row
        if differs:
            swaps += 1
            assert row["connect.swapped"]["entry"] == row["connect.sockaddr"]
            assert f"127.0.0.{used}" in row["connect.swapped"]["used"]
    return swaps


def test_every_swap_is_flagged_and_none_falsely(racer: Path) -> None:
    if os.cpu_count() == 1:
        pytest.skip("a race needs two processors")
    # on a busy machine the two threads may hardly ever run at the same time: then another run
    assert any(swaps_of(racer) for _ in range(20)), "no race was ever lost: the test shows nothing"
