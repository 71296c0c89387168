"""Models on this computer: where they lie, and how they come here.

Downloaded and imported models lie in TuckerSeg's own folder, which is not the cache: clearing the cache leaves them.
Models of TotalSegmentator and nnU-Net are used where they lie. Importing this package imports neither torch nor
nnunetv2, so that an application can ask what is installed.
"""

from .places import (
    ImportedModel,
    find_part,
    imported_models,
    installed,
    is_installed,
    locate,
    models_folder,
    refusal,
    search_folders,
)

__all__ = [
    "ImportedModel",
    "find_part",
    "imported_models",
    "installed",
    "is_installed",
    "locate",
    "models_folder",
    "refusal",
    "search_folders",
]
