"""Measure how the demonstration network agrees with itself at every rank of the slider, on the built-in volume.

Writes ``Resources/Models/agreement.json``, from which the agreement is foretold before a run. Run it after the
demonstration network, its volume, or the compression have changed; it takes some ten minutes.
"""

from __future__ import annotations

import itertools
import json

from TuckerSegLib import InferenceSpec, catalog, compress, load_model, read_image, segment
from TuckerSegLib.compression.tucker import Spec, plan
from TuckerSegLib.demo import VOLUME
from TuckerSegLib.evaluation import mean_dice
from TuckerSegLib.model import SegmentationModel

SETTINGS = InferenceSpec(precision="fp32")  # what bf16 adds to it depends on the processor
RANK_RATIOS = [hundredth / 100 for hundredth in range(5, 100)]  # the slider's


def same_ranks(model: SegmentationModel) -> list[list[float]]:
    """The rank ratios in groups that give the same ranks in every layer, ascending."""
    structure = model.structure()

    def ranks(rank_ratio: float) -> list:
        changes = plan(structure, Spec(rank_ratio=rank_ratio), model.plans.patch_shape, model.plans.input_channels)
        return [change.ranks for change in changes]

    return [list(group) for _, group in itertools.groupby(RANK_RATIOS, ranks)]


def main() -> None:
    model, image = load_model("demo"), read_image(str(VOLUME))
    original = segment(image, model, SETTINGS).labels
    rows = []
    for group in same_ranks(model):
        labels = segment(image, compress(model, Spec(rank_ratio=group[0])), SETTINGS).labels
        row = {"lowest": group[0], "highest": group[-1], "agreement": round(mean_dice(labels, original), 4)}
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
