"""nnU-Net's own predictor on one volume, in a process of its own: ``python -m TuckerSegLib.benchmark.nnunet_child``."""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path

from ..text_files import write_text


def main() -> None:
    """Segment IN with the model folder's ``nnUNetPredictor``; write labels and a JSON of seconds per stage."""
    parser = argparse.ArgumentParser()
    for name in ("model", "volume", "output", "report"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--step", type=float, required=True)
    options = parser.parse_args()
    seconds = predict(options.model, options.volume, options.output, options.step)
    write_text(options.report, json.dumps(seconds))


def predict(model: Path, volume: Path, output: Path, step_fraction: float) -> dict[str, float]:
    """Run the documented way: initialize from the folder, predict one array, write with nnU-Net's own writer."""
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        os.environ.setdefault(name, str(model))  # nnU-Net warns when they are missing; nothing is read from them
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(os.cpu_count() or 1)
    started = time.perf_counter()
    predictor = nnUNetPredictor(
        tile_step_size=step_fraction,
        use_gaussian=True,
        use_mirroring=False,
        perform_everything_on_device=False,
        device=torch.device("cpu"),
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(str(model), use_folds=(0,))
    loaded = time.perf_counter()
    files = predictor.plans_manager.image_reader_writer_class()
    array, properties = files.read_images([str(volume)])
    read = time.perf_counter()
    labels = predictor.predict_single_npy_array(array, properties)
    predicted = time.perf_counter()
    files.write_seg(labels, str(output), properties)
    written = time.perf_counter()
    return {
        "load": loaded - started,
        "read": read - loaded,
        "predict": predicted - read,
        "write": written - predicted,
    }


if __name__ == "__main__":
    main()
