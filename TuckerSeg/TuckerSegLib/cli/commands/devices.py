"""``tuckerseg devices``: the hardware and what it offers."""

from __future__ import annotations

import argparse

from ... import hardware
from ...layer_times.gain import NOT_MEASURED, gain_words
from ...measurements import Measurements
from ...records.serialization import to_json
from ..output import say, show_json


def devices(options: argparse.Namespace) -> None:
    """``tuckerseg devices``."""
    devices = hardware.devices()
    chosen, why = hardware.choose("auto", devices)
    if options.measure:
        _measure(chosen)
    if options.json:
        show_json([to_json(device) for device in devices])
        return
    for device in devices:
        state = "usable  " if device.usable else "unusable"
        say(f"{device.id:14} {state} {device.name}")
        say(f"{'':14} {device.offers if device.usable else device.reason}")
        if words := device.usable and gain_words(device, Measurements()):
            hint = "; --measure does it" if words == NOT_MEASURED else ""
            say(f"{'':14} {words}{hint}")
    say(f"auto takes {chosen.id}: {why}")


def _measure(device: hardware.Device) -> None:
    """Measure the layers of a device in the precision that it is used in, and keep the times."""
    from ...layer_times.measured import layer_times

    precision, _ = hardware.choose_precision("auto", device)
    layer_times(device, precision, hardware.default_threads(), Measurements())
