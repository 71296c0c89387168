"""A Python as an application ships it, and small wheels that bear the names of the large ones."""

from __future__ import annotations

import subprocess
import venv
import zipfile
from pathlib import Path

import pip

NNUNET_IMPORT = "nnunetv2.utilities.plans_handling.plans_handler"
NNUNET_REQUIRES = (
    "torch>=2.1.2",
    "acvl-utils<0.3,>=0.2.6",
    "dynamic-network-architectures<0.5,>=0.4.4",
    "batchgenerators>=0.25.1",
    "blosc2>=3.3.2",
    "scikit-image>=0.19.3",
    "numpy>=1.24",
    "imagecodecs",
)
SHIPPED = (("numpy", "2.0.2"), ("scipy", "1.13.1"), ("SimpleITK", "2.5.0"))


def write_wheel(folder: Path, name: str, version: str, requires=(), modules=None) -> Path:
    """Write a wheel of modules, ``{dotted name: code}``; by default one of its own name."""
    stem = f"{name.replace('-', '_')}-{version}"
    files = {}
    for module, code in (modules or {name.replace("-", "_"): ""}).items():
        parts = module.split(".")
        for depth in range(1, len(parts)):
            files.setdefault("/".join(parts[:depth]) + "/__init__.py", "")
        files["/".join(parts) + "/__init__.py"] = code
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += [f"Requires-Dist: {text}" for text in requires]
    files[f"{stem}.dist-info/METADATA"] = "\n".join(metadata) + "\n"
    files[f"{stem}.dist-info/WHEEL"] = "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{stem}.dist-info/RECORD"] = "".join(f"{file},,\n" for file in files) + f"{stem}.dist-info/RECORD,,\n"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


def write_wheels(folder: Path) -> None:
    """Write all that is needed, and newer versions of what Slicer ships."""
    for name, _ in SHIPPED:
        write_wheel(folder, name, "99.0")
    write_wheel(folder, "torch", "2.13.0")
    write_wheel(folder, "nnunetv2", "2.8.1", NNUNET_REQUIRES, {NNUNET_IMPORT: "import acvl_utils, skimage"})
    write_wheel(folder, "acvl-utils", "0.2.6", ("connected-components-3d",), {"acvl_utils": "import blosc2"})
    write_wheel(folder, "acvl-utils", "0.3.0")
    write_wheel(folder, "scikit-image", "0.26.0", ("numpy>=1.24",), {"skimage": ""})
    for name, version in (
        ("dynamic-network-architectures", "0.4.4"),
        ("batchgenerators", "0.25.5"),
        ("blosc2", "4.14.1"),
        ("threadpoolctl", "3.8.0"),
        ("connected-components-3d", "4.1.1"),
        ("imagecodecs", "2026.3.6"),
        ("tensorly", "0.10.0"),
        ("nibabel", "5.4.2"),
        ("openvino", "2026.4.1"),
    ):
        write_wheel(folder, name, version)
    write_wheel(folder, "safetensors", "0.8.0", modules={"safetensors.torch": ""})


class SlicersPython:
    """The Python of an application: it ships some packages, and pip."""

    def __init__(self, folder: Path):
        venv.create(folder, with_pip=False, symlinks=True)
        self.site = next(folder.glob("**/site-packages"))
        self.executable = next(folder.glob("*/python"))
        (folder / "pip").mkdir()
        (folder / "pip" / "pip").symlink_to(Path(pip.__file__).parent)
        (self.site / "pip.pth").write_text(str(folder / "pip"))
        shipped = folder / "shipped"
        shipped.mkdir()
        for name, version in SHIPPED:
            modules = {"scipy.ndimage": ""} if name == "scipy" else None
            self.unpack(write_wheel(shipped, name, version, modules=modules))

    def pip_install(self, *arguments) -> None:
        subprocess.run([self.executable, "-m", "pip", "install", "-q", "--no-index", *map(str, arguments)], check=True)

    def unpack(self, wheel: Path) -> None:
        """What pip does with such a small wheel, in a hundredth of the time."""
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(self.site)

    def installed(self) -> dict[str, str]:
        listed = (path.name.removesuffix(".dist-info").split("-") for path in self.site.glob("*.dist-info"))
        return {name.lower().replace("_", "-"): version for name, version in listed}

    def shipped(self) -> tuple[tuple[str, str], ...]:
        installed = self.installed()
        return tuple((name, installed[name.lower()]) for name, _ in SHIPPED)
