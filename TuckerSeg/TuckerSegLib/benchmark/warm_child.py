"""TuckerSeg on one volume twice in one process: ``python -m TuckerSegLib.benchmark.warm_child``.

The second time is what a user waits for when the program is already open with its model loaded.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path


def main() -> None:
    """Segment IN twice; write labels and a JSON with the seconds of both and the second one's stages."""
    parser = argparse.ArgumentParser()
    for name in ("model", "volume", "output", "report"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--rank", type=float, required=True)
    parser.add_argument("--step", type=float, required=True)
    options = parser.parse_args()
    options.report.write_text(json.dumps(segment_twice(options)))


def segment_twice(options: argparse.Namespace) -> dict[str, float]:
    """Load and prepare once, then segment the volume, which is held in memory, two times."""
    from ..cache import Cache
    from ..image import read_image
    from ..job import InferenceSpec, Job
    from ..ready_model import prepare
    from ..run import Stopwatch, load_compressed, segment, write

    inference = InferenceSpec(step_fraction=options.step, output_grid="nearest")
    method = None if options.rank == 1 else "tucker"
    compression = {} if method is None else {"rank_ratio": options.rank}
    job = Job((str(options.volume),), None, str(options.model), method, compression, inference)
    cache = Cache()
    original, model = load_compressed(job, cache, Stopwatch(lambda event: None))
    ready = prepare(original, model, inference, cache)
    volume = read_image(str(options.volume))
    seconds: dict[str, float] = {}
    for name in ("first", "predict"):
        watch = Stopwatch(lambda event: None)
        started = time.perf_counter()
        result = segment(volume, ready, inference, watch)
        seconds[name] = time.perf_counter() - started
    write(result, str(options.output))
    return {**seconds, **watch.seconds}


if __name__ == "__main__":
    main()
