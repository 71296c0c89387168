"""CT-like volumes from label maps: what a scanner might have shown of a body of which only the structures are known.

Every array is (z, y, x) in RAS at 3 mm: x grows to the right, y to the front, z to the head.
"""

from __future__ import annotations

import numpy as np
import scipy.ndimage as nd
from bodies import ANGLES, SHELL, smooth_noise
from tissues import ID, values


def paint(m, rng, real=()):
    """Hounsfield units of a Body; ``real``: Between of CTs to take what lies between the structures from."""
    lab, sh = m.lab, m.lab.shape
    U, N = rng.uniform, rng.standard_normal
    looks = values(rng)
    fine = nd.gaussian_filter(N(sh).astype(np.float32), 0.7)
    fine /= fine.std()
    mid, wide = smooth_noise(sh, 3, rng), smooth_noise(sh, 9, rng)
    tube = np.abs(smooth_noise(sh, 4, rng)) + np.abs(np.roll(smooth_noise(sh, 4, rng), 2, 0))  # small along lines
    # body: around the structures a layer of muscle, fat of varying thickness, skin
    ring = smooth_noise((sh[0], ANGLES, 4), 12, rng)[:, :, 0]
    ring = (ring + ring[:, ::-1]) / 1.4
    thick = np.clip(np.exp(U(np.log(0.8), np.log(13))) * (1 + 0.3 * ring), 0.5, 18)
    layer = U(0.5, 4) * (1 + 0.3 * smooth_noise((sh[0], ANGLES, 4), 6, rng)[:, :, 0])
    big = m.wall + layer + thick
    slot = np.arange(sh[0])[:, None, None] * ANGLES + m.angle
    depth = big.reshape(-1)[slot] - m.r
    body = (depth > 0) | m.hull
    beyond = m.r - m.wall.reshape(-1)[slot]  # from the structures' outline to the outside
    fat = -105 + 10 * N() + 6 * mid + 5 * fine
    muscle = 55 + 8 * N() + 9 * fine + 6 * mid
    soft = (m.ribs < U(1.5, 3.5)) | (m.limbs < U(3, 7))
    soft &= (beyond < layer.reshape(-1)[slot]) & (mid > -1.4)
    soft |= (np.abs(beyond - U(-1, 0)) < layer.reshape(-1)[slot]) & (mid > -1.7)
    soft |= m.hull & (wide > U(0.2, 1.6)) & ~m.lung  # unlabelled organs, vessels, muscle
    img = np.where(soft, muscle, fat)
    vessel = U(-30, looks[1][ID["aorta"]]) if rng.random() < 0.7 else -60
    img = np.where((tube < 0.22) & ~soft, vessel, img)  # vessels and fasciae in fat
    _fill_from_ct(img, m, body, big, fine, rng, real)
    if rng.random() < 0.8:
        skin = body & (depth < 1.1) & ~m.hull
        img[skin] = U(-40, 40)
    fg = lab > 0
    img = _fill_structures(img, m, fg, (fine, mid, wide, tube), rng, looks)
    img = np.where(body | fg, img, -1000).astype(np.float32)
    _add_table(img, body, fg, rng)
    _add_arms(img, body | fg, depth, rng)
    img = _add_metal(img, m.bone, rng)
    return _scanned(img, m, rng)


def _fill_from_ct(img, m, body, big, fine, rng, real):
    """Most of the time, take what lies between the structures from a CT: same level, direction and depth."""
    lab, U = m.lab, rng.uniform
    real = [b for b in real if b.ok]
    if real and np.isfinite(m.level).any() and rng.random() < 0.65:
        b = real[rng.integers(len(real))]
        o = np.argsort(b.level[np.isfinite(b.level)])
        zs = np.flatnonzero(np.isfinite(b.level))[o]
        lv = b.level[zs]
        shift = U(-0.7, 0.7)
        cover = np.isfinite(m.level) & (m.level + shift > lv[0]) & (m.level + shift < lv[-1])
        if cover.any():
            zr = np.zeros(len(lab), int)
            zr[cover] = np.round(np.interp(m.level[cover] + shift, lv, zs)).astype(int)
            zz, yy, xx = np.nonzero(body & (lab == 0) & cover[:, None, None])
            tt = m.angle[zz, yy, xx]
            R, Q = big[zz, tt], b.big[zr[zz], tt]
            d = R - m.r[zz, yy, xx] + 1
            d = np.where(d < SHELL, d, SHELL + (d - SHELL) / np.maximum(1, R - SHELL) * np.maximum(0, Q - SHELL))
            img[zz, yy, xx] = (
                b.hu[zr[zz], tt, np.clip(np.round(d), 0, 95).astype(int)] + 10 * fine[zz, yy, xx] + U(-10, 10)
            )


def _fill_structures(img, m, fg, noises, rng, looks):
    """Structures as ``values`` lets them look, with what is in bones, heart, liver and lungs."""
    lab, sh, U = m.lab, m.lab.shape, rng.uniform
    fine, mid, wide, tube = noises
    ph, v, tex, medulla, dense = looks
    L = lab[fg]
    img[fg] = v[L] + tex[L] * (0.8 * fine[fg] + 0.5 * mid[fg])
    img[m.medulla] += medulla - v[ID["kidney_left"]]
    rim = m.bone & ~m.core
    img[rim] += U(0, 220) * dense
    img[m.core] -= U(0, 90) * dense
    heart = lab == ID["heart"]
    if heart.any() and ph:
        img[heart & (wide + 0.4 * mid > U(-0.8, 0.8))] += (U(40, 130), U(5, 40), U(0, 15))[ph - 1] * rng.choice([-1, 1])
    if heart.any():
        img[heart & (m.deep_heart < U(0.5, 5) + mid)] = U(45, 55 + 15 * ph)  # myocardium
    if ph > 1:
        img[(lab == ID["liver"]) & (tube < 0.28)] += U(5, 50)
    vessel = m.lung & (tube < 0.07 + 0.035 * m.deep_lung.astype(np.float32))
    img[vessel] = U(-200, v[ID["aorta"]])
    if m.lung.any():
        slope = np.linspace(1, -1, sh[1], dtype=np.float32)[None, :, None] * U(0, 90)
        img = np.where(m.lung & ~vessel, img + slope, img)
        if rng.random() < 0.2:
            img[m.lung & (wide + mid > U(1.3, 2.5))] = U(-600, 0)  # consolidation
    _fill_hollow(img, lab, mid, rng)
    return img


def _fill_hollow(img, lab, mid, rng):
    """What hollow organs hold: gas on top, fluid, stool, oral contrast agent."""
    U = rng.uniform
    for name, gas in (("stomach", 0.75), ("colon", 0.8), ("small_bowel", 0.4), ("duodenum", 0.3), ("esophagus", 0.4)):
        k = lab == ID[name]
        if not k.any():
            continue
        if rng.random() < 0.12:
            img[k & (mid > -0.7)] = U(120, 450)
        elif rng.random() < 0.5:
            img[k & (mid > U(-1, 0.5))] = U(-5, 35)
        if rng.random() < gas:
            ys = np.nonzero(k)[1]
            up = (np.arange(lab.shape[1]) - ys.mean()) / (ys.std() + 1)
            air = k & (mid * U(0.6, 1.2) + up[None, :, None] * (U(0.5, 2) if name == "stomach" else 0.3) > U(0.3, 1.3))
            img[air] = U(-980, -750)


def _add_table(img, body, fg, rng):
    """Often the table under the body."""
    sh, U = img.shape, rng.uniform
    rows = np.nonzero(body.any((0, 2)))[0]
    if rng.random() < 0.65 and len(rows):
        y0 = rows[0] - U(0, 4)
        x = np.arange(sh[2]) - sh[2] / 2 + U(-8, 8)
        top = y0 + U(0, 0.003) * x**2 - U(0, 3)
        t = U(2, 9)
        y = np.arange(sh[1])[:, None]
        plate = (y < top) & (y > top - t) & (np.abs(x) < U(55, 90))
        shell = plate & ((y > top - 1.2) | (y < top - t + 1.2))
        img[:, plate] = np.where(body[:, plate] | fg[:, plate], img[:, plate], U(-970, -800))
        s = U(-500, 150)
        img[:, shell] = np.where(body[:, shell] | fg[:, shell], img[:, shell], s)


def _add_arms(img, inside, depth, rng):
    """Now and then arms beside the body, cut by the field of view."""
    sh, U = img.shape, rng.uniform
    if rng.random() < 0.1:
        y, x = np.ogrid[: sh[1], : sh[2]]
        c = sh[1] * U(0.2, 0.8)
        z = slice(0, int(sh[0] * U(0.3, 1)))
        for side in (3, sh[2] - 3):
            d = np.sqrt((y - c) ** 2 + (x - side) ** 2)[None] + 0 * img[z]
            e = ~inside[z] & (depth[z] < -2)
            img[z] = np.where(
                e & (d < 13), np.where(d < 3.5, np.where(d < 2, 150, 700), np.where(d < 10, 55, -100)), img[z]
            )


def _add_metal(img, bone, rng):
    """Rarely a piece of metal in a bone, with streaks."""
    sh, U = img.shape, rng.uniform
    if rng.random() < 0.03 and bone.any():
        p = np.argwhere(bone)
        p = p[rng.integers(len(p))]
        z, y, x = np.ogrid[: sh[0], : sh[1], : sh[2]]
        dy, dx = y - p[1], x - p[2]
        star = (
            500
            * np.cos(np.arctan2(dy, dx) * rng.integers(3, 8) + U(0, 6))
            / (1 + 0.1 * np.hypot(dy, dx))
            * np.exp(-0.5 * ((z - p[0]) / 2.5) ** 2)
        )
        img = img + star.astype(np.float32)
        img[((z - p[0]) ** 2 + dy**2 + dx**2) < U(2, 9)] = 3000
    return img


def _scanned(img, m, rng):
    """What the scanner does: resolution, slice thickness, noise, streaks."""
    sh = img.shape
    U, N = rng.uniform, rng.standard_normal
    s = U(0.3, 0.65)
    img = nd.gaussian_filter(img, (s if rng.random() < 0.6 else U(0.5, 1.1), s, s))
    n = N(sh).astype(np.float32)
    k = U(0, 0.8)
    if k > 0.3:
        n = nd.gaussian_filter(n, (0.3 * k, k, k))
        n /= n.std()
    img += n * (np.exp(U(np.log(3), np.log(30))) * (1 + 0.02 * np.minimum(m.inner, 25)).astype(np.float32))
    if rng.random() < 0.15:
        line = nd.gaussian_filter1d(nd.gaussian_filter1d(N(sh).astype(np.float32), 10, 2), 0.6, 1)
        line *= (m.bone.sum((1, 2)) / (1 + m.bone.sum((1, 2)).max()))[:, None, None] / line.std()
        img += line.astype(np.float32) * U(8, 35)
    return np.maximum(img, -1024)
