"""Calibrate the demonstration network on CTs and write what comes with it: ``tools/make_calibration.py CT...``

The built-in volume is calibrated on too. Moments of channels are kept, no voxels, and the errors of ranks that follow
from them; ``--materials`` writes these alone, after Tucker compression has changed. Run it after the demonstration
network has changed, and ``tools/measure_agreement.py`` and ``tools/list_module_files.py`` then.
"""

from __future__ import annotations

import argparse

from TuckerSegLib import TuckerSpec, load_model, read_image
from TuckerSegLib.models.calibration import calibrate_model
from TuckerSegLib.models.material import computed_materials
from TuckerSegLib.models.model import SegmentationModel
from TuckerSegLib.models.planning import with_calibration
from TuckerSegLib.models.shipped_calibration import PATH, shipped_calibration, write_shipped_calibration
from TuckerSegLib.models.shipped_material import PATH as MATERIALS
from TuckerSegLib.models.shipped_material import write_shipped_materials


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ct", nargs="*", help="CTs whose licence allows it")
    parser.add_argument("--materials", action="store_true", help="of the calibration that is there; no CTs")
    parser.add_argument("--threads", type=int, help="of the processor")
    options = parser.parse_args()
    if options.materials == bool(options.ct):
        parser.error("name CTs, or --materials")
    model, calibration = load_model("demo"), None
    if options.materials:
        write_materials(model)
        return
    for path in options.ct:
        calibration = calibrate_model(model, read_image(path), calibration, threads=options.threads)
        print(f"{path}: calibrated", flush=True)
    write_shipped_calibration(model, calibration)
    write_materials(model)
    for path in (PATH, MATERIALS):
        print(f"Written: {path} ({path.stat().st_size / 1e6:.1f} MB)")


def write_materials(model: SegmentationModel) -> None:
    """Write what Tucker compression by the shipped calibration computes before any ranks are chosen."""
    calibration = shipped_calibration(model)
    spec = with_calibration(TuckerSpec.at(0.5), calibration.sha256)
    write_shipped_materials(computed_materials(model, spec, "tucker", calibration))


if __name__ == "__main__":
    main()
