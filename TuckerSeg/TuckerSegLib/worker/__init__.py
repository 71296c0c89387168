"""The process that computes for an application: reads requests, writes events, keeps models warm.

``process`` knows lines, threads and how to end; ``handlers`` what each request means.
"""

from __future__ import annotations

from pathlib import Path


def serve(workspace: Path, idle_s: float) -> None:
    """Run the worker; does not return.

    Args:
        workspace: Folder for files that pass; removed at the end.
        idle_s: End after that many seconds without a request.
    """
    from .process import RequestServer

    RequestServer(workspace, idle_s).run()
