"""Which convolutions' outputs go straight into an instance normalization."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn


class NormalizedConvolutions:
    """Finds, while a network runs, the convolutions whose output is the input of an instance normalization.

    Such a normalization takes away what is constant in a channel, unless it has stored statistics of its own.

    Args:
        network: That holds the convolutions; gets hooks until :meth:`close`.
        convs: Path to convolution of those to look at.

    Attributes:
        paths: Paths of the normalized ones among the convolutions that have run so far.
    """

    def __init__(self, network: nn.Module, convs: Mapping[str, nn.Module]):
        self.paths: set[str] = set()
        self._last_output: tuple[str, Tensor] | None = None
        self._handles = [conv.register_forward_hook(self._forward_hook(path)) for path, conv in convs.items()]
        for module in network.modules():
            if isinstance(module, nn.modules.instancenorm._InstanceNorm) and module.running_mean is None:
                self._handles.append(module.register_forward_pre_hook(self._compare_input))

    def close(self) -> None:
        """Take the hooks off the network."""
        for handle in self._handles:
            handle.remove()
        self._last_output = None

    def _forward_hook(self, path: str):
        def record(conv: nn.Module, inputs: tuple, output: Tensor) -> None:
            self._last_output = (path, output)

        return record

    def _compare_input(self, module: nn.Module, inputs: tuple) -> None:
        if self._last_output is not None and inputs[0] is self._last_output[1]:
            self.paths.add(self._last_output[0])
