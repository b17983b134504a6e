"""Made-up prompts of many kinds, with a latent difficulty that their text can reveal."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

PARTS_FILE = Path(__file__).with_name("sample_prompts.yaml")
LEVELS: Mapping[str, float] = {"easy": -1.0, "medium": 0.0, "hard": 1.0}
HIDDEN_SPREAD = 0.5
"""Standard deviation of the difficulty that no text reveals."""
_SLOT = re.compile(r"(?<!\{)\{([a-z_]+)(\d?)\}(?!\})")
_NUMBERS = {"n": (2, 40), "n2": (41, 99), "n3": (100, 999), "d": (1, 9)}


@dataclass(frozen=True)
class Kind:
    """One kind of task.

    Args:
        name: The task label.
        domain: Its domain, a label of the registry.
        share: Weight in the sample.
        base: Difficulty of the kind.
        tokens: Median output tokens.
        graded: Whether answers are graded in quarters; else they are right or wrong.
        templates: (level, text) pairs.
        slots: (level, text) pairs by slot.
    """

    name: str
    domain: str
    share: float
    base: float
    tokens: float
    graded: bool
    templates: tuple[tuple[float, str], ...]
    slots: Mapping[str, tuple[tuple[float, str], ...]]


@dataclass(frozen=True)
class MadePrompt:
    """One prompt.

    Args:
        kind: What kind it is of.
        text: The text.
        difficulty: Latent difficulty, about −3..3.
        group: Equal for prompts that differ in numbers and names only.
    """

    kind: Kind
    text: str
    difficulty: float
    group: str


@cache
def read_kinds() -> tuple[tuple[Kind, ...], Mapping[str, tuple[tuple[float, str], ...]]]:
    """The kinds, and the slots that all of them share."""
    data = yaml.safe_load(PARTS_FILE.read_text(encoding="utf-8"))
    common = {name: _levelled(values) for name, values in data["common"].items()}
    return tuple(_kind(name, entry) for name, entry in data["kinds"].items()), common


def make_prompts(n: int, rng: np.random.Generator) -> list[MadePrompt]:
    """As many different prompts as ``n`` says, of every kind by its share."""
    kinds, common = read_kinds()
    shares = np.array([kind.share for kind in kinds])
    counts = np.floor(n * shares / shares.sum()).astype(int)
    counts[0] += n - counts.sum()
    made: list[MadePrompt] = []
    for kind, count in zip(kinds, counts, strict=True):
        seen: dict[str, MadePrompt] = {}
        while len(seen) < count:
            prompt = _make(kind, {**common, **kind.slots}, rng)
            seen.setdefault(prompt.text, prompt)
        made += seen.values()
    return [made[place] for place in rng.permutation(n)]


def _kind(name: str, entry: Mapping[str, Any]) -> Kind:
    slots = {slot: _levelled(values) for slot, values in entry["slots"].items()}
    fields = {key: value for key, value in entry.items() if key not in ("templates", "slots")}
    return Kind(name=name, templates=_levelled(entry["templates"]), slots=slots, **fields)


def _levelled(values: Any) -> tuple[tuple[float, str], ...]:
    """(level, text) pairs; a plain list has level 0 throughout."""
    if isinstance(values, list):
        return tuple((0.0, str(text)) for text in values)
    return tuple((LEVELS[level], str(text)) for level, texts in values.items() for text in texts)


def _make(kind: Kind, slots: Mapping[str, tuple[tuple[float, str], ...]], rng: np.random.Generator) -> MadePrompt:
    place = int(rng.integers(len(kind.templates)))
    level, template = kind.templates[place]
    filled: dict[str, tuple[float, str]] = {}
    body = _fill(template, slots, rng, filled)
    opening, closing = (_fill(f"{{{slot}}}", slots, rng, {}) for slot in ("opening", "closing"))
    own = {slot: value for slot, value in filled.items() if slot.rstrip("23456789") in kind.slots}
    levels = [value[0] for value in own.values() if value[0] != 0] or [0.0]
    difficulty = kind.base + level + float(np.mean(levels)) + HIDDEN_SPREAD * float(rng.standard_normal())
    group = "/".join((kind.name, str(place), *(f"{slot}={value[1][:40]}" for slot, value in sorted(own.items()))))
    return MadePrompt(kind, opening + body + closing, difficulty, group)


def _fill(
    text: str,
    slots: Mapping[str, tuple[tuple[float, str], ...]],
    rng: np.random.Generator,
    filled: dict[str, tuple[float, str]],
) -> str:
    """``text`` with every slot filled; ``{name}`` and ``{name2}`` are two draws from one slot; ``{{x}}`` gives {x}."""

    def value(match: re.Match[str]) -> str:
        slot, key = match[1], match[1] + match[2]
        if key in _NUMBERS:
            return str(rng.integers(*_NUMBERS[key], endpoint=True))
        if key not in filled:
            taken = {chosen for name, chosen in filled.items() if name.rstrip("23456789") == slot}
            left = [pair for pair in slots[slot] if pair not in taken]
            filled[key] = left[int(rng.integers(len(left)))]
        return _fill(filled[key][1], slots, rng, filled)

    return _SLOT.sub(value, text).replace("{{", "{").replace("}}", "}")
