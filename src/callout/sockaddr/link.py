"""Families of one link: AF_PACKET, AF_IEEE802154, AF_NFC.

Layouts: packet(7), ``net/af_ieee802154.h``, ``linux/nfc.h``.
"""

from __future__ import annotations

from typing import Final

from callout.sockaddr.family import family
from callout.sockaddr.notation import Notation, colons, padded_hex, plain_hex
from callout.sockaddr.quoting import quoted
from callout.sockaddr.view import View

PACKET: Final = 17
IEEE802154: Final = 36
NFC: Final = 39

_IEEE802154_NONE: Final = 0
_IEEE802154_SHORT: Final = 2
_NFC_MINIMUM: Final = 16
_NFC_NAME_SIZE: Final = 63


def _notate_packet(view: View, notation: Notation) -> str:
    # The name has no number beside it in any style, because the bytes are there already.
    names_only = Notation("abbrev", notation.ifname)
    protocol = names_only.named("ethernet_protocols", view.network(2, 2), "ETH_P_???")
    size = view.number(11, 1)
    text = (
        f"sll_protocol={notation.wire(view.octets(2, 2), f'htons({protocol})')}"
        f", sll_ifindex={notation.interface(view.number(4, 4))}"
        f", sll_hatype={notation.named('arp_hardware_types', view.number(8, 2), 'ARPHRD_???')}"
        f", sll_pkttype={notation.named('af_packet_types', view.number(10, 1), 'PACKET_???')}"
        f", sll_halen={size}"
    )
    if not size:
        return text
    # The address may say that it is longer than it is, and may be longer than sll_addr's eight bytes.
    present = view.to_end(12)
    parts = [padded_hex(byte, 1) for byte in present[:size]] + ["..."] * (size > len(present))
    return f"{text}, sll_addr=[{', '.join(parts)}]"


def _describe_packet(view: View) -> str:
    hardware = colons(view.to_end(12)[: view.number(11, 1)])
    return f"interface {view.number(4, 4)} protocol {view.network(2, 2):#x} {hardware}".rstrip()


def _notate_ieee802154(view: View, notation: Notation) -> str:
    kind = view.number(4, 4)
    fields = [
        f"addr_type={notation.numbered('ieee802154_addr_types', kind, 'IEEE802154_ADDR_???')}",
        f"pan_id={notation.numbered('ieee802154_pan_ids', view.number(8, 2))}",
    ]
    if kind == _IEEE802154_SHORT:
        fields.append(f"short_addr={notation.numbered('ieee802154_addrs', view.number(10, 2))}")
    elif kind != _IEEE802154_NONE:
        fields.append(f"hwaddr={notation.mac(view.octets(10, 8))}")
    return f"addr={{{', '.join(fields)}}}"


def _describe_ieee802154(view: View) -> str:
    kind = view.number(4, 4)
    pan = f"pan {view.number(8, 2):#06x}"
    if kind == _IEEE802154_NONE:
        return pan
    device = f"{view.number(10, 2):#06x}" if kind == _IEEE802154_SHORT else colons(view.octets(10, 8))
    return f"{pan} {device}"


def _notate_nfc(view: View, notation: Notation) -> str:
    text = (
        f"dev_idx={notation.interface(view.number(4, 4))}"
        f", target_idx={plain_hex(view.number(8, 4))}"
        f", nfc_protocol={notation.named('nfc_sockaddr_protocols', view.number(12, 4), 'NFC_PROTO_???')}"
    )
    # sockaddr_nfc_llcp ends in a size_t, so a 32-bit process has a shorter one.
    size_at = 88 if view.wordsize == 8 else 84
    if view.length < size_at + view.wordsize:
        return f"{text}, ..." if view.length > _NFC_MINIMUM else text
    size = view.number(size_at, view.wordsize)
    return (
        f"{text}, dsap={notation.numbered('nfc_saps', view.number(16, 1))}"
        f", ssap={notation.numbered('nfc_saps', view.number(17, 1))}"
        f", service_name={quoted(view.octets(18, min(size, _NFC_NAME_SIZE)))}"
        f", service_name_len={size}"
    )


def _describe_nfc(view: View) -> str:
    return f"device {view.number(4, 4)} target {view.number(8, 4)}"


FAMILIES: Final = (
    family(PACKET, 20, _notate_packet, _describe_packet),
    family(IEEE802154, 20, _notate_ieee802154, _describe_ieee802154),
    family(NFC, _NFC_MINIMUM, _notate_nfc, _describe_nfc),
)
