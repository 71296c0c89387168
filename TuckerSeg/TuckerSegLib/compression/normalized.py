"""Which convolutions' outputs go straight into an instance normalization."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class NormalizedConvolutions:
    """Finds them while a network runs; such a normalization takes away what is constant in a channel.

    Args:
        network: Of which ``convs`` are part.
        convs: Path to convolution.

    Attributes:
        paths: Those found so far.
    """

    def __init__(self, network: nn.Module, convs: Mapping[str, nn.Module]):
        self.paths: set[str] = set()
        self._newest: tuple[str, Tensor] | None = None
        self._handles = [conv.register_forward_hook(self._noting(path)) for path, conv in convs.items()]
        for module in network.modules():
            if isinstance(module, nn.modules.instancenorm._InstanceNorm):
                self._handles.append(module.register_forward_pre_hook(self._look))

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._newest = None

    def _noting(self, path: str):
        def note(conv: nn.Module, inputs: tuple, output: Tensor) -> None:
            self._newest = (path, output)

        return note

    def _look(self, module: nn.Module, inputs: tuple) -> None:
        if self._newest is not None and inputs[0] is self._newest[1]:
            self.paths.add(self._newest[0])
