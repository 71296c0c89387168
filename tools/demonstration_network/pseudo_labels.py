"""Labels for CTs without labels: what the network itself is sure of and a body could have."""

from __future__ import annotations

import math

import numpy as np
import scipy.ndimage as nd
import torch
import torch.nn.functional as F
from bodies import body
from network import CLIP, IGNORE, MEAN, SIZE, STD, features
from tissues import BONES, CLASSES, LUNG, NAMES, VERTEBRAE, ids, table


@torch.no_grad()
def predict(net, img, half, step=0.5):
    """The most probable structure of every voxel and its margin over the next, from overlapping patches.

    Args:
        img: Hounsfield units, (z, y, x).
        half: Whether to compute in bf16.
        step: From patch to patch, as a share of the patch's edge.
    """
    x = torch.from_numpy((np.clip(img, *CLIP) - MEAN) / STD).float()
    sh = x.shape
    pad = [max(0, SIZE - s) for s in sh]
    lo = [p // 2 for p in pad]
    x = F.pad(x, [k for p, before in zip(pad[::-1], lo[::-1]) for k in (before, p - before)])
    g = torch.exp(-0.5 * ((torch.arange(SIZE) - SIZE / 2 + 0.5) / (SIZE / 6)) ** 2)
    w = (g[:, None, None] * g[:, None] * g).clamp(min=1e-3).half()
    sums = torch.zeros((CLASSES, *x.shape), dtype=torch.half)
    starts = [np.linspace(0, s - SIZE, 1 + math.ceil((s - SIZE) / (SIZE * step))).round().astype(int) for s in x.shape]
    for a in starts[0]:
        for b in starts[1]:
            for c in starts[2]:
                at = (slice(a, a + SIZE), slice(b, b + SIZE), slice(c, c + SIZE))
                with torch.autocast("cpu", torch.bfloat16, enabled=half):
                    patch = x[at][None, None].contiguous(memory_format=torch.channels_last_3d)
                    z = net.decoder.seg_layers[-1](features(net, patch)[-1])[0]
                sums[(slice(None), *at)] += z.softmax(0).half() * w
    sums = sums[(slice(None), *(slice(k, k + s) for k, s in zip(lo, sh)))]
    p, k = sums.topk(2, 0)
    total = sums.sum(0, dtype=torch.float32).clamp(min=1e-6)
    return k[0].numpy().astype(np.uint8), ((p[0] - p[1]).float() / total).numpy()


# Well below the top of the lungs.
ABDOMEN = [
    "liver",
    "spleen",
    "kidney",
    "stomach",
    "bowel",
    "colon",
    "duodenum",
    "pancreas",
    "bladder",
    "adrenal",
    "portal",
    "iliopsoas",
    "iliac",
    "hip_",
    "femur",
    "gluteus",
    "sacrum",
    "vertebrae_L",
]
# May be darker or brighter than organs and muscles.
NOT_SOLID = [
    "trachea",
    "stomach",
    "bowel",
    "colon",
    "duodenum",
    "esophagus",
    "costal",
    "thyroid",
    "aorta",
    "vein",
    "vena",
    "artery",
    "heart",
]
# Left or right of the spine.
PAIRED = [
    "kidney",
    "adrenal",
    "rib_",
    "scapula",
    "clavicula",
    "humerus",
    "femur",
    "hip_",
    "gluteus",
    "autochthon",
    "iliopsoas",
    "lung_lower",
    "lung_upper",
]


def steady(order, centers):
    """The longest run of structures whose centers follow their order."""
    best = []
    for i, c in enumerate(centers):
        best.append(max([best[j] for j in range(i) if centers[j] < c], key=len, default=[]) + [order[i]])
    return set(max(best, key=len, default=[]))


def plausible(lab, margin, img, sure=0.5):
    """The labels that are worth learning from; IGNORE elsewhere.

    Args:
        lab, margin: What ``predict`` gives, (z, y, x).
        img: Hounsfield units.
        sure: Least margin.
    """
    out = np.where(margin > sure, lab, IGNORE).astype(np.uint8)
    lung = table(LUNG)[lab] & (margin > sure)
    # vessels belong to the lobe around them
    hole = nd.binary_closing(np.pad(lung, 4), iterations=3)[4:-4, 4:-4, 4:-4] & (lab == 0)
    if hole.any():
        near = nd.distance_transform_edt(~lung, return_distances=False, return_indices=True)
        out[hole] = lab[tuple(near)][hole]
        lab = np.where(hole, out, lab)
    out[~body(img, 0.1)] = 0
    bone, lung = table(BONES)[lab], table(LUNG)[lab] & ~hole
    out[bone & (img < 20)] = IGNORE
    out[lung & (nd.gaussian_filter(img, 1.5) > -250)] = IGNORE
    solid = (lab > 0) & ~bone & ~lung & ~hole & ~table(ids(*NOT_SOLID))[lab]
    out[solid & ((img < -150) | (img > 400))] = IGNORE
    missed = (lab == 0) & (img > 180) & (nd.gaussian_filter(img, 1) > 120)  # bone or contrast agent
    out[missed] = IGNORE
    _ignore_by_place(out, lab, _ignore_fragments(out, lab))
    return out


def _ignore_fragments(out, lab):
    """Ignore what is not connected to a structure's largest part; the centers of these parts, (z, y, x) by label."""
    centers = {}
    for i, box in enumerate(nd.find_objects(lab), 1):
        if box is None or i >= CLASSES:
            continue
        c, n = nd.label(lab[box] == i)
        size = np.bincount(c.ravel())[1:]
        big = 1 + size.argmax()
        wrong = (c > 0) & (c != big) if size.max() > 20 else c > 0
        if i in ids("colon", "bowel", "costal"):
            wrong = (c > 0) & (np.append(0, size)[c] < 100)
        out[box][wrong] = IGNORE
        centers[i] = np.array([b.start for b in box]) + nd.center_of_mass(c == big)
    return centers


def _ignore_by_place(out, lab, centers):
    """Ignore structures where none can be: above the lungs, out of order, on the wrong side."""
    boxes = enumerate(nd.find_objects(lab), 1)
    lungs = [b[0].stop for i, b in boxes if b and i in LUNG and (lab[b] == i).sum() > 2000]
    if lungs:
        for i in ids(*ABDOMEN):  # no liver in the brain
            if i in centers and centers[i][0] > max(lungs) - 12:
                out[lab == i] = IGNORE
    spine = [i for i in VERTEBRAE if i in centers]
    good = steady(spine, [centers[i][0] for i in spine])
    for side in ("left", "right"):
        ribs = [i for i in ids(f"rib_{side}") if i in centers]
        good |= steady(ribs, [-centers[i][0] for i in ribs])
    for i in (*VERTEBRAE, *ids("rib_")):
        if i in centers and i not in good:
            out[lab == i] = IGNORE
    if spine:  # sides, seen from the spine
        mid = np.interp(np.arange(len(lab)), *np.array(sorted((centers[i][0], centers[i][2]) for i in spine)).T)
        dx = np.arange(lab.shape[2])[None, None] - mid[:, None, None]
        pair = ids(*PAIRED)
        left, right = (table([i for i in pair if s in NAMES[i]])[lab] for s in ("left", "right"))
        out[(left & (dx > 3)) | (right & (dx < -3))] = IGNORE
