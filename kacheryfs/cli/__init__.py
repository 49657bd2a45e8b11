"""The command line: asks, and tells people what came of it.

Results go to stdout and nothing else does; words for people, warnings and progress go to stderr. ``--json`` stands
wherever something is reported. Each module holds the commands of one noun and is imported only when one of them runs,
so that ``kacheryfs --help`` is immediate; objects are built by ``app.py``. Errors become one line and an exit code in
``entry.py``, the only place that catches everything.
"""

from .entry import main

__all__ = ["main"]
