"""Interpret SGR sequences, which set colors and text styles."""

from __future__ import annotations

from dataclasses import dataclass, replace

MAX_CODES = 64
_ATTRIBUTES = {1: "bold", 2: "dim", 3: "italic", 4: "underline", 7: "inverse", 9: "strike", 21: "underline"}
_RESETS = {
    22: {"bold", "dim"},
    23: {"italic"},
    24: {"underline"},
    27: {"inverse"},
    29: {"strike"},
}
_CODES = {"bold": 1, "dim": 2, "italic": 3, "underline": 4, "inverse": 7, "strike": 9}


@dataclass(frozen=True, slots=True)
class Style:
    """The appearance of text. A color is an index of the 256-color palette, `#rrggbb`, or None for the default."""

    attributes: frozenset[str] = frozenset()
    color: int | str | None = None
    background: int | str | None = None
    link: str | None = None


PLAIN = Style()


def restyled(style: Style, parameters: str) -> Style:
    """Return the style after an SGR sequence with these parameters, such as `1;31`. Ignore invalid codes."""
    fields = parameters.split(";")[:MAX_CODES]
    while fields:
        field = fields.pop(0)
        code, *details = map(number, field.split(":"))
        if code in (38, 48, 58):
            color = _direct_color(details) if details else _next_color(fields)
            if code == 38 and color is not None:
                style = replace(style, color=color)
            elif code == 48 and color is not None:
                style = replace(style, background=color)
        elif code == 4 and details[:1] == [0]:
            style = _apply(style, 24)
        else:
            style = _apply(style, code)
    return style


def number(text: str, default: int = 0) -> int:
    """Return a parameter of a sequence: the default if it is missing, and a large number if it is too long."""
    return int(text[:6]) if text.isascii() and text.isdigit() else default


def sgr(style: Style) -> str:
    """Return the SGR parameters that set exactly this style."""
    codes = [code for name, code in _CODES.items() if name in style.attributes]
    parts = ["0", *map(str, codes), *_color_codes(style.color, 30), *_color_codes(style.background, 40)]
    return ";".join(parts)


def _color_codes(color: int | str | None, base: int) -> list[str]:
    if color is None:
        return []
    if isinstance(color, int):
        if color < 16:
            return [str(base + color if color < 8 else base + 52 + color)]
        return [f"{base + 8};5;{color}"]
    red, green, blue = (int(color[at : at + 2], 16) for at in (1, 3, 5))
    return [f"{base + 8};2;{red};{green};{blue}"]


def _apply(style: Style, code: int) -> Style:
    if code == 0:
        return Style(link=style.link)
    if code in _ATTRIBUTES:
        return replace(style, attributes=style.attributes | {_ATTRIBUTES[code]})
    if code in _RESETS:
        return replace(style, attributes=style.attributes - _RESETS[code])
    base, bright = (code - 60, 8) if code >= 90 else (code, 0)
    if not 30 <= base <= 49 or base % 10 == 8 or (bright and base % 10 == 9):
        return style
    color = None if base % 10 == 9 else base % 10 + bright
    return replace(style, color=color) if base < 40 else replace(style, background=color)


def _next_color(fields: list[str]) -> int | str | None:
    """Return the color at the start of the fields, as in `5;n` or `2;r;g;b`, and remove it from them."""
    kind = number(fields.pop(0)) if fields else 0
    count = {5: 1, 2: 3}.get(kind, 0)
    values, fields[:count] = [number(field) for field in fields[:count]], []
    return _color(kind, values)


def _direct_color(details: list[int]) -> int | str | None:
    """Return the color in `5:n`, `2:r:g:b`, or `2:<color space>:r:g:b`."""
    kind, *values = details
    return _color(kind, values[1:4] if kind == 2 and len(values) > 3 else values)


def _color(kind: int, values: list[int]) -> int | str | None:
    if kind == 5 and values[:1] and values[0] < 256:
        return values[0]
    if kind == 2 and len(values) >= 3 and max(values[:3]) < 256:
        return "#{:02x}{:02x}{:02x}".format(*values[:3])
    return None
