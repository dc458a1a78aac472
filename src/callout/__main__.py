"""``python -m callout``."""

import sys

from callout.cli import main

sys.exit(main())
