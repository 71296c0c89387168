"""Runs the chain of an MHub model with mhubio's own classes; run by the Python that has them, see ``test_mhub``.

Arguments: the model's folder, the folder of the data (with input_data/), the command line of TuckerSeg.
"""

import importlib
import shutil
import sys
from pathlib import Path

from mhubio.core import Config

model, data, command = Path(sys.argv[1]).absolute(), sys.argv[2], sys.argv[3]
sys.argv[1:] = []  # mhubio looks there, too
sys.path.insert(0, str(model.parent))
PLACES = {
    "DicomImporter": "mhubio.modules.importer.DicomImporter",
    "NiftiConverter": "mhubio.modules.convert.NiftiConverter",
    "DsegConverter": "mhubio.modules.convert.DsegConverter",
    "DataOrganizer": "mhubio.modules.organizer.DataOrganizer",
}
changes = {"general": {"data_base_dir": data}, "modules": {}}
for name in ("TuckerSegRunner", "CtUtilityRunner"):
    changes["modules"][name] = {"command": command}
if shutil.which("plastimatch") is None:
    changes["modules"]["NiftiConverter"] = {"engine": "dcm2niix"}
config = Config(str(model / "config" / "default.yml"), changes, args=None)
for name in config._config["execute"]:
    module = importlib.import_module(PLACES.get(name, f"{model.name}.utils.{name}"))
    getattr(module, name)(config=config).execute()
