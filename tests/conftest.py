"""What decides whether a test can run here: a marker, and a reason that the report shows when it cannot.

``--must-run`` is for machines that are known to have everything: there a missing thing is a failure, so that
a broken loader cannot hide behind skips.
"""

from __future__ import annotations

import signal
from functools import cache
from importlib.resources import files

import pytest
from hypothesis import settings

from callout.errors import NotPermittedError

# Run by nohup or in the background of a script these are ignored, which children inherit: tests end tracers by them.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# examples count, not the time that they take on a busy machine
settings.register_profile("callout", deadline=None)
settings.load_profile("callout")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--must-run", action="store_true", help="fail instead of skipping where something is missing"
    )


@cache
def no_object() -> str | None:
    """Why there is no compiled BPF object; None if there is one."""
    if files("callout").joinpath("observe.bpf.o").is_file():
        return None
    return "callout/observe.bpf.o is not built (make build)"


@cache
def no_capture() -> str | None:
    """Why nothing can be captured here; None if programs attach. Other errors than a refusal are bugs."""
    reason = no_object()
    if reason is None:
        from callout.capture.kernel import KernelSource

        try:
            with KernelSource():
                pass
        except NotPermittedError as error:
            reason = error.message
    return reason


NEEDS = {"kernel": no_capture, "object": no_object}


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, lacking in NEEDS.items():
        if item.get_closest_marker(marker) and (reason := lacking()):
            if item.config.getoption("--must-run"):
                pytest.fail(f"{marker}: {reason}", pytrace=False)
            pytest.skip(f"{item.name} ({marker}): {reason}")  # by name: the report does not fold them
