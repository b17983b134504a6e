"""Newer prices as another dated entry of a registry file, everything else in it left as it stands.

The file's text is edited where the entries end, so that comments and order stay; then the new text is read again, and
only where it says exactly what the old one said, and the new prices, is it written: beside the old file, and renamed.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import yaml

from router_runtime.errors import RegistryError
from router_runtime.pricing import price_at
from router_runtime.registry import ModelEntry, Price, Registry
from router_runtime.registry_reader import parse_registry
from router_runtime.shared_file import replace as replace_file

Source = Callable[[str, Sequence[str], date], Price | None]
"""(base URL of the provider, names of the model, day) → its price, as ``price_source.known_price`` says it."""


@dataclass(frozen=True, slots=True)
class PriceUpdate:
    """What is to be added.

    Args:
        text: The file's new text; the old one where nothing is new.
        old: The file's text.
        added: New price by model.
        unknown: Models of which the source knows no price.
        unchanged: Models whose price in force is the source's.
        refused: Reason by model whose price cannot be added.
    """

    text: str
    old: str
    added: Mapping[str, Price] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    def diff(self, name: str) -> str:
        """The change as a unified diff of the file ``name``; empty where there is none."""
        lines = (self.old.splitlines(keepends=True), self.text.splitlines(keepends=True))
        return "".join(difflib.unified_diff(*lines, fromfile=name, tofile=name))


def find_updates(path: Path, source: Source, now: float) -> PriceUpdate:
    """Looks up every model of the registry at ``path`` that is not self-hosted; writes nothing.

    Args:
        path: The registry's file.
        source: Knows prices.
        now: UTC seconds since the epoch; the new entries hold from its day on.

    Raises:
        RegistryError: The file is not valid, or is written so that it cannot be edited safely.
    """
    data = _read(path)
    registry, old = parse_registry(data, str(path)), data.decode("utf-8")
    day = datetime.fromtimestamp(now, UTC).date()
    added: dict[str, Price] = {}
    unknown, unchanged, refused = [], [], {}
    for model in registry.models.values():
        if model.self_hosted:
            continue
        known = source(registry.providers[model.provider].base_url, _names(model), day)
        if known is None:
            unknown.append(model.name)
            continue
        price = _written(known)
        if replace(price, valid_from=price_at(model, now).valid_from) == price_at(model, now):
            unchanged.append(model.name)
        elif any(one.valid_from >= day for one in model.prices):
            refused[model.name] = f"has a price from {max(one.valid_from for one in model.prices)} on already"
        else:
            added[model.name] = price
    text = _with(old, added) if added else old
    _check(registry, text, added, str(path))
    return PriceUpdate(text, old, added, tuple(unknown), tuple(unchanged), refused)


def write_update(path: Path, update: PriceUpdate) -> None:
    """Writes the new text whole or not at all, with the file's owner and permissions.

    Raises:
        RegistryError: The file changed since it was read, or cannot be written.
    """
    path = path.resolve()  # where the registry is a link, what it leads to is written
    if _read(path).decode("utf-8", "replace") != update.old:
        raise RegistryError("changed meanwhile; nothing was written, try again", file=str(path))
    try:
        replace_file(path, update.text)
    except OSError as error:
        raise RegistryError(f"cannot be written: {error.strerror}", file=str(path)) from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (OSError, ValueError) as error:
        raise RegistryError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=str(path)) from error


def _names(model: ModelEntry) -> tuple[str, ...]:
    return tuple(dict.fromkeys((model.upstream_id, model.name, *model.aliases)))


def _with(text: str, added: Mapping[str, Price]) -> str:
    """``text`` with an entry at the end of each model's prices; the last place first, so that the others hold."""
    models = _child(yaml.compose(text, Loader=yaml.SafeLoader), "models")
    places = [(_end(text, _child(_child(models, name), "prices")), price) for name, price in added.items()]
    for (index, before, after), price in sorted(places, key=lambda place: place[0], reverse=True):
        text = text[:index] + before + _entry(price) + after + text[index:]
    return text


def _child(node: yaml.Node | None, key: str) -> yaml.Node:
    assert isinstance(node, yaml.MappingNode)  # the registry was read before
    found: yaml.Node = next(value for name, value in node.value if name.value == key)
    return found


def _end(text: str, prices: yaml.Node) -> tuple[int, str, str]:
    """(where the new entry goes, what goes before it, what after it)."""
    assert isinstance(prices, yaml.SequenceNode)
    last = prices.value[-1]
    if prices.flow_style:
        return last.end_mark.index, ", ", ""
    end = text.find("\n", _inner_end(last))  # behind a comment on the entry's last line
    indent = " " * prices.start_mark.column  # of its dashes
    return (len(text), f"\n{indent}- ", "") if end < 0 else (end + 1, f"{indent}- ", "\n")


def _inner_end(node: yaml.Node) -> int:
    """Where ``node`` ends; a block's own mark stands only at the next token, behind blank lines and comments."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style and node.value:
        return _inner_end(node.value[-1][1])
    return int(node.end_mark.index)


def _written(price: Price) -> Price:
    """The price as an entry says it: some are the outcome of a sum (1.0399999999999998)."""
    cached = None if price.cached_input is None else _digits(price.cached_input)
    return Price(price.valid_from, _digits(price.input), _digits(price.output), cached)


def _digits(usd: float) -> float:
    return float(f"{usd:.10g}")


def _entry(price: Price) -> str:
    cached = "" if price.cached_input is None else f", cached_input: {_text(price.cached_input)}"
    return f"{{valid_from: {price.valid_from}, input: {_text(price.input)}, output: {_text(price.output)}{cached}}}"


def _text(usd: float) -> str:
    """Without an exponent: YAML takes 1e-05 for a word."""
    return f"{Decimal(f'{usd:.10g}'):f}"


def _check(registry: Registry, text: str, added: Mapping[str, Price], file: str) -> None:
    """Raises unless ``text`` says what ``registry`` says, and the added prices."""
    wanted = {
        name: replace(model, prices=(*model.prices, added[name])) if name in added else model
        for name, model in registry.models.items()
    }
    found = parse_registry(text.encode("utf-8"), file)
    if found != replace(registry, models=wanted, version=found.version):
        raise RegistryError("is written in a way that cannot be edited safely; add the prices by hand", file=file)
