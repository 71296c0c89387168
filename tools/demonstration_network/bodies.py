"""The geometry of bodies: depth, direction and vertebral level, from label maps and from CTs.

Every array is (z, y, x) in RAS at 3 mm: x grows to the right, y to the front, z to the head.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage as nd
from tissues import BONES, CLASSES, ID, LIMBS, LUNG, RIBS, VERTEBRAE, ids, table

ANGLES = 128  # directions around a slice's centre
SHELL = 12  # voxels under the skin whose depth is kept; further in, depth is scaled to the other body
_PLACES = np.random.default_rng(0)


def smooth_noise(shape, sigma, rng):
    """Noise of unit variance with features of about sigma voxels."""
    k = max(1, int(sigma))
    a = nd.gaussian_filter(rng.standard_normal([s // k + 3 for s in shape]).astype(np.float32), 1.0)
    a /= a.std() + 1e-6
    for ax, s in enumerate(shape):  # linear, axis by axis
        g = np.arange(s, dtype=np.float32) / k + 0.5
        lo = g.astype(int)
        w = (g - lo).reshape([-1 if i == ax else 1 for i in range(3)])
        a = a.take(lo, ax) * (1 - w) + a.take(lo + 1, ax) * w
    return a


def far(mask, step=2):
    """Distance to a mask in voxels, computed on every second voxel."""
    small = mask[::step, ::step, ::step]
    if not small.any():
        return np.full(mask.shape, 99, np.float16)
    d = nd.distance_transform_edt(~small).astype(np.float32) * step
    for ax, s in enumerate(mask.shape):
        d = d.take(np.minimum((np.arange(s) + 1) // step, d.shape[ax] - 1), ax)
    return d.astype(np.float16)


def levels(lab):
    """Vertebra number (as label) at every z, NaN where no vertebra is near."""
    z, v = [], []
    for i in VERTEBRAE:
        k = np.flatnonzero((lab == i).any((1, 2)))
        if len(k) > 2:
            z.append(k.mean())
            v.append(i)
    if len(z) < 2:
        return np.full(len(lab), np.nan)
    g = np.arange(len(lab))
    o = np.argsort(z)
    z, v = np.array(z)[o], np.array(v, float)[o]
    r = np.interp(g, z, v)
    slope = (v[-1] - v[0]) / (z[-1] - z[0])
    r = np.where(g < z[0], v[0] + (g - z[0]) * slope, r)
    r = np.where(g > z[-1], v[-1] + (g - z[-1]) * slope, r)
    return np.where((r < v[0] - 3) | (r > v[-1] + 3), np.nan, r)


def polar(body):
    """A mask in polar coordinates around each slice's centre.

    Returns:
        Direction (z, y, x) as a number below ANGLES, distance from the centre (z, y, x) in voxels, the mask's radius in
        every direction (z, ANGLES), and the centre's y and x (z each).
    """
    z, y, x = body.shape
    area = np.maximum(1, body.sum((1, 2)))
    cy = nd.gaussian_filter1d((body.sum(2) * np.arange(y)).sum(1) / area, 3)
    cx = nd.gaussian_filter1d((body.sum(1) * np.arange(x)).sum(1) / area, 3)
    dy = (np.arange(y) - cy[:, None]).astype(np.float32)[:, :, None]
    dx = (np.arange(x) - cx[:, None]).astype(np.float32)[:, None, :]
    r = np.sqrt(dy * dy + dx * dx)
    t = ((np.arctan2(dy, dx) / (2 * np.pi) + 0.5) * ANGLES).astype(np.int16) % ANGLES
    big = np.zeros((z, ANGLES), np.float32)
    k = np.flatnonzero(body)
    np.maximum.at(big.reshape(-1), (k // (y * x)) * ANGLES + t.reshape(-1)[k], r.reshape(-1)[k])
    big = nd.maximum_filter1d(big, 3, axis=1, mode="wrap")
    return t, r, big, cy, cx


def body(img, least=1.0):
    """The body in every slice of a CT: the largest thing that is no air, and what has at least a share of its size."""
    m = np.zeros(img.shape, bool)
    for z in range(len(img)):
        c, n = nd.label(nd.binary_opening(img[z] > -300, iterations=2))
        if n:
            k = np.bincount(c.ravel())
            k[0] = 0
            m[z] = nd.binary_fill_holes((k >= k.max() * least)[c])
    return m


class Between:
    """What a real CT shows between its structures, by level, direction and depth under the skin.

    Attributes:
        ok: Whether there is anything to take from it; otherwise only ``level`` is there.
        level: Vertebra number (as label) of every slice.
        hu: Hounsfield units, (z, ANGLES, 96 voxels of depth).
        big: The body's radius in voxels, (z, ANGLES).
    """

    def __init__(self, img, lab):
        inside = body(img)
        usable = inside & (lab == 0) & (img < 120) & (img > -300)
        self.level = levels(lab)
        self.ok = np.isfinite(self.level).any() and usable.any()
        if not self.ok:
            return
        near = nd.distance_transform_edt(~usable, sampling=(3, 1, 1), return_distances=False, return_indices=True)
        filled = img[tuple(near)]
        _, _, big, cy, cx = polar(inside)
        a = (np.arange(ANGLES) + 0.5) / ANGLES * 2 * np.pi - np.pi
        d = np.arange(96)
        r = np.maximum(0, big[:, :, None] - d)
        q = np.broadcast_arrays(
            np.arange(len(img))[:, None, None],
            cy[:, None, None] + r * np.sin(a)[:, None],
            cx[:, None, None] + r * np.cos(a)[:, None],
        )
        self.hu = nd.map_coordinates(filled, np.stack(q), order=1, mode="nearest").astype(np.float32)
        self.big = big


class Body:
    """A label map with what painting needs to know of its geometry."""

    def __init__(self, lab):
        self.lab = lab
        hull = lab > 0
        for z in range(len(hull)):
            if hull[z].any():
                p = np.pad(hull[z], 16)
                d = nd.distance_transform_edt(~p) <= 14  # closed by discs
                hull[z] = nd.binary_fill_holes(nd.distance_transform_edt(d) > 14)[16:-16, 16:-16]
        self.hull = (nd.gaussian_filter(hull.astype(np.float32), (2, 1, 1)) > 0.5) | (lab > 0)
        self.angle, self.r, big, *_ = polar(self.hull)
        some = np.flatnonzero(self.hull.any((1, 2)))
        big = big[some[np.argmin(np.abs(np.arange(len(lab))[:, None] - some), 1)]]
        big = nd.grey_closing(big, (1, 36), mode="wrap")
        big = nd.grey_closing(np.pad(big, ((8, 8), (0, 0)), "edge"), (9, 1))[8:-8]
        # radius around all structures, smooth
        self.wall = nd.gaussian_filter1d(nd.gaussian_filter1d(big, 3, axis=1, mode="wrap"), 2, axis=0)
        self.inner = far(~self.hull)
        self.ribs = far(table(RIBS)[lab])
        self.limbs = far(table(LIMBS)[lab])
        self.bone = table(BONES)[lab]
        self.core = nd.binary_erosion(self.bone, iterations=1)
        self.lung = table(LUNG)[lab]
        self.deep_lung = np.minimum(far(~self.lung), 12)
        self.deep_heart = far(lab != ID["heart"])
        self.kidney = table(ids("kidney_left", "kidney_right"))[lab]
        self.medulla = self.kidney & (far(~self.kidney) > 3)
        self.level = levels(lab)
        self.points = points(lab)


def points(lab, rng=_PLACES):
    """Some places of every structure: pairs of a label and at most 1500 of its voxels, (n, 3)."""
    order = np.flatnonzero(lab)
    order = order[np.argsort(lab.reshape(-1)[order], kind="stable")]
    cls, first, n = np.unique(lab.reshape(-1)[order], return_index=True, return_counts=True)
    places = []
    for c, f, k in zip(cls, first, n):
        if c < CLASSES:
            some = rng.choice(order[f : f + k], min(k, 1500), replace=False)
            places.append((int(c), np.stack(np.unravel_index(some, lab.shape), 1).astype(np.float32)))
    return places
