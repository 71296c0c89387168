"""The sub-command that checks images and labels. No network is run, so torch is not imported."""

from __future__ import annotations

import argparse

from .. import check as checking


def check(options: argparse.Namespace) -> None:
    """``tuckerseg check IN --labels SEG``."""
    images = (options.images, *options.channel) if options.images else ()
    checking.report(images, options.timepoint, options.labels, options.labels_names, options.json)
