"""The layer times of this computer: from the measurements that are kept, else measured through the backend itself."""

from __future__ import annotations

import importlib.metadata
from typing import TYPE_CHECKING

from .. import hardware
from ..compression.layer_work import GATHERED, gathering_work, network_work
from ..measurements import Measurements
from ..monitor import Monitor
from ..records.layer_times import LayerTimes
from ..sliding_window.accumulator import Accumulator
from .fit import fitted_seconds
from .stopwatch import fastest_seconds

if TYPE_CHECKING:
    from .probes import Probe

PROBES_VERSION = 3  # raise when probes come or go: what was measured by others lacks terms
RUNS = 3  # of which the fastest counts
GATHERED_VOXELS, GATHERED_CHANNELS = 64, 32  # along an axis of the patches whose gathering is measured; and features


def layer_times(
    device: hardware.Device,
    precision: str,
    threads: int,
    measurements: Measurements,
    monitor: Monitor | None = None,
) -> LayerTimes:
    """What layers take on a device; measured once, which takes some ten seconds, and kept.

    Args:
        device: That will run the network.
        precision: In which; one that it computes natively.
        threads: Of the processor.
        measurements: Where the times are kept.
        monitor: Hears the fraction of the networks measured, and is asked after each whether to stop.

    Raises:
        BackendError: The device cannot run them.
        Cancelled: The monitor said so.
    """
    setting = setting_of(device, precision, threads)
    known = measurements.layer_seconds(setting)
    if not known:
        known = measure(device, precision, threads, monitor)
        measurements.add_layer_seconds(setting, known)
    return LayerTimes(precision, known)


def known_layer_times(
    device: hardware.Device, precision: str, threads: int, measurements: Measurements
) -> LayerTimes | None:
    """What :func:`layer_times` would give without measuring; None where nothing is kept."""
    known = measurements.layer_seconds(setting_of(device, precision, threads))
    return LayerTimes(precision, known) if known else None


def measure(device: hardware.Device, precision: str, threads: int, monitor: Monitor | None = None) -> dict[str, float]:
    """Measure the probes, and fit seconds per unit of work to them; arguments and errors as :func:`layer_times`."""
    from .probes import PROBES

    monitor, works, seconds = monitor or Monitor(), [], []
    for number, probe in enumerate(PROBES, start=1):
        works.append(network_work(probe.network(), probe.patch_shape))
        seconds.append(seconds_of(probe, device, precision, threads))
        monitor.fraction(number / len(PROBES))
    beside = {} if on_another_chip(device) else {GATHERED: gathering_seconds(precision, threads)}
    return fitted_seconds(works, seconds) | beside


def on_another_chip(device: hardware.Device) -> bool:
    """Whether a device is none of the processor's, so that seconds of the processor say nothing of its work."""
    return not device.id.endswith(":cpu")


def gathering_seconds(precision: str, threads: int) -> float:
    """Seconds in which the processor adds 10^6 features of a patch to those of patches that overlap it."""
    import torch

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
    size = GATHERED_VOXELS
    features = torch.ones((size, size, size, GATHERED_CHANNELS), dtype=dtype).permute(3, 0, 1, 2)
    accumulator = Accumulator((size,) * 3, (0, size // 2), (slice(0, size + size // 2), slice(0, size), slice(0, size)))
    with hardware.torch_threads(threads):
        seconds = fastest_seconds(lambda: accumulator.add((0, 0, 0), features), RUNS, threads)
    return seconds / gathering_work(GATHERED_CHANNELS, size**3)[GATHERED]


def seconds_of(probe: Probe, device: hardware.Device, precision: str, threads: int) -> float:
    """Seconds of one pass of a probe."""
    import torch

    spec = hardware.PrepareSpec(probe.patch_shape, precision=precision, threads=threads)
    predictor = hardware.backend(device.backend).prepare(probe.network, device, spec)
    try:
        patch = torch.rand(1, 1, *probe.patch_shape)
        return fastest_seconds(lambda: predictor(patch), RUNS, 0 if on_another_chip(device) else threads)
    finally:
        predictor.close()


def setting_of(device: hardware.Device, precision: str, threads: int) -> str:
    """Key of layer times: all that they depend on, which is no network."""
    package = "openvino" if device.backend == "openvino" else "torch"
    version = importlib.metadata.version(package)
    return f"{device.id} {device.name} {precision} {threads} {package} {version} probes {PROBES_VERSION}"
