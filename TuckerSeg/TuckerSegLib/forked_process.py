"""Whether this process may compute: not one that was forked after its parent had computed.

A fork copies the memory of torch and OpenVINO, and none of their threads. The copy waits for ever for threads that are
not there, so it is refused in words.
"""

from __future__ import annotations

import os

from .errors import BackendError

_has_computed = False
_lacks_threads = False


def require_own_threads() -> None:
    """Begin to compute in this process; children that are forked from now on cannot.

    Raises:
        BackendError: This process was forked from one that had computed.
    """
    global _has_computed
    if _lacks_threads:
        raise BackendError(
            "This process was forked from one that had loaded or run a model, whose threads it lacks: computing would "
            "wait for ever. Start processes by 'spawn', as multiprocessing.get_context('spawn') does, or fork them "
            "before TuckerSeg computes anything."
        )
    _has_computed = True


def _after_fork() -> None:
    global _lacks_threads
    _lacks_threads = _lacks_threads or _has_computed


if hasattr(os, "register_at_fork"):  # Windows has no forks
    os.register_at_fork(after_in_child=_after_fork)
