"""callout: every call out of a Linux host, called out.

    import callout

    with callout.trace("destination.port = 443", seconds=10) as attempts:
        for batch in attempts:
            print(batch.to_arrow())

Names are imported when first used, so that `import callout` and `callout --help` stay quick.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"
__all__ = [
    "Batch",
    "CalloutError",
    "InputError",
    "NotPermittedError",
    "UsageError",
    "__version__",
    "bytes_to_text",
    "decode_sockaddr",
    "text_to_bytes",
    "trace",
]

if TYPE_CHECKING:
    from callout.batch import Batch
    from callout.errors import CalloutError, InputError, NotPermittedError, UsageError
    from callout.library import trace
    from callout.octets import bytes_to_text, text_to_bytes
    from callout.sockaddr import decode_sockaddr

_HOME = {
    "Batch": "batch",
    "CalloutError": "errors",
    "InputError": "errors",
    "NotPermittedError": "errors",
    "UsageError": "errors",
    "bytes_to_text": "octets",
    "decode_sockaddr": "sockaddr",
    "text_to_bytes": "octets",
    "trace": "library",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module 'callout' has no attribute {name!r}")
    return getattr(import_module(f"callout.{_HOME[name]}"), name)
