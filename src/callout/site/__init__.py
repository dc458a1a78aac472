"""The reference as a web site that needs no server: ``callout explain --html DIR``.

Rule of this package: ``write`` makes the files, ``html`` turns a page's parts into HTML, the templates say what stands
where; style and search are three files under ``static/``. A page asks nothing of any other host.
"""

from __future__ import annotations

from callout.site.files import write

__all__ = ["write"]
