"""Markup: elements of a page, which escape whatever they hold, because they are a tree until they are written."""

from collections.abc import Iterable
from typing import TypeAlias
from xml.etree import ElementTree as ET

from decopilot.cli.printing import printable

Element: TypeAlias = ET.Element
Child: TypeAlias = Element | str


def tag(name: str, /, *children: Child | Iterable[Child], **attributes: object) -> Element:
    """Make an element; `class_` is its class, `_` stands for `-` in the names of attributes."""
    names = ((key.rstrip("_").replace("_", "-"), value) for key, value in attributes.items() if value is not None)
    element = ET.Element(name, {key: _text(value) for key, value in names})
    for child in children:
        for one in [child] if isinstance(child, str | Element) else child:
            _add(element, one)
    return element


def _add(element: Element, child: Child) -> None:
    if not isinstance(child, str):
        element.append(child)
    elif len(element):
        element[-1].tail = (element[-1].tail or "") + printable(child)
    else:
        element.text = (element.text or "") + printable(child)


def _text(value: object) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else printable(str(value))


def written(root: Element) -> str:
    """Write a whole page."""
    return "<!doctype html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"
