"""The module's panel, one file per section. Widgets follow the parameter node; nothing here computes."""

from .panel import Panel

__all__ = ["Panel"]
