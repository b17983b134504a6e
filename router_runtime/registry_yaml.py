"""YAML with places: every value keeps its line, and every problem is one :class:`RegistryError` with file and line.

Only plain data is read: no tags beyond text, numbers, booleans and null, no anchors (so nothing can multiply), no
duplicate keys, bounded size and depth.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from router_runtime.errors import RegistryError

MAX_BYTES = 1 << 20
_MAX_DEPTH = 24
_MAX_DIGITS = 40
_REQUIRED: Any = object()


@dataclass(frozen=True, slots=True)
class Value:
    """One YAML value: ``data`` is text, a number, a boolean, None, a list of values or a dict of values."""

    data: Any
    line: int
    file: str

    def error(self, reason: str) -> RegistryError:
        """A problem at this place."""
        return RegistryError(reason, file=self.file, line=self.line)

    def text(self, what: str) -> str:
        """Non-empty text."""
        if not isinstance(self.data, str) or not self.data:
            raise self.error(f"{what} must be text, not {_kind(self.data)}")
        return self.data

    def number(self, what: str, low: float = 0.0, high: float = math.inf) -> float:
        """A finite number in low..high."""
        if isinstance(self.data, bool) or not isinstance(self.data, (int, float)):
            raise self.error(f"{what} must be a number, not {_kind(self.data)}")
        if not low <= self.data <= high or not abs(self.data) <= 1e15:
            bounds = f"at least {low:g}" if high == math.inf else f"between {low:g} and {high:g}"
            raise self.error(f"{what} is {self.data}, it must be {bounds}")
        return float(self.data)

    def flag(self, what: str) -> bool:
        """True or false."""
        if not isinstance(self.data, bool):
            raise self.error(f"{what} must be true or false, not {_kind(self.data)}")
        return self.data

    def items(self, what: str) -> list[Value]:
        """A list; a lone value counts as a list of one."""
        if isinstance(self.data, dict) or self.data is None:
            raise self.error(f"{what} must be a list, not {_kind(self.data)}")
        return self.data if isinstance(self.data, list) else [self]


class Section:
    """A mapping of which every key is known.

    Args:
        value: The mapping; null counts as an empty one.
        what: Its name in messages.
        keys: All keys that it may have.

    Raises:
        RegistryError: Where it is no mapping, or has another key; the message names the key that was meant.
    """

    def __init__(self, value: Value, what: str, keys: Collection[str]) -> None:
        self.value, self.what = value, what
        self.data: dict[str, Value] = mapping(value, what)
        for key, item in self.data.items():
            if key not in keys:
                raise item.error(f"unknown key {key!r} in {what}{did_you_mean(key, keys)}")

    def __contains__(self, key: str) -> bool:
        return key in self.data and self.data[key].data is not None

    def get(self, key: str) -> Value:
        """The value of a key that must be there."""
        if key not in self:
            raise self.value.error(f"{self.what} lacks the key {key!r}")
        return self.data[key]

    def text(self, key: str, default: Any = _REQUIRED) -> Any:
        """Non-empty text, or ``default`` where the key is absent."""
        return default if self._absent(key, default) else self.get(key).text(self._name(key))

    def choice(self, key: str, options: Collection[str], default: Any = _REQUIRED) -> Any:
        """One of ``options``."""
        text = self.text(key, default)
        if key in self and text not in options:
            raise self.get(key).error(
                f"{self._name(key)} is {text!r}{did_you_mean(text, options)}; it is one of {', '.join(options)}"
            )
        return text

    def number(self, key: str, default: Any = _REQUIRED, low: float = 0.0, high: float = math.inf) -> Any:
        """A finite number in low..high."""
        return default if self._absent(key, default) else self.get(key).number(self._name(key), low, high)

    def whole(self, key: str, default: Any = _REQUIRED) -> Any:
        """A whole number, at least 1."""
        if self._absent(key, default):
            return default
        number = self.get(key).number(self._name(key), 1)
        if number != int(number):
            raise self.get(key).error(f"{self._name(key)} is {number:g}, it must be a whole number")
        return int(number)

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        return self.get(key).flag(self._name(key)) if key in self else default

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts without repeats; empty where absent."""
        if key not in self:
            return ()
        found: dict[str, None] = {}
        for item in self.get(key).items(self._name(key)):
            text = item.text(f"an entry of {self._name(key)}")
            if text in found:
                raise item.error(f"{self._name(key)} lists {text!r} twice")
            found[text] = None
        return tuple(found)

    def known(self, key: str, names: Collection[str]) -> frozenset[str] | None:
        """As :meth:`texts`, each of which must be among ``names``; None where absent."""
        if key not in self:
            return None
        found = self.texts(key)
        for text, item in zip(found, self.values(key), strict=True):
            if text not in names:
                raise item.error(f"{self._name(key)}: unknown {text!r}{did_you_mean(text, names)}")
        return frozenset(found)

    def values(self, key: str) -> list[Value]:
        """A list of values; empty where absent."""
        return self.get(key).items(self._name(key)) if key in self else []

    def named(self, key: str) -> Iterator[tuple[str, Value]]:
        """The pairs of a mapping; none where absent."""
        yield from mapping(self.get(key), self._name(key)).items() if key in self else ()

    def weights(self, key: str, low: float = 0.0, high: float = math.inf) -> dict[str, float]:
        """A mapping of names to numbers in low..high."""
        return {name: value.number(f"{self._name(key)}.{name}", low, high) for name, value in self.named(key)}

    def _absent(self, key: str, default: Any) -> bool:
        return default is not _REQUIRED and key not in self

    def _name(self, key: str) -> str:
        return f"{self.what}.{key}"


def mapping(value: Value, what: str) -> dict[str, Value]:
    """The pairs of a mapping; null counts as an empty one."""
    if value.data is None:
        return {}
    if not isinstance(value.data, dict):
        raise value.error(f"{what} must be a mapping, not {_kind(value.data)}")
    return value.data


def did_you_mean(word: str, options: Collection[str]) -> str:
    """`` (did you mean 'x'?)`` where an option is close to ``word``, else nothing."""
    close = difflib.get_close_matches(word[:80], list(options), n=1, cutoff=0.6)
    return f" (did you mean {close[0]!r}?)" if close else ""


def parse_yaml(data: bytes, file: str) -> Value:
    """Parses one document.

    Args:
        data: UTF-8.
        file: Name for messages.

    Raises:
        RegistryError: For anything that is not plain YAML within the bounds.
    """
    if len(data) > MAX_BYTES:
        raise RegistryError(f"the file has {len(data)} bytes, at most {MAX_BYTES} are read", file=file)
    try:
        text = data.decode("utf-8-sig")
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise RegistryError(f"not UTF-8 at byte {error.start}", file=file) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise RegistryError(f"not valid YAML: {error.problem}", file=file, line=line) from error
    except yaml.YAMLError as error:
        raise RegistryError(f"not valid YAML: {str(error).splitlines()[0]}", file=file) from error
    except RecursionError as error:
        raise RegistryError(f"nested deeper than {_MAX_DEPTH} levels", file=file) from error
    except (ValueError, OverflowError, IndexError, TypeError) as error:  # PyYAML's scanner on escapes beyond Unicode
        raise RegistryError(f"not valid YAML: {error}", file=file) from error
    if node is None:
        raise RegistryError("the file is empty", file=file)
    return _convert(node, file, set(), 0)


def _convert(node: yaml.Node, file: str, seen: set[int], depth: int) -> Value:
    line = node.start_mark.line + 1
    if id(node) in seen:
        raise RegistryError("anchors and aliases are not supported; write the value out", file=file, line=line)
    if depth > _MAX_DEPTH:
        raise RegistryError(f"nested deeper than {_MAX_DEPTH} levels", file=file, line=line)
    seen.add(id(node))
    if isinstance(node, yaml.MappingNode):
        return Value(_pairs(node, file, seen, depth), line, file)
    if isinstance(node, yaml.SequenceNode):
        return Value([_convert(item, file, seen, depth + 1) for item in node.value], line, file)
    return Value(_scalar(node, file, line), line, file)


def _pairs(node: yaml.MappingNode, file: str, seen: set[int], depth: int) -> dict[str, Value]:
    pairs: dict[str, Value] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            raise RegistryError("a key must be text", file=file, line=line)
        key = key_node.value
        if key in pairs:
            raise RegistryError(f"the key {key!r} stands twice (first in line {pairs[key].line})", file=file, line=line)
        value = _convert(value_node, file, seen, depth + 1)
        pairs[key] = Value(value.data, line, file)  # the key's line is where a reader looks
    return pairs


def _scalar(node: yaml.Node, file: str, line: int) -> Any:
    text: str = node.value
    tag = node.tag.removeprefix("tag:yaml.org,2002:")
    if tag in ("str", "timestamp"):  # dates are read where they are expected
        return text
    if tag == "null":
        return None
    if tag == "bool":
        return text.lower() in ("yes", "true", "on")
    try:
        if tag == "int" and len(text) <= _MAX_DIGITS:
            return int(text, 0)
        if tag == "float":
            return float(text.lower().replace("_", "").replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError as error:
        raise RegistryError(f"{text[:40]!r} is no number; quote it if it is text", file=file, line=line) from error
    raise RegistryError(f"the tag {node.tag[:60]!r} is not supported", file=file, line=line)


def _kind(data: Any) -> str:
    if data is None:
        return "nothing"
    if data == "":
        return "an empty text"
    names = {bool: "true/false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return names[type(data)]
