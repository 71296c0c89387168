"""What a token sparsification writes into ``LayerChange.details``, and reads from there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...errors import ModelFileError, SpecError
from ...printable import excerpt
from ...records.compression import LayerChange
from .spec import Spec

_UNSAID = ("learned", "merged", "paired")  # where they are false, as in files written before they were


@dataclass(frozen=True)
class TokenDetails:
    """After which blocks tokens are left out, how many, what counts as air, and how; as ``Spec``."""

    keep_ratio: float
    blocks: tuple[int, ...] | None
    air: float | None = None
    learned: bool = False
    merged: bool = False
    paired: bool = False

    @classmethod
    def from_change(cls, change: LayerChange) -> TokenDetails | None:
        """Read the ``details`` of a change that this method has planned; None of a layer that only has less to do.

        Raises:
            ModelFileError: The details are not those of a token sparsification.
        """
        details = change.details
        if details == {}:
            return None
        try:
            names = {"keep_ratio", "blocks", "air"}
            if not isinstance(details, dict) or set(details) - set(_UNSAID) != names:
                raise SpecError("the names are others")
            spec = Spec(agreement=0, **details)
            if spec.blocks is None and not spec.merged:
                raise SpecError("no blocks are named")
        except SpecError as error:
            raise ModelFileError(
                f"{excerpt(change.path)}: details of a token sparsification are keep_ratio, blocks and air, with "
                f"learned, merged or paired or without, or nothing; found {excerpt(repr(details))} ({error})."
            ) from error
        return cls(spec.keep_ratio, spec.blocks, spec.air, spec.learned, spec.merged, spec.paired)

    @property
    def spec(self) -> Spec:
        """What does the same to a network, untried."""
        return Spec(agreement=0, **asdict(self))

    def to_json(self) -> dict[str, Any]:
        """These details in JSON types, for ``LayerChange.details``."""
        details = {**asdict(self), "blocks": None if self.blocks is None else list(self.blocks)}
        return {name: value for name, value in details.items() if value or name not in _UNSAID}


def layer_words(change: LayerChange) -> str:
    """What share of tokens is kept, as ``0.50 after 3, 6, 9``; nothing of a layer with less to do."""
    details = TokenDetails.from_change(change)
    if details is None:
        return ""
    if details.blocks is None:
        return f"{details.keep_ratio:.2f}, others merged"
    return f"{details.keep_ratio:.2f} after {', '.join(str(number + 1) for number in details.blocks)}"
