"""What the user asks of weight sharing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from ...errors import SpecError
from ...printable import shown
from ...records.compression import LayerChange

QUANTIZERS = ("cws", "pws", "uq", "ecsq")
CODEBOOKS = ("tensor", "global")
SCALES = ("none", "tensor", "channel")
MOST_CLUSTERS = 65536
MOST_INDEX_BITS = 16  # of strength 1
STORED_OTHERWISE = True  # the layers are those that were there before, with their weights stored in another form


@dataclass(frozen=True)
class Spec:
    """How the kernels of all convolutions are replaced by a few shared values; biases and norms stay as they are.

    Attributes:
        clusters: Most shared values of a codebook, 2 to 65536; indices take 8 bits up to 256, else 16. None keeps the
            network as it is.
        quantizer: ``cws`` (k-means), ``pws`` (stochastic rounding to the ends of intervals), ``uq`` (uniform steps) or
            ``ecsq`` (entropy-constrained).
        codebook: ``tensor``: every kernel has its own, and its errors count as much as they change the logits, by the
            calibration where there is one. ``global``: one for all kernels, all weights counting alike, as in sHAM.
        scale: Kernels are divided by their root mean square first, as a whole (``tensor``), per output channel
            (``channel``) or not at all (``none``).
        rate_weight: λ of ``ecsq``: one nat more per index is worth this much relative squared error.
        sparsity: Share of the weights that is set to zero first: those that count least.
        seed: Of stochastic rounding.
        calibration: SHA-256 of the calibration that errors are weighted by; None takes the weights alone.
    """

    VERSION: ClassVar[int] = 1
    needs_weights: ClassVar[bool] = False

    clusters: int | None = 256
    quantizer: str = "cws"
    codebook: str = "tensor"
    scale: str = "none"
    rate_weight: float = 0.0
    sparsity: float = 0.0
    seed: int = 42
    calibration: str | None = None

    def __post_init__(self) -> None:
        for name, known in (("quantizer", QUANTIZERS), ("codebook", CODEBOOKS), ("scale", SCALES)):
            if getattr(self, name) not in known:
                raise SpecError(f"{name} should be one of {', '.join(known)}; found {shown(getattr(self, name))}")
        if self.clusters is not None and not 2 <= self.clusters <= MOST_CLUSTERS:
            raise SpecError(f"clusters should be 2 to {MOST_CLUSTERS}; found {shown(self.clusters)}")
        if not 0 <= self.rate_weight <= 1:
            raise SpecError(f"the rate weight (lambda) should lie in [0, 1]; found {shown(self.rate_weight)}")
        if self.rate_weight and self.quantizer != "ecsq":
            raise SpecError(f"a rate weight (lambda) is for the quantizer ecsq; found it with {self.quantizer}")
        if not 0 <= self.sparsity < 1:
            raise SpecError(f"sparsity should lie in [0, 1); found {shown(self.sparsity)}")
        if self.sparsity and self.clusters == 2:
            raise SpecError("with sparsity, zero is one of the clusters: ask for at least 3; found 2")
        if not 0 <= self.seed < 2**32:
            raise SpecError(f"seed should be 0 to {2**32 - 1}; found {shown(self.seed)}")

    @property
    def needs_calibration(self) -> bool:
        """Whether moments of a calibration make it better: with a codebook per tensor they do."""
        return self.codebook == "tensor" and self.clusters is not None

    @property
    def keeps_network(self) -> bool:
        """Whether no layer changes."""
        return self.clusters is None

    @property
    def strength(self) -> float:
        """Bits of an index / 16; 1 where the network is kept."""
        return 1.0 if self.clusters is None else (self.clusters - 1).bit_length() / MOST_INDEX_BITS

    @classmethod
    def at(cls, strength: float) -> Spec:
        """Index bits / 16: 0.5 is 256 shared values, 0.25 is 16; 1 keeps the network.

        Raises:
            SpecError: Not above 0 and up to 1.
        """
        return cls().with_strength(strength)

    def with_strength(self, strength: float) -> Spec:
        """These settings with as many shared values as a strength stands for, see :meth:`at`.

        Raises:
            SpecError: Not above 0 and up to 1.
        """
        if not 0 < strength <= 1:
            raise SpecError(f"the strength of weight sharing should lie in (0, 1]; found {shown(strength)}")
        bits = max(1, round(MOST_INDEX_BITS * strength))
        return replace(self, clusters=None if strength == 1 else 2 ** min(bits, MOST_INDEX_BITS))


def describe(spec: Spec, changes: Sequence[LayerChange]) -> str:
    """What was done, as ``256 shared weights per kernel (cws), calibrated``."""
    words = f"{spec.clusters} shared weights {'in all' if spec.codebook == 'global' else 'per kernel'} "
    words += f"({spec.quantizer}{f', lambda {spec.rate_weight:g}' if spec.rate_weight else ''})"
    words += f", {100 * spec.sparsity:.0f} % zeros" if spec.sparsity else ""
    return words + (", calibrated" if spec.calibration else "")
