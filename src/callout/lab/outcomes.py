"""The outcomes that many scenarios expect, by name.

Rule of this file: values only. An error comes from the call (``failed``) or after it (``later``).
"""

from __future__ import annotations

import errno

from callout.lab.scenario import Expected

IN_PROGRESS = -errno.EINPROGRESS
# This tier has no hook at those who refuse
BLIND = {"tracepoint": "unknown"}

ESTABLISHED = Expected("established", None, None, 0)
ASSOCIATED = Expected("associated", None, None, 0)
DISSOLVED = Expected("dissolved", None, None, 0)
ESTABLISHED_LATER = Expected("established", None, None, IN_PROGRESS)
CLOSED_PENDING = Expected("aborted", None, "closed_by_application", IN_PROGRESS)


def failed(
    verdict: str,
    error: str,
    cause: str | None,
    without: dict[str, str] | None = None,
    seen_by: tuple[str, ...] | None = None,
) -> Expected:
    """The call itself returns the error. ``without``, ``seen_by``: see Expected."""
    return Expected(verdict, error, cause, -getattr(errno, error), without or {}, seen_by)


def later(verdict: str, error: str, cause: str | None, without: dict[str, str] | None = None) -> Expected:
    """The call returns EINPROGRESS, and the error comes by SO_ERROR."""
    return Expected(verdict, error, cause, IN_PROGRESS, without or {})


def invalid(error: str, cause: str) -> Expected:
    """The caller's mistake."""
    return failed("invalid", error, cause)


REFUSED = failed("refused", "ECONNREFUSED", "no_listener")
REFUSED_LATER = later("refused", "ECONNREFUSED", "no_listener")
UNANSWERED = failed("timed_out", "ETIMEDOUT", "syn_unanswered")
NO_ROUTE = failed("unreachable", "ENETUNREACH", "no_route")
BAD_LENGTH = invalid("EINVAL", "bad_length")
CONNECTED_ALREADY = invalid("EISCONN", "already_connected")
UNDER_WAY_ALREADY = failed("pending", "EALREADY", "already_in_progress")
