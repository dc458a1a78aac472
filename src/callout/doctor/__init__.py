"""What this host lets callout see and do.

``host`` and ``programs`` gather :class:`facts.Facts`, ``report`` judges them, ``screen`` shows the judgement.
Rule of this package: gathering changes nothing that lasts and never fails; judging is pure.
"""
