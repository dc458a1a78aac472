"""Why an attempt failed, as a story: who tried what, what happened step by step, the cause, how sure, what next.

Rule of this package: pure. Rows and what was looked up on the host go in, words come out; the words stand in
``reference/why*.csv``.
"""

from __future__ import annotations

from callout.story.group import Group, Groups
from callout.story.model import Advice, Look, Packet, Step, Story
from callout.story.steps import packet_text
from callout.story.tell import tell

__all__ = ["Advice", "Group", "Groups", "Look", "Packet", "Step", "Story", "packet_text", "tell"]
