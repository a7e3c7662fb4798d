"""Puts ``.cs3`` in front of what a mount shows.

Called by ``app``, once, before anybody asks the view for its ports.
"""

from __future__ import annotations

import time

from cs3fuse.history.data import HistoryData, HistoryLocks
from cs3fuse.history.tree import HistoryTree
from cs3fuse.mesh.view import View


def with_history(view: View) -> HistoryTree:
    """Have the view's ports know ``.cs3``. Returns: what shows it, for the book of capabilities."""
    tree = HistoryTree(view.tree, view.history, view.top, view.with_trash, started_ns=time.time_ns())
    view.put_in_front(tree, HistoryData(view.data, view.history, tree), HistoryLocks(view.locks))
    return tree
