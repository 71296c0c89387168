"""TuckerSeg on one volume twice in one process: ``python -m TuckerSegLib.benchmark.warm_child``.

The second time is what a user waits for when the program is already open with its model loaded.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from ..text_files import write_text


def main() -> None:
    """Segment IN twice; write labels and a JSON with the seconds of both and the second one's stages."""
    parser = argparse.ArgumentParser()
    for name in ("model", "volume", "output", "report"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--rank", type=float, required=True)
    parser.add_argument("--step", type=float, required=True)
    options = parser.parse_args()
    write_text(options.report, json.dumps(segment_twice(options)))


def segment_twice(options: argparse.Namespace) -> dict[str, float]:
    """Load and prepare once, then segment the volume, which is held in memory, two times."""
    from ..compression.tucker.method import Spec
    from ..image import read_image
    from ..models.compress import compress
    from ..models.loading import load_model
    from ..monitor import Monitor
    from ..records.job import InferenceSpec
    from ..segmentation.prepared_model import prepare
    from ..segmentation.segment import segment

    inference = InferenceSpec(step_fraction=options.step, output_grid="nearest")
    model = load_model(options.model)
    if options.rank < 1:
        model = compress(model, Spec(rank_ratio=options.rank))
    ready = prepare(model, inference)
    volume = read_image(str(options.volume))
    seconds: dict[str, float] = {}
    for name in ("first", "predict"):
        monitor = Monitor()
        started = time.perf_counter()
        result = segment(volume, ready, inference, monitor)
        seconds[name] = time.perf_counter() - started
    result.save(str(options.output))
    return {**seconds, **monitor.seconds}


if __name__ == "__main__":
    main()
