"""What this host can tell about an attempt afterwards: routes, listeners, rules, neighbours, settings, policies.

Rule of this package: it reads and sends nothing to the network. Each look is one file; all of them run inside the
network namespace of the socket in question. What cannot be read is told, never guessed.
"""

from __future__ import annotations

from callout.host.look import diagnose, looks, patience_of, prefix_of
from callout.host.settings import Settings, read_settings

__all__ = ["Settings", "diagnose", "looks", "patience_of", "prefix_of", "read_settings"]
