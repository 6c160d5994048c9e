"""The few SVG elements that plots are made of. Colours come from the page's style sheet, by class,
so that a plot follows light and dark; every text is escaped."""

import math
from collections.abc import Sequence
from xml.etree import ElementTree

CHARACTER_WIDTH = 6.6
"""Of a 12 px sans serif, on average: enough to keep labels apart."""


class Svg:
    """A drawing of fixed size in CSS pixels; `label` is what a screen reader says of it."""

    def __init__(self, width: int, height: int, *, label: str) -> None:
        self.root = ElementTree.Element(
            "svg",
            {
                "viewBox": f"0 0 {width} {height}",
                "width": str(width),
                "height": str(height),
                "role": "img",
                "aria-label": label,
            },
        )

    def line(self, x1: float, y1: float, x2: float, y2: float, *, style: str = "axis") -> None:
        ends = {"x1": number(x1), "y1": number(y1), "x2": number(x2), "y2": number(y2)}
        self._add("line", {"class": style, **ends})

    def rect(
        self, x: float, y: float, width: float, height: float, *, style: str, title: str = ""
    ) -> None:
        box = {
            "x": number(x),
            "y": number(y),
            "width": number(max(width, 0)),
            "height": number(max(height, 0)),
        }
        self._add("rect", {"class": style, **box}, title=title)

    def path(self, points: Sequence[tuple[float, float]], *, style: str, title: str = "") -> None:
        steps = "L".join(f"{number(x)} {number(y)}" for x, y in points)
        self._add("path", {"class": style, "d": f"M{steps}Z"}, title=title)

    def polyline(self, points: Sequence[tuple[float, float]], *, style: str) -> None:
        places = " ".join(f"{number(x)},{number(y)}" for x, y in points)
        self._add("polyline", {"class": style, "points": places})

    def style(self, rules: str) -> None:
        """Give a drawing that stands alone its own style sheet."""
        self._add("style", {}).text = rules

    def circle(self, x: float, y: float, radius: float, *, style: str, title: str = "") -> None:
        place = {"cx": number(x), "cy": number(y), "r": number(radius)}
        self._add("circle", {"class": style, **place}, title=title)

    def text(
        self, x: float, y: float, words: str, *, style: str = "label", anchor: str = "start"
    ) -> None:
        place = {"x": number(x), "y": number(y), "text-anchor": anchor}
        self._add("text", {"class": style, **place}).text = words

    def __str__(self) -> str:
        return ElementTree.tostring(self.root, encoding="unicode")

    def _add(self, tag: str, attributes: dict[str, str], *, title: str = "") -> ElementTree.Element:
        element = ElementTree.SubElement(self.root, tag, attributes)
        if title:
            ElementTree.SubElement(element, "title").text = title
        return element


def number(value: float) -> str:
    """Return a coordinate with at most two decimals: the same bytes wherever it is computed."""
    return f"{value:.2f}".rstrip("0").rstrip(".")


def power_of_ten(exponent: int) -> str:
    """Return `10⁻⁶`."""
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def round_steps(low: float, high: float, *, count: int = 5) -> list[float]:
    """Return about `count` round numbers from low to high, 1, 2 or 5 times a power of ten apart."""
    rough = (high - low) / count
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= rough)
    first = math.ceil(low / step)
    return [i * step for i in range(first, math.floor(high / step) + 1)]
