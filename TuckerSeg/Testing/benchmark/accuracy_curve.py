"""The accuracy curve of the demonstration network on CTs that calibration did not see.

``python TuckerSeg/Testing/benchmark/accuracy_curve.py FOLDER`` calibrates, refits and repairs on ``example_ct`` of the
folder, and measures there and on the five CTs of its folder ``ct3mm`` that training did not use. It runs
``tuckerseg explore``; further options are handed on to it, as ``--factors 0.5 --repair-steps 900``. Hours with the
defaults on two cores.
"""

from __future__ import annotations

import sys
from pathlib import Path

from TuckerSegLib.cli.main import main

CALIBRATED_ON = "example_ct"
UNSEEN = ("acrin_flt_013", "cmb_crc_01068", "cptac_c3l_00189", "lidc0293", "lidc0295")
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
    unseen = [f"ct3mm/{name}" for name in UNSEEN]
    volumes = [str(Path(folder) / f"{name}.nii.gz") for name in (CALIBRATED_ON, *unseen)]
    sys.exit(main(["explore", *volumes, *OPTIONS, *others]))
