"""How many voxels of whole CTs get nnU-Net's own labels, for every kind of model; the table of docs/exactness.md.

``python TuckerSeg/Testing/benchmark/parity_table.py CT.nii.gz [CT.nii.gz ...]`` runs thin networks with random weights
(see ``engine/nnunet_parity.py``) through nnU-Net's code and through ``tuckerseg segment``, and prints Markdown. A
minute per million voxels on two cores.
"""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from Testing.engine.nnunet_parity import KINDS, Parity
from TuckerSegLib.cli.main import main


def quietly(*arguments) -> None:
    """``tuckerseg``, whose lines are told where it fails."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
        code = main([str(argument) for argument in arguments])
    if code:
        sys.exit(told.getvalue())


def table(image: Path) -> None:
    """Rows of one CT."""
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as folder:
            compared = Parity(image, Path(folder), quietly).compared(kind)
        share = 100 * (1 - compared.unequal / compared.ours.size)
        words = ""
        if compared.difference is not None:
            largest, mean = compared.difference
            words = f"; probabilities differ by {largest:.1e} at most, {mean:.1e} on average"
        name = image.name.removesuffix(".nii.gz")
        print(f"| {name} | {kind} | {compared.ours.size} | {compared.unequal} | {share:.4f} %{words} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    print("| CT | model | voxels | other labels | equal |\n|---|---|---|---|---|")
    for path in sys.argv[1:]:
        table(Path(path))
