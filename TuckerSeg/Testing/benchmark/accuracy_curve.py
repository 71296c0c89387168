"""The accuracy curve of the demonstration network on CTs that calibration did not see.

``python TuckerSeg/Testing/benchmark/accuracy_curve.py FOLDER`` calibrates, refits and repairs on ``example_ct`` of the
folder, and measures there and on ``ts_s0002``, ``ts_s0003`` and ``cip_chest_64``. It runs ``tuckerseg explore``;
further options are handed on to it, as ``--factors 0.5 --repair-steps 900``. Hours with the defaults on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

from TuckerSegLib.cli.main import main

CALIBRATED_ON = "example_ct"
UNSEEN = ("ts_s0002", "ts_s0003", "cip_chest_64")
OPTIONS = (
    "--precision",
    "fp32",
    "--factors",
    "0.85,0.7,0.5,0.3",
    "--policies",
    "paper,weights,auto,auto+refit,auto+refit+repair",
)

if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    folder, *others = sys.argv[1:]
    volumes = [str(Path(folder) / f"{name}.nii.gz") for name in (CALIBRATED_ON, *UNSEEN)]
    sys.exit(main(["explore", *volumes, *OPTIONS, *others]))
