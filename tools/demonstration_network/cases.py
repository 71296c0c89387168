"""Cases to learn from, and augmented patches of them."""

from __future__ import annotations

import glob

import numpy as np
import scipy.ndimage as nd
import torch
import torch.nn.functional as F
from bodies import Between, Body, points
from network import CLIP, IGNORE, MEAN, SIZE, STD, load
from painting import paint

# How patches are deformed: radians, factors, the share that is bent, and by how many voxels.
AUG = {"rotation": 0.22, "zoom": 1.2, "aspect": 0.08, "elastic": 0.6, "voxels": 3.0}
AUG_PAINTED = {"rotation": 0.25, "zoom": 1.3, "aspect": 0.14, "elastic": 0.8, "voxels": 4.5}


class Case:
    """An image and its labels, ready to be sampled; ``real``: a scanner's, else painted."""

    def __init__(self, img, lab, weight, real=True, pts=None):
        self.img, self.lab = (torch.from_numpy(np.ascontiguousarray(k, np.float32))[None, None] for k in (img, lab))
        self.points = points(lab) if pts is None else pts
        self.weight, self.real = weight, real
        self.shape = np.array(lab.shape)


class Cases:
    """Everything that there is to learn from.

    Args:
        data: Folder with the CTs of LABELED and, in ``labels``, label maps to be painted.
        real: Share of patches from CTs.
    """

    # image, labels, how often it is drawn
    LABELED = (
        ("example_ct", "example_seg", 3.0),
        ("ts_s0002", "ts_s0002_seg", 1.0),
        ("ts_s0003", "ts_s0003_seg", 1.0),
        ("synthetic_torso", "synthetic_torso_labels", 2.0),
    )

    def __init__(self, data, real):
        self.real, self.pseudo, self.between, self.p_real = [], [], [], real
        for c, s, w in self.LABELED:
            img, lab = load(f"{data}/{c}.nii.gz", 1), load(f"{data}/{s}.nii.gz", 0)
            self.real.append(Case(img, lab, w))
            if c != "synthetic_torso":
                self.between.append(Between(img, lab))
        self.between_labeled = list(self.between)
        self.bodies = [Body(load(p, 0)) for p in sorted(glob.glob(f"{data}/labels/*.nii.gz"))]
        self.painted = [None] * len(self.bodies)
        rng = np.random.default_rng()
        for i in range(len(self.bodies)):
            self.repaint(rng, i)

    def repaint(self, rng, i=None):
        """Paint a label map anew, any of them for None."""
        w = np.array([b.lab.size**0.5 for b in self.bodies])
        i = rng.choice(len(w), p=w / w.sum()) if i is None else i
        b = self.bodies[i]
        self.painted[i] = Case(paint(b, rng, self.between), b.lab, b.lab.size**0.4, False, b.points)

    def relabel(self, cases):
        """Replace the CTs without labels: pairs of an image and what it was labeled with."""
        self.pseudo = [Case(img, lab, 0.8) for img, lab in cases]
        self.between = self.between_labeled + [Between(img, np.where(lab == IGNORE, 0, lab)) for img, lab in cases]

    def patch(self, rng, gen, n=SIZE):
        """An augmented patch: image (1, 1, n, n, n), labels and whether they are known, (1, n, n, n) each."""
        group = self.real + self.pseudo if rng.random() < self.p_real else self.painted
        w = np.array([c.weight for c in group])
        c = group[rng.choice(len(w), p=w / w.sum())]
        a = AUG if c.real else AUG_PAINTED
        if rng.random() < 0.75:
            _, pts = c.points[rng.integers(len(c.points))]
            at = pts[rng.integers(len(pts))] + rng.uniform(-n * 0.35, n * 0.35, 3)
        else:
            at = rng.uniform(0, 1, 3) * c.shape
        half = np.minimum(n / 2, c.shape / 2)
        at = np.clip(at, half - n * 0.12, c.shape - half + n * 0.12)
        q = _places(at, n, a, rng, gen)
        top = torch.tensor(c.shape, dtype=torch.float32)[:, None, None, None]
        inside = ((q > -0.5) & (q < top - 0.5)).all(0)
        grid = ((q + 0.5) * 2 / top - 1).flip(0).permute(1, 2, 3, 0)[None]
        x = F.grid_sample(c.img, grid, "bilinear", "border", align_corners=False)[0, 0]
        y = F.grid_sample(c.lab, grid, "nearest", "border", align_corners=False)[0, 0].round().long()
        x = _scanned(x, c.real, rng, gen)
        inside = _field_of_view(inside, rng)
        if inside.float().mean() < 0.01:
            return self.patch(rng, gen)  # nothing to learn from
        x = (x.clamp(*CLIP) - MEAN) / STD * inside  # nnU-Net pads with 0 after normalization
        known = inside & (y != IGNORE)
        return x[None, None], (y * known)[None], known[None]


def _places(at, n, a, rng, gen):
    """Where a patch around a place lies in the case, (3, n, n, n) in voxels.

    Never mirrored: there are hardly any such bodies, and pairs are told apart by their side alone.
    """
    r = rng.uniform(-1, 1, 3) * a["rotation"] * (1 if rng.random() < 0.5 else 0.3)
    s = np.exp(rng.uniform(-1, 1) * np.log(a["zoom"]) + rng.uniform(-1, 1, 3) * a["aspect"])
    (cz, cy, cx), (sz, sy, sx) = np.cos(r), np.sin(r)
    R = (
        np.array([[1, 0, 0], [0, cz, -sz], [0, sz, cz]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[cx, -sx, 0], [sx, cx, 0], [0, 0, 1]])
    )
    A = torch.from_numpy((R @ np.diag(s)).astype(np.float32))
    g = torch.arange(n, dtype=torch.float32) - n / 2 + 0.5
    q = (
        A[:, 0, None, None, None] * g[:, None, None]
        + A[:, 1, None, None, None] * g[:, None]
        + A[:, 2, None, None, None] * g
        + torch.from_numpy(at.astype(np.float32))[:, None, None, None]
    )
    if rng.random() < a["elastic"]:
        k = int(rng.integers(4, 7))
        q += F.interpolate(
            torch.randn((1, 3, k, k, k), generator=gen) * rng.uniform(0.3, a["voxels"]),
            size=(n,) * 3,
            mode="trilinear",
            align_corners=True,
        )[0]
    return q


def _scanned(x, real, rng, gen):
    """What scanners do: resolution, noise, calibration, contrast."""
    if rng.random() < 0.15:
        x = torch.from_numpy(nd.gaussian_filter(x.numpy(), (rng.uniform(0, 1.1), *[rng.uniform(0.2, 0.8)] * 2)))
    if rng.random() < 0.4:
        x = x + torch.randn(x.shape, generator=gen) * rng.uniform(0, 25)
    if rng.random() < 0.5:
        x = x * rng.uniform(0.93, 1.07) + rng.uniform(-15, 15)
    if rng.random() < 0.3 and real:  # more or less contrast between soft tissues
        m = (x > -20) & (x < 300)
        x = torch.where(m, 50 + (x - 50) * rng.uniform(0.6, 1.4), x)
    return x


def _field_of_view(inside, rng):
    """Now and then a small field of view: slabs, necks, single organs."""
    n = len(inside)
    if rng.random() < 0.3:
        for ax in range(3):
            if rng.random() < 0.5:
                k = int(rng.uniform(0.2, 0.95) * n)
                o = rng.integers(0, n - k + 1)
                out = torch.ones(n, dtype=torch.bool)
                out[o : o + k] = False
                inside = inside & ~out.view([-1 if i == ax else 1 for i in range(3)])
    return inside
