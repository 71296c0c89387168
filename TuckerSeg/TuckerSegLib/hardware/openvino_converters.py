"""OpenVINO's converters of other programs' models, which ``import openvino`` imports, too: most of its time."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

_MODULE = "openvino.tools.ovc"


def leave_out_converters() -> None:
    """Let ``import openvino`` go without its converters from now on; it takes that for an installation without them.

    For processes of this program alone: ``openvino.convert_model`` is then not there.
    """
    if "openvino" not in sys.modules:
        sys.modules.setdefault(_MODULE, None)


def model_converter() -> Callable[..., Any]:
    """OpenVINO's ``convert_model``, whether it was left out or not."""
    if sys.modules.get(_MODULE, _MODULE) is None:
        del sys.modules[_MODULE]
    from openvino.tools.ovc import convert_model

    return convert_model
