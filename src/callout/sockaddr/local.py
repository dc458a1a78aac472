"""Families that end inside this host: AF_UNIX, AF_NETLINK, AF_ALG, AF_XDP.

Layouts: unix(7), netlink(7), ``linux/if_alg.h``, ``linux/if_xdp.h``.
"""

from __future__ import annotations

from typing import Final

from callout.sockaddr.family import family
from callout.sockaddr.notation import Notation, padded_hex, plain_hex
from callout.sockaddr.quoting import quoted, quoted_terminated, quoted_to_nul
from callout.sockaddr.view import View

UNIX: Final = 1
NETLINK: Final = 16
ALG: Final = 38
XDP: Final = 44

_SUN_PATH_SIZE: Final = 108
_XDP_SHARED_UMEM: Final = 1


def _sun_path(view: View) -> bytes:
    return view.payload[:_SUN_PATH_SIZE]


def _notate_unix(view: View, notation: Notation) -> str:
    path = _sun_path(view)
    if path[0]:
        return f"sun_path={quoted_to_nul(path)}"
    # Abstract: the length ends the name, so every NUL up to there is part of it.
    return f"sun_path=@{quoted(path[1:])}"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _describe_unix(view: View) -> str:
    path = _sun_path(view)
    if not path[0]:
        return "@" + _text(path[1:])
    text = _text(path.partition(b"\0")[0])
    return f"./{text}" if text.startswith("@") else text  # the same file, and no abstract name


def _notate_netlink(view: View, notation: Notation) -> str:
    pad = view.number(2, 2)
    prefix = f"nl_pad={plain_hex(pad)}, " if pad else ""
    return f"{prefix}nl_pid={view.signed(4, 4)}, nl_groups={padded_hex(view.number(8, 4), 4)}"


def _describe_netlink(view: View) -> str:
    groups = view.number(8, 4)
    return f"pid {view.number(4, 4)}" + (f" groups {groups:#x}" if groups else "")


def _notate_alg(view: View, notation: Notation) -> str:
    unknown = "CRYPTO_ALG_???"
    return (
        f"salg_type={quoted_terminated(view.octets(2, 14))}"
        f", salg_feat={notation.numbered_flags('alg_sockaddr_flags', view.number(16, 4), unknown)}"
        f", salg_mask={notation.numbered_flags('alg_sockaddr_flags', view.number(20, 4), unknown)}"
        f", salg_name={quoted_terminated(view.to_end(24))}"
    )


def _describe_alg(view: View) -> str:
    kind, name = (_text(field.partition(b"\0")[0]) for field in (view.octets(2, 14), view.to_end(24)))
    return f"{kind} {name}"


def _notate_xdp(view: View, notation: Notation) -> str:
    flags = view.number(2, 2)
    text = (
        f"sxdp_flags={notation.flags('xdp_sockaddr_flags', flags, 'XDP_???')}"
        f", sxdp_ifindex={notation.interface(view.number(4, 4))}"
        f", sxdp_queue_id={view.number(8, 4)}"
    )
    if flags & _XDP_SHARED_UMEM:  # only then is the field a descriptor
        return f"{text}, sxdp_shared_umem_fd={view.signed(12, 4)}"
    descriptor = view.number(12, 4)
    return f"{text}, sxdp_shared_umem_fd={descriptor:#x}" if descriptor else text


def _describe_xdp(view: View) -> str:
    return f"interface {view.number(4, 4)} queue {view.number(8, 4)}"


FAMILIES: Final = (
    family(UNIX, 3, _notate_unix, _describe_unix),
    family(NETLINK, 12, _notate_netlink, _describe_netlink),
    family(ALG, 25, _notate_alg, _describe_alg),
    family(XDP, 16, _notate_xdp, _describe_xdp),
)
