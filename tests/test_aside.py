"""Jobs beside the stream: each asked once, waited for briefly, and none that hangs holds up anything."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from callout.enrich.aside import THREADS, Aside

LONG = 60.0  # seconds: a test that fails hangs no longer


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A file that nobody writes: who opens it to read hangs, like on a file system that does not answer."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def test_an_answer_comes_once(tmp_path: Path) -> None:
    aside = Aside(LONG, 10)
    threads = {aside.ask("a", threading.get_native_id) for _ in range(3)}
    ((ready, thread),) = threads
    assert ready
    assert thread in aside.start()
    assert aside.ask("b", lambda: os.stat(tmp_path / "none")) == (True, None)
    aside.forget("a")
    assert aside.ask("a", lambda: "two") == (True, "two")
    aside.close()


def test_what_is_not_ready_is_there_later() -> None:
    aside, go = Aside(0.001, 10), threading.Event()
    aside.begin()
    assert aside.ask("slow", lambda: go.wait(LONG)) == (False, None)
    go.set()
    while not (found := aside.ask("slow", lambda: None))[0]:
        aside.begin()
    assert found == (True, True)
    aside.close()


def test_answers_are_bounded() -> None:
    aside, go = Aside(0.0, 5), threading.Event()
    for number in range(THREADS):
        aside.ask(("held", number), lambda: go.wait(LONG))
    for number in range(1000):
        aside.ask(number, lambda: None)
    assert len(aside) == 5
    assert len(aside._waiting) <= 5, "what nobody wants any more is not done either"
    go.set()
    aside.close()


def test_a_job_that_hangs_holds_up_no_other(fifo: Path) -> None:
    aside = Aside(0.001, 100)
    aside.start()
    for number in range(THREADS - 1):
        assert aside.ask(number, fifo.read_bytes) == (False, None)
    while not (found := aside.ask("other", lambda: "answered"))[0]:
        aside.begin()
    assert found == (True, "answered")
    aside.close()
    for _ in range(THREADS - 1):  # lets the threads end: each open at the other end meets one
        os.close(os.open(fifo, os.O_RDWR | os.O_NONBLOCK))


def test_a_job_that_hangs_does_not_keep_the_program_from_ending(fifo: Path) -> None:
    program = """
import sys
from pathlib import Path
from callout.enrich.aside import THREADS, Aside
aside = Aside(0.001, 100)
print([aside.ask(number, Path(sys.argv[1]).read_bytes) for number in range(THREADS)])
aside.close()
"""
    done = subprocess.run(
        [sys.executable, "-c", program, str(fifo)], capture_output=True, text=True, timeout=LONG, check=False
    )
    assert (done.returncode, done.stdout) == (0, f"{[(False, None)] * THREADS}\n"), done.stderr
