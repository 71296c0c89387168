"""The structures, which of them belong together, and what each looks like on a CT in Hounsfield units."""

from __future__ import annotations

import numpy as np

from TuckerSegLib import catalog

NAMES = dict(catalog.task("total").structures)
CLASSES = 1 + len(NAMES)

ID = {n: i for i, n in NAMES.items()}


def ids(*parts: str) -> list[int]:
    """Labels whose name holds one of the parts."""
    return [i for i, n in NAMES.items() if any(p in n for p in parts)]


def table(labels: list[int]) -> np.ndarray:
    """Lookup of a label's membership: 256 booleans, to be indexed with a label map."""
    t = np.zeros(256, bool)
    t[labels] = True
    return t


LUNG = ids("lung")
VERTEBRAE = list(range(26, 51))
BONES = ids("vertebrae", "sacrum", "rib_", "clavicula", "sternum", "scapula", "humerus", "femur", "hip_", "skull")
RIBS = ids("rib_", "sternum", "costal")
LIMBS = ids("clavicula", "scapula", "humerus", "femur", "hip_", "sacrum", "vertebrae_C", "skull", "gluteus")
ARTERIES = ids("aorta", "artery", "brachiocephalic_trunk")
LEFT_HEART = ids("pulmonary_vein", "atrial_appendage")
UPPER_VEINS = ids("brachiocephalic_vein", "superior_vena")

# Share of the contrast phases (unenhanced, arterial, portal venous, delayed), and mean Hounsfield units in each.
PHASES = (0.27, 0.15, 0.43, 0.15)
BLOOD = {
    "artery": (42, 290, 150, 112),
    "left heart": (42, 240, 145, 112),
    "upper vein": (42, 190, 140, 110),
    "cava": (40, 90, 130, 110),
    "portal": (42, 80, 165, 115),
    "iliac vein": (41, 48, 105, 110),
}
ORGANS = {
    "liver": (56, 70, 108, 92),
    "spleen": (48, 115, 122, 98),
    "pancreas": (38, 95, 90, 72),
    "adrenal": (25, 55, 70, 55),
    "thyroid_gland": (100, 180, 150, 130),
    "prostate": (38, 55, 62, 58),
    "esophagus": (32, 40, 48, 45),
    "brain": (34, 36, 38, 38),
    "spinal_cord": (32, 34, 36, 36),
    "urinary_bladder": (6, 6, 8, 60),
    "gallbladder": (10, 10, 10, 12),
    "kidney_cyst": (8, 8, 10, 10),
    "stomach": (30, 38, 42, 40),
    "duodenum": (32, 48, 55, 48),
    "small_bowel": (28, 48, 52, 45),
    "colon": (25, 35, 38, 35),
    "heart": (42, 170, 125, 105),
    "gluteus": (54, 55, 60, 60),
    "autochthon": (54, 55, 60, 60),
    "iliopsoas": (56, 57, 63, 62),
}
# Standard deviation in Hounsfield units: between bodies where it is not 8, and within a structure.
ORGAN_SPREAD = {"liver": 13, "thyroid_gland": 25, "urinary_bladder": 9, "heart": 20}
TEXTURE = {
    "liver": 8,
    "spleen": 8,
    "pancreas": 18,
    "kidney": 10,
    "stomach": 22,
    "small_bowel": 26,
    "colon": 45,
    "duodenum": 20,
    "gluteus": 14,
    "autochthon": 16,
    "iliopsoas": 11,
    "lung": 28,
    "vertebrae": 45,
    "sacrum": 60,
    "rib": 60,
    "costal": 35,
    "hip": 70,
    "femur": 60,
    "humerus": 60,
    "scapula": 70,
    "sternum": 40,
    "skull": 120,
    "esophagus": 16,
}


def values(rng):
    """What the structures of one body look like, in Hounsfield units.

    Returns:
        The contrast phase (0 to 3), the mean and texture of every label (256 each), the mean of the kidneys' medulla,
        and how dense the bones are (1: as usual).
    """
    ph = rng.choice(4, p=PHASES)
    N = rng.standard_normal
    v = np.full(256, 50.0, np.float32) + 8 * N(256).astype(np.float32)
    tex = np.full(256, 9.0, np.float32)
    for part, t in TEXTURE.items():
        tex[ids(part)] = t
    flow = {k: b[ph] * (1 + (0.04 if ph == 0 else 0.2) * N()) for k, b in BLOOD.items()}
    for part, m in ORGANS.items():
        for i in ids(part):
            v[i] = m[ph] + ORGAN_SPREAD.get(part, 8) * N()
    for part in ("gluteus", "autochthon", "iliopsoas"):
        m = N()
        for i in ids(part):
            v[i] = ORGANS[part][ph] + 8 * m + 3 * N()
    if rng.random() < 0.18:
        v[ID["liver"]] -= rng.uniform(10, 50)  # fatty
    for k, names in (
        ("artery", ARTERIES),
        ("left heart", LEFT_HEART),
        ("cava", ids("inferior_vena")),
        ("portal", ids("portal")),
        ("iliac vein", ids("iliac_vena")),
    ):
        for i in names:
            v[i] = flow[k] * (1 + 0.04 * N())
    for i in UPPER_VEINS:
        v[i] = flow["upper vein"] * (rng.uniform(0.25, 2.2) if ph == 1 else 1)
    cortex = (32, 165, 190, 155)[ph] * (1 + 0.12 * N())
    medulla = (31, 65, 150, 165)[ph] * (1 + 0.12 * N())
    for i in ids("kidney_left", "kidney_right"):
        v[i] = cortex * (1 + 0.03 * N())
    for i in LUNG:
        v[i] = rng.uniform(-900, -760)
    for i in LUNG:
        v[i] = v[LUNG[0]] + 20 * N()
    v[ID["trachea"]] = -960 + 20 * N()
    dense = rng.uniform(0.6, 1.35)
    for part, m in (
        ("vertebrae", 190),
        ("sacrum", 170),
        ("rib", 270),
        ("clavicula", 330),
        ("sternum", 170),
        ("scapula", 300),
        ("humerus", 260),
        ("femur", 270),
        ("hip", 240),
        ("skull", 750),
    ):
        k = m * dense * (1 + 0.1 * N())
        for i in ids(part):
            v[i] = k * (1 + 0.06 * N())
    v[ID["costal_cartilages"]] = rng.uniform(80, 180)
    return ph, v, tex, medulla, dense
