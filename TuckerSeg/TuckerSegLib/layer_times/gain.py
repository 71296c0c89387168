"""Whether whole numbers of eight bits are faster than floating point on a device, by what was measured there."""

from __future__ import annotations

from collections.abc import Iterator

from .. import hardware
from ..measurements import Measurements
from ..records.layer_times import LayerTimes

NOT_MEASURED = "whether INT8 pays has not been measured on this computer"
NO_FASTER = 1.05  # ratios up to this are no gain: measurements scatter


def whole_numbers_gain(times: LayerTimes) -> float | None:
    """How many times as fast as in floating point a device computes the usual layers in whole numbers.

    Args:
        times: Of the device in the precision that the rest runs in.

    Returns:
        The ratio for a layer of a U-Net's highest resolution and the norm behind it; above 1 INT8 pays. None where it
        was not measured.
    """
    from ..compression.layer_work import convolution_work, norm_work, whole_work

    work = convolution_work("kernel", 32, 32, 27, 96**3, 96**3)
    if not any(term in times.seconds for term in whole_work(work)):
        return None
    beside_s = times.of(norm_work(32, 96**3))
    whole_s = times.of(whole_work(work)) + beside_s
    return (times.of(work) + beside_s) / whole_s if whole_s else None


def known_gain(
    device: hardware.Device, measurements: Measurements, precision: str = "auto", threads: int | None = None
) -> float | None:
    """The gain on a device by the measurements that are kept; None where there are none.

    Args:
        device: A usable one.
        measurements: Of this computer.
        precision: That the rest runs in.
        threads: Of the processor; None takes the usual number.
    """
    from .measured import known_layer_times

    precision, _ = hardware.choose_precision(precision, device)
    times = known_layer_times(device, precision, threads or hardware.default_threads(), measurements)
    return None if times is None else whole_numbers_gain(times)


def gain_words(
    device: hardware.Device, measurements: Measurements, precision: str = "auto", threads: int | None = None
) -> str:
    """What is known of INT8 on a device, for people; arguments as :func:`known_gain`."""
    if device.backend != "openvino":
        return "INT8 layers are computed in floating point: smaller files, no less time"
    gain = known_gain(device, measurements, precision, threads)
    if gain is None:
        return NOT_MEASURED
    floating, _ = hardware.choose_precision(precision, device)
    verdict = "INT8 pays" if gain > NO_FASTER else "INT8 does not pay"
    return f"{verdict}: full-resolution layers take 1/{gain:.1f} of the time of {floating}, as measured here"


def gain_notes(
    whole_share: float, device: hardware.Device, measurements: Measurements, precision: str
) -> Iterator[str]:
    """What the user of a network should know of INT8 on a device; nothing where no layer computes so.

    Args:
        whole_share: Share of the network's operations in whole numbers.
        device, measurements, precision: As :func:`known_gain`.
    """
    if whole_share:
        words = gain_words(device, measurements, precision)
        yield f"{words[0].upper()}{words[1:]}."
