"""Seccomp profiles of container runtimes: what one does to connect(2) and its relatives, architecture by architecture.

Rule of this package: pure; text in, values out. ``located`` reads JSON with its places, ``profile`` what a file says,
``decide`` what the filter made of it does, ``findings`` what follows for connections. What runtimes make of a profile:
github.com/moby/profiles (seccomp/seccomp_linux.go), github.com/containers/common (pkg/seccomp),
github.com/opencontainers/runc (libcontainer/seccomp), github.com/seccomp/libseccomp (src/db.c, src/syscalls.c).
"""

from __future__ import annotations

from callout.seccomp.decide import Decision, Host, decisions, hosts
from callout.seccomp.findings import Finding, findings
from callout.seccomp.profile import Profile, read

__all__ = ["Decision", "Finding", "Host", "Profile", "decisions", "findings", "hosts", "read"]
