"""Every means of compression in one allocation: each layer gets what costs the least error for what it saves.

It is asked for as a method is (``auto``), and gives the steps of the methods that carry it out: what is recorded and
stored are theirs. The names are imported on first use, so the command line has its options without torch.
"""

from __future__ import annotations

from ..faces import face

_HOME = {
    "Allocation": "steps",
    "POLICIES": "policies",
    "Spec": "spec",
    "add_options": "options",
    "allocate_steps": "steps",
    "material_spec": "steps",
    "policy_spec": "policies",
    "spec_of": "options",
}

__all__ = list(_HOME)  # noqa: PLE0605
__getattr__ = face(__name__, _HOME)
