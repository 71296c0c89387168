"""What a pruning writes into ``LayerChange.details``, and reads from there: how many channels a convolution keeps."""

from __future__ import annotations

from ...errors import ModelFileError
from ...printable import excerpt
from ...records.compression import LayerChange


def kept_channels(change: LayerChange) -> int | None:
    """How many output channels a layer keeps, by its change; None where it keeps all.

    Raises:
        ModelFileError: The details are not those of a pruning.
    """
    details = change.details
    kept = details.get("kept") if isinstance(details, dict) else 0
    if details == {}:
        return None
    if set(details) != {"kept"} or isinstance(kept, bool) or not isinstance(kept, int) or kept < 1:
        raise ModelFileError(
            f"{excerpt(change.path)}: details of a pruning are kept (a whole number of at least 1), or nothing; "
            f"found {excerpt(repr(details))}."
        )
    return kept


def layer_words(change: LayerChange) -> str:
    """What a layer keeps, as ``24 of 32 channels``; of a layer that only follows nothing is said."""
    kept = kept_channels(change)
    outputs = change.shape[1 if change.kind.startswith("ConvTranspose") else 0] if change.shape else 0
    return "" if kept is None else f"{kept} of {outputs} channels"
