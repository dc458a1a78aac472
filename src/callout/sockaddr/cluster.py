"""Families of services among hosts: AF_TIPC and AF_RXRPC (``linux/tipc.h``, ``linux/rxrpc.h``)."""

from __future__ import annotations

from typing import Final

from callout.sockaddr import internet
from callout.sockaddr.family import Address, Family, family
from callout.sockaddr.notation import Notation, plain_hex
from callout.sockaddr.quoting import quoted
from callout.sockaddr.view import FAMILY_SIZE, View

TIPC: Final = 30
RXRPC: Final = 33

_TIPC_RANGE: Final = 1
_TIPC_SERVICE: Final = 2
_TIPC_SOCKET: Final = 3

_TRANSPORT_AT: Final = 8


def _notate_tipc(view: View, notation: Notation) -> str:
    kind = view.number(2, 1)
    return (
        f"addrtype={notation.named('af_tipc_types', kind, 'TIPC_???')}"
        f", scope={_notate_scope(view.signed(3, 1), notation)}, addr={_notate_tipc_place(kind, view)}"
    )


def _notate_scope(scope: int, notation: Notation) -> str:
    """Return a scope; the sign, which asks the kernel to withdraw a name (``tipc_bind``), stands before it.

    strace negates within eight bits and prints 32: -128 stays what it is and fills all of them.
    """
    magnitude = abs(scope) if scope != -128 else scope & 0xFFFF_FFFF
    return ("-" if scope < 0 else "") + notation.named("af_tipc_scope", magnitude, "TIPC_???_SCOPE")


def _notate_tipc_place(kind: int, view: View) -> str:
    first, second, third = (view.number(offset, 4) for offset in (4, 8, 12))
    if kind == _TIPC_RANGE:
        return f"{{nameseq={{type={first}, lower={second}, upper={third}}}}}"
    if kind == _TIPC_SERVICE:
        return f"{{name={{name={{type={first}, instance={second}}}, domain={plain_hex(third)}}}}}"
    if kind == _TIPC_SOCKET:
        return f"{{id={{ref={first}, node={plain_hex(second)}}}}}"
    return quoted(view.octets(4, 12))


def _describe_tipc(view: View) -> str | None:
    first, second, third = (view.number(offset, 4) for offset in (4, 8, 12))
    texts = {
        _TIPC_RANGE: f"services {first}:{second}-{third}",
        _TIPC_SERVICE: f"service {first}:{second}",
        _TIPC_SOCKET: f"socket {first} node {second:#x}",
    }
    return texts.get(view.number(2, 1))


def _notate_rxrpc(view: View, notation: Notation) -> str:
    return (
        f"srx_service={notation.numbered('rxrpc_services', view.number(2, 2), '???_SERVICE')}"
        f", transport_type={notation.named('socktypes', view.number(4, 2), 'SOCK_???')}"
        f", transport_len={view.number(6, 2)}, transport={{{_notate_transport(view, notation)}}}"
    )


def _transport(view: View) -> View:
    """Return the nested address: its declared length, but no more than the outer address holds."""
    return view.inner(_TRANSPORT_AT, min(view.number(6, 2), view.length - _TRANSPORT_AT))


def _notate_transport(view: View, notation: Notation) -> str:
    inner = _transport(view)
    family_text = f"family={notation.named('addrfams', inner.family, 'AF_???')}"
    rest = f", {quoted(inner.payload)}" if inner.length > FAMILY_SIZE else ""
    if inner.family == internet.INET:
        if inner.length >= internet.INET_MINIMUM:
            rest = f", {internet.notate_inet(inner, notation)}"
        return f"sin={{sin_{family_text}{rest}}}"
    if inner.family == internet.INET6:
        if inner.length >= internet.INET6_MINIMUM:
            rest = f", {internet.notate_inet6(inner, notation)}"
        return f"sin6={{sin6_{family_text}{rest}}}"
    return family_text + rest


def _locate_rxrpc(view: View) -> Address:
    """Return the transport's IP address and port: that is where the packets go."""
    inner = _transport(view)
    service = f"service {view.number(2, 2)}"
    if inner.family == internet.INET and inner.length >= internet.INET_MINIMUM:
        return internet.locate_inet(inner)._replace(family=RXRPC, address=service)
    if inner.family == internet.INET6 and inner.length >= internet.INET6_MINIMUM:
        return internet.locate_inet6(inner)._replace(family=RXRPC, address=service)
    return Address(RXRPC, address=service)


FAMILIES: Final = (
    family(TIPC, 16, _notate_tipc, _describe_tipc),
    Family(RXRPC, 36, _notate_rxrpc, _locate_rxrpc),
)
