"""Calibrate the demonstration network on CTs and write what comes with it: ``tools/make_calibration.py CT...``

The built-in volume is calibrated on too. Moments of channels are kept, no voxels. Run it after the demonstration
network has changed, and ``tools/measure_agreement.py`` and ``tools/list_module_files.py`` then.
"""

from __future__ import annotations

import argparse

from TuckerSegLib import load_model, read_image
from TuckerSegLib.models.calibration import calibrate_model
from TuckerSegLib.models.shipped_calibration import PATH, write_shipped_calibration


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("ct", nargs="+", help="CTs whose licence allows it")
    parser.add_argument("--threads", type=int, help="of the processor")
    options = parser.parse_args()
    model, calibration = load_model("demo"), None
    for path in options.ct:
        calibration = calibrate_model(model, read_image(path), calibration, threads=options.threads)
        print(f"{path}: calibrated", flush=True)
    write_shipped_calibration(model, calibration)
    print(f"Written: {PATH} ({PATH.stat().st_size / 1e6:.1f} MB)")


if __name__ == "__main__":
    main()
