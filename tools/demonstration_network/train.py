"""Train the demonstration network: 117 structures at 3 mm, 96³ patches, on a few processor cores in the background.

What it learns from: CTs with labels, deformed; label maps without a CT, painted anew all the time; CTs without labels,
labeled by the moving average of the weights every ``--relabel`` steps where that is sure and plausible, the rest
ignored. SIGTERM saves and ends, and the same command goes on from ``OUT.ck``. Lowest priority; bf16 where the
processor has it.
"""

from __future__ import annotations

import argparse
import math
import os
import queue
import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np
import torch
from cases import Cases
from losses import sampled_loss
from network import IGNORE, features, load, network
from optimizer import Both
from pseudo_labels import plausible, predict
from torch import nn

# glibc gives large blocks back after every operation, and half the time goes into page faults; these keep them.
KEEP = {
    "MALLOC_TRIM_THRESHOLD_": "100000000000",
    "MALLOC_MMAP_THRESHOLD_": "100000000000",
    "MALLOC_TOP_PAD_": "1000000000",
}
SAVE_SECONDS = 300


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--data", default=".", help="folder of CTs with labels, and label maps in its folder labels")
    add("--unlabeled", help="folder of CTs without labels")
    add("--out", default="demo.pt", help="the averaged weights; beside them OUT.ck, to go on from")
    add("--init", help="weights to start from")
    add("--minutes", type=float, default=120, help="length of the cosine")
    add("--restart", action="store_true", help="begin a new cosine")
    add("--lr", type=float, default=1e-3)
    add("--low", type=float, default=0.01, help="share of --lr at the end")
    add("--muon", action="store_true", help="Muon for convolutions; otherwise AdamW for everything")
    add("--share", type=float, default=0.09, help="of a patch's voxels in the loss")
    add("--real", type=float, default=0.55, help="share of patches from CTs; the others are from painted label maps")
    add("--relabel", type=int, default=400, help="steps until CTs without labels are labeled anew")
    add("--steps", type=int, default=10**9, help="end after so many, however early")
    add("--average", type=float, default=0.998, help="share of itself that the moving average keeps at a step")
    return parser.parse_args()


def has_bf16() -> bool:
    """Whether the processor multiplies bf16 itself; known on Linux only."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return "amx_bf16" in flags or "avx512_bf16" in flags


class Averaged:
    """The moving average stands in for the weights for a while."""

    def __init__(self, params, ema):
        self.params, self.ema = params, ema

    def __enter__(self):
        self.keep = [p.detach().clone() for p in self.params]
        for p, e in zip(self.params, self.ema):
            p.data.copy_(e)

    def __exit__(self, *_):
        for p, k in zip(self.params, self.keep):
            p.data.copy_(k)


class Training:
    """The state of a training: weights, their moving average, optimizer, cases and time spent."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.half = has_bf16()
        self.net = network().to(memory_format=torch.channels_last_3d)
        self.opt = Both(self.net, options.lr, options.muon)
        self.params = list(self.net.parameters())
        self.checkpoint = options.out + ".ck"
        self.it, ema, spent = 0, None, 0.0
        if os.path.exists(self.checkpoint):
            s = torch.load(self.checkpoint, map_location="cpu", weights_only=True)
            self.net.load_state_dict(s["net"])
            self.it, ema = s["it"], s["ema"]
            if not options.restart:
                self.opt.load_state_dict(s["opt"])
                spent = s["spent"]
        elif options.init:
            s = torch.load(options.init, map_location="cpu", weights_only=True)
            self.net.load_state_dict({k: v.float() for k, v in s["net"].items()})
            self.it = s.get("it", 0)
        self.ema = ema or [p.detach().clone() for p in self.params]
        self.begin, self.start = self.it, time.time() - spent
        self.stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: self.stop.set())
        self.cases = Cases(options.data, options.real)
        paths = sorted(Path(options.unlabeled).glob("*.nii.gz")) if options.unlabeled else []
        self.unlabeled = [(path, load(path, 1)) for path in paths]
        counts = f"{len(self.cases.real)} CTs with labels, {len(paths)} without, {len(self.cases.bodies)} label maps"
        print(f"{counts}; step {self.it}", flush=True)

    def minutes(self) -> float:
        return (time.time() - self.start) / 60

    def save(self) -> None:
        """Everything to go on from, and the averaged weights in fp16; whole files or none."""
        state = {"net": self.net.state_dict(), "opt": self.opt.state_dict(), "ema": self.ema, "it": self.it}
        _save({**state, "spent": time.time() - self.start}, self.checkpoint)
        with Averaged(self.params, self.ema):
            memo = {}  # aliases of one tensor stay one tensor
            weights = {k: memo.setdefault(v.data_ptr(), v.half()) for k, v in self.net.state_dict().items()}
            _save({"base": 16, "it": self.it, "net": weights}, self.options.out)

    def label(self) -> None:
        """Label the CTs without labels, and keep the result beside them."""
        t = time.time()
        found = []
        with Averaged(self.params, self.ema):
            for path, img in self.unlabeled:
                lab, margin = predict(self.net, img, self.half)
                lab = plausible(lab, margin, img)
                found.append((img, lab))
                np.save(_pseudo(path), lab)
                ignored, labeled = (lab == IGNORE).mean(), ((lab > 0) & (lab < IGNORE)).mean()
                structures = len(np.unique(lab)) - 2
                print(f"{path.name}: ignored {ignored:.3f}, structures {structures}, labeled {labeled:.3f}", flush=True)
        self.cases.relabel(found)
        print(f"labeled anew in {time.time() - t:.0f} s", flush=True)

    def feed(self, ready: queue.Queue) -> None:
        """Make patches until the training ends, and paint a label map anew after every 25."""
        rng = np.random.default_rng()
        gen = torch.Generator()
        gen.manual_seed(int(rng.integers(2**62)))
        k = 0
        while not self.stop.is_set():
            k += 1
            if k % 25 == 0:
                self.cases.repaint(rng)
            ready.put(self.cases.patch(rng, gen))

    def learning_rate(self, progress: float) -> float:
        """A cosine over the time, after a few steps of warming up."""
        options, warm = self.options, 60 if self.options.restart else 10
        cosine = options.low + (1 - options.low) * (0.5 + 0.5 * math.cos(math.pi * progress))
        return options.lr * min(1, (self.it - self.begin + 1) / warm) * cosine

    def step(self, lr: float, x, y, known) -> float:
        """One step on a patch; its loss."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.half):
            feats = features(self.net, x.contiguous(memory_format=torch.channels_last_3d))
            loss = sampled_loss(self.net, feats, y, known, self.options.share)
        self.net.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.params, 3.0)
        if math.isfinite(norm):
            self.opt.step(lr)
        self.it += 1
        keep = min(self.options.average, self.it / (self.it + 20))
        torch._foreach_lerp_(self.ema, [p.detach() for p in self.params], 1 - keep)
        return loss.item()

    def run(self) -> None:
        if self.unlabeled and all(_pseudo(path).exists() for path, _ in self.unlabeled):
            self.cases.relabel([(img, np.load(_pseudo(path))) for path, img in self.unlabeled])
        elif self.unlabeled:
            self.label()
        ready = queue.Queue(maxsize=5)
        threading.Thread(target=self.feed, args=(ready,), daemon=True).start()
        mean, saved, waited = None, time.time(), 0.0
        while not self.stop.is_set() and self.it - self.begin < self.options.steps:
            progress = self.minutes() / self.options.minutes
            if progress >= 1:
                break
            lr = self.learning_rate(progress)
            t = time.time()
            patch = ready.get()
            waited += time.time() - t
            loss = self.step(lr, *patch)
            mean = loss if mean is None else mean * 0.98 + loss * 0.02
            if self.it % 50 == 0:
                at = f"{self.it} {self.minutes():.1f} min"
                print(f"{at} loss {mean:.3f} lr {lr:.1e} waited {waited:.0f} s", flush=True)
                waited = 0.0
            if time.time() - saved > SAVE_SECONDS:
                self.save()
                saved = time.time()
            if self.unlabeled and (self.it - self.begin) % self.options.relabel == 0:
                self.label()
        self.stop.set()
        self.save()
        print("done", self.it, flush=True)


def _save(state: dict, path: str) -> None:
    torch.save(state, path + ".tmp")
    os.replace(path + ".tmp", path)


def _pseudo(path: Path) -> Path:
    """Where the labels of a CT without labels are kept."""
    return path.with_name(path.name.replace(".nii.gz", "_pseudo.npy"))


def main() -> None:
    options = arguments()
    if "MALLOC_TRIM_THRESHOLD_" not in os.environ:  # glibc reads it at its start
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **KEEP})
    os.nice(19)
    torch.set_num_threads(os.cpu_count())
    torch.manual_seed(int(time.time()))
    Training(options).run()


if __name__ == "__main__":
    main()
