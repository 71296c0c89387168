"""``tuckerseg devices``: the hardware and what it offers."""

from __future__ import annotations

import argparse

from ... import hardware
from ...records.serialization import to_json
from ..output import say, show_json


def devices(options: argparse.Namespace) -> None:
    """``tuckerseg devices``."""
    devices = hardware.devices()
    if options.json:
        show_json([to_json(device) for device in devices])
        return
    for device in devices:
        state = "usable  " if device.usable else "unusable"
        say(f"{device.id:14} {state} {device.name}")
        say(f"{'':14} {device.offers if device.usable else device.reason}")
    chosen, why = hardware.choose("auto", devices)
    say(f"auto takes {chosen.id}: {why}")
