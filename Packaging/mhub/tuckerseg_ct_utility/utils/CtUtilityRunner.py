"""Checks the CT of an instance and tells which parts of the body it shows, by TuckerSeg in processes of its own.

This file is read by MHub, not by TuckerSeg: it knows mhubio and the command line ``tuckerseg``, whose environment is
another one.
"""

import os
import shlex
import subprocess
import tempfile

from mhubio.core import IO, Instance, InstanceData, Module

MODELS = ("total", "total_fast", "total_fastest")
QUALITY, PARTS = "report=quality", "report=bodyparts"


@IO.Config("model", str, "total_fastest", the="total_fastest (6 mm), total_fast (3 mm) or total (1.5 mm)")
@IO.Config("threads", int, 0, the="CPU threads; 0 leaves it to the program")
@IO.Config("command", str, "tuckerseg", the="the command line of TuckerSeg, with its path where it is not on PATH")
class CtUtilityRunner(Module):
    model: str
    threads: int
    command: str

    @IO.Instance()
    @IO.Input("in_data", "dicom:mod=ct", the="CT, any part of the body")
    @IO.Output(
        "quality", "quality.json", f"json:mod=report:{QUALITY}", bundle="tuckerseg", data="in_data", the="findings"
    )
    @IO.Output("parts", "bodyparts.json", f"json:mod=report:{PARTS}", bundle="tuckerseg", data="in_data", the="scores")
    @IO.Output("table", "bodyparts.csv", f"csv:mod=report:{PARTS}", bundle="tuckerseg", data="in_data", the="scores")
    def task(
        self, instance: Instance, in_data: InstanceData, quality: InstanceData, parts: InstanceData, table: InstanceData
    ) -> None:
        if self.model not in MODELS:
            raise ValueError(f"CtUtilityRunner: model should be one of {', '.join(MODELS)}; found '{self.model}'.")
        threads = ["--threads", str(self.threads)] if self.threads else []
        with tempfile.TemporaryDirectory() as folder:
            labels = os.path.join(folder, "labels.nii.gz")
            self.run(["segment", in_data.abspath, labels, "--model", self.model, *threads])
            of_labels = ["--labels", labels, "--labels-names", self.model]
            found = self.run(["check", in_data.abspath, *of_labels, "--json"])
            self.run(["bodyparts", *of_labels, "--json", parts.abspath, "--csv", table.abspath])
        with open(quality.abspath, "w", encoding="utf-8") as file:
            file.write(found)

    def run(self, words: list[str]) -> str:
        """What a command prints; fails where it fails, which mhubio's own ``subprocess`` does not."""
        words = [*shlex.split(self.command), *words]
        self.log(">> run:", shlex.join(words))
        done = subprocess.run(words, capture_output=True, encoding="utf-8")
        for line in done.stderr.splitlines():
            self.log(line.rstrip())
        if done.returncode:
            last = (done.stderr.strip() or "it said nothing").splitlines()[-1]
            raise RuntimeError(f"CtUtilityRunner: tuckerseg ended with {done.returncode}: {last}")
        return done.stdout
