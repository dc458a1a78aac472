"""AF_BLUETOOTH (``net/bluetooth/*.h``): the protocols share the family, so only the length tells them apart.

L2CAP's numbers and the device have the low byte first.  strace writes hardware addresses in memory order;
people write them the other way round, with the manufacturer first, and so does the text for people here.
"""

from __future__ import annotations

from typing import Final

from callout.sockaddr.constants import names
from callout.sockaddr.family import family, raw_data
from callout.sockaddr.notation import Notation, colons, plain_hex
from callout.sockaddr.view import View

BLUETOOTH: Final = 31

_HCI_SHORT: Final = 4  # without a channel, as before Linux 2.6.38
_HCI: Final = 6
_SCO: Final = 8
_RFCOMM: Final = 10
_L2CAP_SHORT: Final = 12  # without an address type
_L2CAP: Final = 14

# First and last number of the ranges that are named by their start and a distance, per table.
_RANGES: Final = {
    "bluetooth_l2_psm": ((0x80, 0xFF), (0x1001, 0xFFFF)),
    "bluetooth_l2_cid": ((0x40, 0xFFFF),),
}


def _notate_dynamic(table: str, value: int, unknown: str, notation: Notation) -> str:
    """Return an L2CAP number by name, or as the distance from the start of its dynamic range."""
    known = names(table)
    meaning = known.get(value)
    for first, last in _RANGES[table]:
        if meaning is None and first <= value <= last:
            # strace gives the start of the range in the chosen style too, even inside a comment.
            meaning = f"{notation.alternatives(plain_hex(first), known[first])}+{value - first}"
    if meaning is None:
        inner = plain_hex(value) if notation.style == "raw" else f"{plain_hex(value)} /* {unknown} */"
    else:
        inner = notation.alternatives(plain_hex(value), meaning)
    return f"htobs({inner})"


def _notate(view: View, notation: Notation) -> str:
    length = view.length
    if length in (_HCI_SHORT, _HCI):
        text = f"hci_dev=htobs({view.little(2, 2)})"
        channel = notation.named("hci_channels", view.number(4, 2), "HCI_CHANNEL_???")
        return text if length == _HCI_SHORT else f"{text}, hci_channel={channel}"
    if length == _SCO:
        return f"sco_bdaddr={notation.mac(view.octets(2, 6))}"
    if length == _RFCOMM:
        return f"rc_bdaddr={notation.mac(view.octets(2, 6))}, rc_channel={view.number(8, 1)}"
    if length in (_L2CAP_SHORT, _L2CAP):
        text = (
            f"l2_psm={_notate_dynamic('bluetooth_l2_psm', view.little(2, 2), 'L2CAP_PSM_???', notation)}"
            f", l2_bdaddr={notation.mac(view.octets(4, 6))}"
            f", l2_cid={_notate_dynamic('bluetooth_l2_cid', view.little(10, 2), 'L2CAP_CID_???', notation)}"
        )
        kind = notation.named("bdaddr_types", view.number(12, 1), "BDADDR_???")
        return text if length == _L2CAP_SHORT else f"{text}, l2_bdaddr_type={kind}"
    return raw_data(view.payload)


def _describe(view: View) -> str | None:
    length = view.length
    if length in (_HCI_SHORT, _HCI):
        return f"hci{view.little(2, 2)}"
    if length in (_SCO, _RFCOMM):
        device = colons(view.octets(2, 6)[::-1])
        return device if length == _SCO else f"{device} channel {view.number(8, 1)}"
    if length in (_L2CAP_SHORT, _L2CAP):
        return f"{colons(view.octets(4, 6)[::-1])} psm {view.little(2, 2)}"
    return None


FAMILIES: Final = (family(BLUETOOTH, 3, _notate, _describe),)
