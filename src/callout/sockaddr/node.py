"""Families whose peer is a numbered node: AF_VSOCK, AF_QIPCRTR, AF_MCTP.

Layouts: vsock(7), ``linux/qrtr.h``, ``linux/mctp.h``.
"""

from __future__ import annotations

from typing import Final

from callout.sockaddr.family import family
from callout.sockaddr.notation import Notation, plain_hex
from callout.sockaddr.quoting import quoted_hex
from callout.sockaddr.view import View

VSOCK: Final = 40
QIPCRTR: Final = 42
MCTP: Final = 45


def _notate_vsock(view: View, notation: Notation) -> str:
    reserved = view.number(2, 2)
    zero = view.octets(13, 3)
    return (
        (f"svm_reserved1={plain_hex(reserved)}, " if reserved else "")
        + f"svm_cid={notation.named('vsock_cids', view.number(8, 4))}"
        + f", svm_port={notation.named('vsock_ports', view.number(4, 4))}"
        + f", svm_flags={notation.flags('vsock_flags', view.number(12, 1), 'VMADDR_FLAG_???')}"
        + (f", svm_zero={quoted_hex(zero)}" if any(zero) else "")
    )


def _describe_vsock(view: View) -> str:
    return f"{view.number(8, 4)}:{view.number(4, 4)}"


def _notate_qipcrtr(view: View, notation: Notation) -> str:
    return (
        f"sq_node={notation.named('qipcrtr_nodes', view.number(4, 4))}"
        f", sq_port={notation.named('qipcrtr_ports', view.number(8, 4))}"
    )


def _describe_qipcrtr(view: View) -> str:
    return f"{view.number(4, 4)}:{view.number(8, 4)}"


def _notate_mctp(view: View, notation: Notation) -> str:
    before, after = view.number(2, 2), view.number(11, 1)
    return (
        (f"__smctp_pad0={plain_hex(before)}, " if before else "")
        + f"smctp_network={notation.named('mctp_nets', view.number(4, 4))}"
        + f", smctp_addr={{s_addr={notation.named('mctp_addrs', view.number(8, 1))}}}"
        + f", smctp_type={plain_hex(view.number(9, 1))}"
        + f", smctp_tag={plain_hex(view.number(10, 1))}"
        + (f", __smctp_pad1={plain_hex(after)}" if after else "")
    )


def _describe_mctp(view: View) -> str:
    return f"network {view.number(4, 4)} endpoint {view.number(8, 1)} type {view.number(9, 1)}"


FAMILIES: Final = (
    family(VSOCK, 16, _notate_vsock, _describe_vsock),
    family(QIPCRTR, 12, _notate_qipcrtr, _describe_qipcrtr),
    family(MCTP, 12, _notate_mctp, _describe_mctp),
)
