"""Capabilities to what is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from callout.capture import privileges
from callout.errors import NotPermittedError

NET_ADMIN, SYS_ADMIN, PERFMON, BPF = 1 << 12, 1 << 21, 1 << 38, 1 << 39  # capabilities(7)


@pytest.mark.parametrize(
    ("mask", "lacking"),
    [
        (0, ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"]),
        (NET_ADMIN, ["CAP_BPF", "CAP_PERFMON"]),
        (BPF | PERFMON, ["CAP_NET_ADMIN"]),
        (SYS_ADMIN, ["CAP_NET_ADMIN"]),  # it includes the other two, which were once part of it
        (SYS_ADMIN | NET_ADMIN, []),
        (BPF | PERFMON | NET_ADMIN, []),
        ((1 << 41) - 1, []),
    ],
)
def test_missing(mask: int, lacking: list[str]) -> None:
    assert privileges.missing(mask) == lacking


def test_effective_is_a_capability_set_of_this_kernel() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    assert 0 <= privileges.effective() < 1 << last + 1


def test_a_kernel_without_btf(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(privileges, "effective", lambda: BPF | PERFMON | NET_ADMIN)
    monkeypatch.setattr(privileges, "BTF", tmp_path / "vmlinux")
    with pytest.raises(NotPermittedError, match="has no BTF") as caught:
        privileges.check()
    assert "CONFIG_DEBUG_INFO_BTF" in caught.value.remedy
    (tmp_path / "vmlinux").touch()
    privileges.check()
