"""Runs in Slicer: see ``run_in_slicer.sh``, which starts it."""

import importlib.util
import os

spec = importlib.util.spec_from_file_location("checks", os.environ["TUCKERSEG_CHECKS_FILE"])
checks = importlib.util.module_from_spec(spec)
spec.loader.exec_module(checks)
checks.main()
