"""What a token sparsification writes into ``LayerChange.details``, and reads from there."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ...errors import ModelFileError, SpecError
from ...printable import excerpt
from ...records.compression import LayerChange
from .spec import Spec


@dataclass(frozen=True)
class TokenDetails:
    """After which blocks tokens are left out, how many, what counts as air, and whether it is learned; as ``Spec``."""

    keep_ratio: float
    blocks: tuple[int, ...]
    air: float | None = None
    learned: bool = False

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
            if not isinstance(details, dict) or set(details) - {"learned"} != names:
                raise SpecError("the names are others")
            spec = Spec(agreement=0, **details)
            if spec.blocks is None:
                raise SpecError("no blocks are named")
        except SpecError as error:
            raise ModelFileError(
                f"{excerpt(change.path)}: details of a token sparsification are keep_ratio, blocks and air, with "
                f"learned or without, or nothing; found {excerpt(repr(details))} ({error})."
            ) from error
        return cls(spec.keep_ratio, spec.blocks, spec.air, spec.learned)

    def to_json(self) -> dict[str, Any]:
        """These details in JSON types, for ``LayerChange.details``."""
        details = {**asdict(self), "blocks": list(self.blocks)}
        if not self.learned:
            del details["learned"]
        return details


def layer_words(change: LayerChange) -> str:
    """After which blocks how many tokens are kept, as ``0.50 after 3, 6, 9``; of a layer with less to do nothing."""
    details = TokenDetails.from_change(change)
    if details is None:
        return ""
    return f"{details.keep_ratio:.2f} after {', '.join(str(number + 1) for number in details.blocks)}"
