"""Measure how the demonstration network agrees with itself at every rank of the slider, on the built-in volume.

Compresses by the default policy with the calibration that comes with the network, as a first run does. Writes
``Resources/Models/agreement.json``, from which the agreement is foretold before a run. Run it after the demonstration
network, its volume, or the compression have changed; it takes some five minutes.
"""

from __future__ import annotations

import json

from TuckerSegLib import InferenceSpec, catalog, compress, load_model, read_image, segment
from TuckerSegLib.catalog.resources import DEMO_VOLUME
from TuckerSegLib.compression.tucker.method import Spec
from TuckerSegLib.evaluation.dice import mean_dice
from TuckerSegLib.models.shipped_calibration import PATH, read_shipped_calibration

SETTINGS = InferenceSpec(precision="fp32")  # what bf16 adds to it depends on the processor
RANK_RATIOS = [twentieth / 20 for twentieth in range(1, 20)]


def main() -> None:
    model, image = load_model("demo"), read_image(str(DEMO_VOLUME))
    original = segment(image, model, SETTINGS).labels
    calibration = read_shipped_calibration(PATH)
    rows = []
    for rank_ratio in RANK_RATIOS:
        spec = Spec.at(rank_ratio)
        labels = segment(image, compress(model, spec, calibration=calibration), SETTINGS).labels
        row = {"rank_ratio": rank_ratio, "agreement": round(mean_dice(labels, original), 4)}
        print(row, flush=True)
        rows.append(row)
    document = {
        "source_sha256": model.source_sha256,
        "method": "tucker",
        "volume": "the built-in volume",
        "measure": "mean Dice against the original network, structures of 20 voxels or more, fp32",
        "rank_ratios": rows,
    }
    path = catalog.RESOURCES / "Models" / "agreement.json"
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
