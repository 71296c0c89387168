"""Colors of words: a warning is seen as one, and can be read, on a light background and on a dark one.

Contrast is that of the Web Content Accessibility Guidelines 2.1 (WCAG): the ratio of two luminances, from 1 to 21.
"""

from __future__ import annotations

Color = tuple[int, int, int]  # red, green and blue, 0 to 255

HUES: dict[str, Color] = {"good": (46, 125, 50), "fair": (178, 106, 0), "warning": (178, 106, 0), "bad": (198, 40, 40)}
LOWEST_CONTRAST = 4.5  # WCAG 2.1, level AA, for text of normal size
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
STEPS = 20


def readable_color(hue: str, background: Color) -> Color:
    """A hue as light or as dark as it must be to be read on a background.

    Args:
        hue: In ``HUES``.
    """
    color = HUES[hue]
    end = max(WHITE, BLACK, key=lambda extreme: contrast(extreme, background))
    for step in range(STEPS + 1):
        mixed = tuple(round(own + (other - own) * step / STEPS) for own, other in zip(color, end))
        if contrast(mixed, background) >= LOWEST_CONTRAST:
            return mixed
    return end


def contrast(one: Color, other: Color) -> float:
    """The contrast of two colors."""
    darker, lighter = sorted((_luminance(one), _luminance(other)))
    return (lighter + 0.05) / (darker + 0.05)


def hexadecimal(color: Color) -> str:
    """A color as style sheets write it."""
    return "#" + "".join(f"{part:02x}" for part in color)


def _luminance(color: Color) -> float:
    """Relative luminance of a color of sRGB, 0 to 1."""
    shares = (part / 255 for part in color)
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
