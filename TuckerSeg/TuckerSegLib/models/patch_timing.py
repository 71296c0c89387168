"""Seconds of a patch of whole networks on a device, beside their original's; of the structure alone, since what weights
are takes no time. So a compressed network is timed before anything of it is computed."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from .. import hardware
from ..compression.heads import find_head
from ..compression.layer_work import gathering_work, network_work
from ..compression.layers import replace_modules
from ..layer_times.measured import on_another_chip
from ..layer_times.stopwatch import alternated_seconds
from ..monitor import Monitor
from ..records.layer_times import LayerTimes
from .model import SegmentationModel
from .planning import plan_compression

if TYPE_CHECKING:
    from torch import nn

ROUNDS = 2  # of which the fastest counts
STANDARD_DEVIATION = 0.02  # of the random weights: small, so that nothing overflows


class Place(NamedTuple):
    """Where a network runs.

    Attributes:
        device: A usable one.
        precision: Of the run.
        threads: Of the processor.
    """

    device: hardware.Device
    precision: str
    threads: int

    @property
    def words(self) -> str:
        """All that decides what a network takes there."""
        return f"{self.device.id} {self.device.name} {self.precision} {self.threads}"


def planned(model: SegmentationModel, steps: Sequence[tuple[str, Any]]) -> SegmentationModel:
    """The facts of a model after steps that name what they do to each layer; nothing is computed."""
    for method, spec in steps:
        model = plan_compression(model, spec, method).model
    return model


def predicted_seconds(model: SegmentationModel, times: LayerTimes) -> float:
    """Seconds of a patch of one fold by the times of layers, and of adding it to others."""
    plans = model.plans
    network = running_network(model)
    work = network_work(network, plans.patch_shape, plans.input_channels)
    return times.of(work) + times.of(_gathering(model))


class PatchTimer:
    """Measures what models take of their original's seconds, a patch at a time, one fold of them.

    The original stays on the device until the timer is closed, and what was measured is not measured again.

    Args:
        original: Any model.
        place: Where both run.
        times: Of layers there; of them what patches take beside the network.
        monitor: Asked before each measurement whether to stop.
    """

    def __init__(self, original: SegmentationModel, place: Place, times: LayerTimes, monitor: Monitor):
        self._original, self._place, self._times, self._monitor = original, place, times, monitor
        self._measured: dict[str, tuple[float, float]] = {}
        self._open = contextlib.ExitStack()
        self._original_predictor: hardware.PatchPredictor | None = None

    def close(self) -> None:
        """Give the original's memory back; a later measurement takes it again."""
        self._original_predictor = None
        self._open.close()

    def share(self, model: SegmentationModel) -> float:
        """Seconds of a patch of a model, relative to the original's.

        Args:
            model: Made of the original; its weights do not count and need not be there.

        Raises:
            BackendError: The device cannot run it.
            Cancelled: The monitor said so.
        """
        before, after = self.seconds(model)
        return after / before

    def seconds(self, model: SegmentationModel) -> tuple[float, float]:
        """Seconds of a patch of the original and of a model, measured in turns; arguments as for :meth:`share`."""
        if model.key not in self._measured:
            self._measured[model.key] = self._in_turns(model)
        return self._measured[model.key]

    def _in_turns(self, model: SegmentationModel) -> tuple[float, float]:
        import torch

        self._monitor.check()
        place, plans = self._place, self._original.plans
        patch = torch.rand(1, plans.input_channels, *plans.patch_shape)
        threads = 0 if on_another_chip(place.device) else place.threads
        if self._original_predictor is None:
            self._original_predictor = self._open.enter_context(_on_device(self._original, place))
        original = self._original_predictor
        with _on_device(model, place) as predictor:
            before, after = alternated_seconds((lambda: original(patch), lambda: predictor(patch)), ROUNDS, threads)
        before += self._times.of(_gathering(self._original))
        return before, after + self._times.of(_gathering(model))


@contextlib.contextmanager
def _on_device(model: SegmentationModel, place: Place) -> Iterator[hardware.PatchPredictor]:
    plans = model.plans
    spec = hardware.PrepareSpec(
        plans.patch_shape, plans.input_channels, precision=place.precision, threads=place.threads
    )
    with hardware.torch_threads(place.threads):
        predictor = hardware.backend(place.device.backend).prepare(
            lambda: _with_random_weights(running_network(model)), place.device, spec
        )
    try:
        yield predictor
    finally:
        predictor.close()


def running_network(model: SegmentationModel) -> nn.Module:
    """One fold's network as it runs on patches, on the meta device: without its head, where features are fewer."""
    from torch import nn

    network = model.structure()
    if (head := _spared_head(model, network)) is not None:
        replace_modules(network, {network.get_submodule(head): nn.Identity()})
    return network.eval()


def _spared_head(model: SegmentationModel, network: nn.Module) -> str | None:
    head = find_head(network, model.plans.patch_shape, model.plans.input_channels)
    if head is None:
        return None
    conv = network.get_submodule(head)
    return head if conv.in_channels < conv.out_channels else None


def _gathering(model: SegmentationModel) -> dict[str, float]:
    """The work of adding a patch's features, or logits where these are fewer, to those of other patches."""
    network = model.structure()
    head = find_head(network, model.plans.patch_shape, model.plans.input_channels)
    channels = model.plans.logit_channels
    if head is not None:
        channels = min(channels, network.get_submodule(head).in_channels)
    return gathering_work(channels, math.prod(model.plans.patch_shape))


def _with_random_weights(network: nn.Module) -> nn.Module:
    import torch

    network = network.to_empty(device="cpu")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.is_floating_point():
                tensor.normal_(0, STANDARD_DEVIATION, generator=generator).abs_()
            else:
                tensor.random_(0, 100, generator=generator)
    return network
