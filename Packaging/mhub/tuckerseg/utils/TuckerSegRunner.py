"""Runs TuckerSeg on the CT of an instance, in a process of its own.

This file is read by MHub, not by TuckerSeg: it knows mhubio and the command line ``tuckerseg``, whose environment is
another one.
"""

import os
import shlex
import subprocess

from mhubio.core import IO, Instance, InstanceData, Module

from .segments import SEGMENTS

MODELS = ("total", "total_fast", "total_fastest")  # those whose labels are SEGMENTS
OUTPUT = f"nifti:mod=seg:model=TuckerSeg:roi={','.join(SEGMENTS)}"


@IO.Config("model", str, "total_fast", the="total (1.5 mm), total_fast (3 mm) or total_fastest (6 mm)")
@IO.Config("rank", float, 1.0, the="Tucker ranks over channels; 1 runs the original network")
@IO.Config("threads", int, 0, the="CPU threads; 0 leaves it to the program")
@IO.Config("command", str, "tuckerseg", the="the command line of TuckerSeg, with its path where it is not on PATH")
class TuckerSegRunner(Module):
    model: str
    rank: float
    threads: int
    command: str

    @IO.Instance()
    @IO.Input("in_data", "nifti:mod=ct", the="CT, any part of the body")
    @IO.Output("out_data", "segmentation.nii.gz", OUTPUT, bundle="tuckerseg", data="in_data", the="all structures")
    @IO.Output("statistics", "statistics.json", "json:mod=report", bundle="tuckerseg", data="in_data", the="volumes")
    def task(self, instance: Instance, in_data: InstanceData, out_data: InstanceData, statistics: InstanceData) -> None:
        if self.model not in MODELS:
            raise ValueError(f"TuckerSegRunner: model should be one of {', '.join(MODELS)}; found '{self.model}'.")
        words = ["segment", in_data.abspath, out_data.abspath, "--model", self.model, "--stats", statistics.abspath]
        if self.rank != 1:
            words += ["--rank", str(self.rank)]
        if self.threads:
            words += ["--threads", str(self.threads)]
        self.run([*shlex.split(self.command), *words])
        if not os.path.isfile(out_data.abspath):
            raise RuntimeError(f"TuckerSegRunner: tuckerseg ended well, but {out_data.abspath} is not there.")

    def run(self, words: list[str]) -> None:
        """Run a command, log what it says, and fail where it fails, which mhubio's own ``subprocess`` does not."""
        self.log(">> run:", shlex.join(words))
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8") as process:
            told = [line.rstrip() for line in process.stdout if line.strip()]
        for line in told:
            self.log(line)
        if process.returncode:
            last = told[-1] if told else "it said nothing"
            raise RuntimeError(f"TuckerSegRunner: tuckerseg ended with {process.returncode}: {last}")
