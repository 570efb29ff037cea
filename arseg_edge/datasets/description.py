"""``dataset.yaml``: what the plain layout says of itself.

::

    classes:                        # in the order of their values in the labels, from 0
      ground: [128, 64, 128]        # red, green, blue
      plant: "#006400"
      robot: [255, 0, 0]
    values: {0: ground, 255: plant} # of grey labels, which value is which class; left out where they are in order
    ignored: [255, [0, 0, 0]]       # values and colours that count for no class; [255] where this is left out
    frame_rate: 30000/1001          # of image folders, a second; 25 where this is left out
    splits:                         # left out where there are none
      train: [north, "south-[0-9]"] # names of clips, or regular expressions for several
      val: [west]

Classes without colours are a list: ``classes: [ground, plant, robot]``.

Without ``values``, the classes have the values from 0 on that are not ignored: with ``ignored: [0]`` the first class
has 1. A mask of 0 and 255 needs ``values: {0: background, 255: person}``; several values may be one class.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from arseg_edge.errors import DatasetError, UsageError
from arseg_edge.palette import ClassSet, Colour, distinct_colours
from arseg_edge.runtime.source.base import NOMINAL_RATE

FILE: Final = "dataset.yaml"
_KEYS: Final = ("classes", "values", "ignored", "frame_rate", "splits")
_MOST_CLASSES: Final = 255
_COLOUR_HINT: Final = 'give [red, green, blue], 0 to 255 each, or "#rrggbb" in quotes'


@dataclass(frozen=True)
class Description:
    """What a ``dataset.yaml`` says."""

    classes: ClassSet
    label_values: Mapping[int, int]
    """Value in a grey label → class index."""
    ignored_values: frozenset[int]
    assumes_ignored: bool
    """Whether 255 is ignored because nothing says what it is."""
    ignored_colours: frozenset[Colour]
    frame_rate: Fraction
    splits: Mapping[str, tuple[str, ...]]
    """Name of the split → names or patterns of its clips."""


def read_description(path: Path) -> Description:
    """Read a ``dataset.yaml``.

    Raises:
        DatasetError: it cannot be read, is no YAML, or says something that makes no sense.
        UsageError: PyYAML is not installed.
    """
    content = _load(path)
    if not isinstance(content, dict) or "classes" not in content:
        raise DatasetError(f"{path}: it names no classes; add, for example, classes: [ground, plant]")
    for key in content:
        if key not in _KEYS:
            raise DatasetError(f"{path}: unknown key {key!r}; use {', '.join(_KEYS)}")
    classes = _classes(path, content["classes"])
    of_classes = _class_values(path, content["values"], classes) if "values" in content else None
    assumed = [255] if of_classes is None or 255 not in of_classes else []
    ignored = content.get("ignored", assumed)
    if not isinstance(ignored, list):
        raise DatasetError(f"{path}: ignored: {ignored!r} is no list; give values and colours, like [255, [0, 0, 0]]")
    values = frozenset(_value(path, "ignored", item) for item in ignored if isinstance(item, int))
    if of_classes is None:
        of_classes = _values_in_order(path, values, classes)
    for value in sorted(values & of_classes.keys()):
        name = classes.names[of_classes[value]]
        raise DatasetError(f"{path}: ignored: {value} is the value of class {name!r}; change one of them")
    colours = frozenset(_colour(path, "ignored", item) for item in ignored if not isinstance(item, int))
    for colour in colours.intersection(classes.colours):
        name = classes.names[classes.colours.index(colour)]
        raise DatasetError(f"{path}: ignored: {list(colour)} is the colour of class {name!r}; change one of them")
    return Description(
        classes=classes,
        label_values=of_classes,
        ignored_values=values,
        assumes_ignored="ignored" not in content and bool(assumed),
        ignored_colours=colours,
        frame_rate=_rate(path, content.get("frame_rate", NOMINAL_RATE)),
        splits=_splits(path, content.get("splits", {})),
    )


def _load(path: Path) -> Any:
    try:
        import yaml  # type: ignore[import-untyped]
    except ImportError:
        raise UsageError(f'{path}: PyYAML is needed to read it: pip install "arseg-edge[train]"') from None

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        """Takes no key twice; PyYAML's own would keep the last one without a word."""

        def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
            keys = [key for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
            for key in keys:
                if [other.value for other in keys].count(key.value) > 1:
                    line = key.start_mark.line + 1
                    raise DatasetError(f"{path}: {key.value!r} is given twice (line {line}); rename one of the two")
            return super().construct_mapping(node, deep)  # type: ignore[no-any-return]

    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise DatasetError(f"{path}: {error.strerror}; check the path and its permissions") from None
    except DatasetError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # ValueError: no UTF-8, an impossible date
        reason = " ".join(str(error).split())
        raise DatasetError(f"{path}: not YAML ({reason}); correct it") from None


def _classes(path: Path, content: Any) -> ClassSet:
    names = list(content) if isinstance(content, (list, dict)) else []
    if not 1 <= len(names) <= _MOST_CLASSES:
        hint = f"give 1 to {_MOST_CLASSES} names, like [ground, plant] or {{ground: [128, 64, 128]}}"
        raise DatasetError(f"{path}: classes: {content!r}; {hint}")
    for name in names:
        if not isinstance(name, str):
            raise DatasetError(f"{path}: class name {name!r} is not text; put it in quotes")
        if names.count(name) > 1:
            raise DatasetError(f"{path}: {names.count(name)} classes are named {name!r}; rename all but one")
    if isinstance(content, list):
        return ClassSet(tuple(names), distinct_colours(len(names)))
    colours = [_colour(path, f"class {name!r}", colour) for name, colour in content.items()]
    for index, colour in enumerate(colours):
        if colour in colours[:index]:
            first = names[colours.index(colour)]
            raise DatasetError(f"{path}: {first!r} and {names[index]!r} both have colour {list(colour)}; change one")
    return ClassSet(tuple(names), tuple(colours))


def _colour(path: Path, of: str, content: Any) -> Colour:
    channels: Any = content
    if isinstance(content, str) and len(content) == 7 and content.startswith("#"):
        try:
            channels = list(bytes.fromhex(content[1:]))
        except ValueError:
            channels = None
    if not isinstance(channels, list) or len(channels) != 3:
        raise DatasetError(f"{path}: {of}: colour {content!r}; {_COLOUR_HINT}")
    if not all(type(channel) is int and 0 <= channel <= 255 for channel in channels):
        raise DatasetError(f"{path}: {of}: colour {content!r}; {_COLOUR_HINT}")
    red, green, blue = channels
    return red, green, blue


def _class_values(path: Path, content: Any, classes: ClassSet) -> dict[int, int]:
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: values: {content!r}; give a class for each, like {{0: background, 255: person}}")
    found: dict[int, int] = {}
    for value, name in content.items():
        if name not in classes.names:
            raise DatasetError(f"{path}: values: {value}: {name!r} is none of the classes {', '.join(classes.names)}")
        found[_value(path, "values", value)] = classes.names.index(name)
    for index, name in enumerate(classes.names):
        if index not in found.values():
            raise DatasetError(f"{path}: values: class {name!r} has none; give it one, or remove the class")
    return found


def _values_in_order(path: Path, ignored: frozenset[int], classes: ClassSet) -> dict[int, int]:
    free = [value for value in range(256) if value not in ignored]
    if len(free) < len(classes.names):
        raise DatasetError(f"{path}: ignored: leaves {len(free)} values for {len(classes.names)} classes; ignore fewer")
    return {value: index for index, value in enumerate(free[: len(classes.names)])}


def _value(path: Path, of: str, content: Any) -> int:
    if type(content) is not int or not 0 <= content <= 255:
        raise DatasetError(f"{path}: {of}: value {content!r}; give 0 to 255")
    return content


def _rate(path: Path, content: Any) -> Fraction:
    try:
        rate = Fraction(str(content))
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if rate <= 0:
        raise DatasetError(f"{path}: frame_rate: {content!r}; give frames a second, like 25 or 30000/1001")
    return rate


def _splits(path: Path, content: Any) -> dict[str, tuple[str, ...]]:
    hint = "give names of clips for each, like train: [north, south]"
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: splits: {content!r}; {hint}")
    for split, clips in content.items():
        if not isinstance(split, str) or not isinstance(clips, list) or not all(type(clip) is str for clip in clips):
            raise DatasetError(f"{path}: splits: {split!r}: {clips!r}; {hint} (numbers in quotes)")
        if not clips:
            raise DatasetError(f"{path}: splits: {split!r} is empty; {hint}, or remove it")
    return {split: tuple(clips) for split, clips in content.items()}
