"""Torch's thread count, for the time of one piece of work."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from ..errors import SpecError

MOST_THREADS = 1024


@contextlib.contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use ``count`` threads (0: as many as it does now).

    The count is one for the whole process, so it is put back at the end.

    Raises:
        SpecError: A number that ends processes: of threads that a system cannot make, OpenMP says nothing.
    """
    import torch

    if not 0 <= count <= MOST_THREADS:
        raise SpecError(f"The number of threads should be a whole number from 1 to {MOST_THREADS}; found {count}.")

    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
