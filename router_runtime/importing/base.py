"""What every import gives: a registry's document, and a line for each thing that could not come along."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import yaml

from router_runtime.errors import ConfigError

Document = Mapping[str, Any]


class _Dumper(yaml.SafeDumper):
    """Writes what stands in two places twice."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - PyYAML's
        return True


@dataclass
class Imported:
    """The outcome.

    Args:
        registry: As ``registry.yaml`` has it; plain dicts, lists and scalars.
        warnings: ``place: what was left out or changed, and what to do``; they hold no secret.
    """

    registry: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def warn(self, place: str, words: str) -> None:
        """Says that ``place`` of the other configuration did not come along as it was."""
        self.warnings.append(f"{place}: {words}")

    def to_yaml(self) -> str:
        """The text of ``registry.yaml``, without anchors, which it does not allow."""
        return yaml.dump(self.registry, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)

    def left_out(self, section: Document, known: Iterable[str], place: str) -> None:
        """Names the keys that have no meaning here."""
        for key in section:
            if key not in known:
                self.warn(f"{place}.{key}" if place else str(key), "has no meaning here; left out")


@dataclass(frozen=True)
class Format:
    """One other tool's configuration.

    Args:
        name: For ``--format``.
        is_it: Whether a document is one.
        convert: Document and the day from which prices hold → outcome.
    """

    name: str
    is_it: Callable[[Document], bool]
    convert: Callable[[Document, date], Imported]


def detect(document: Any, formats: Iterable[Format], named: str | None = None) -> Format:
    """The format of ``document``, or the one that was named.

    Raises:
        ConfigError: It is none of them.
    """
    known = list(formats)
    if not isinstance(document, Mapping):
        raise ConfigError("the file holds no mapping, so it is no configuration")
    for one in known:
        if one.name == named or (named is None and one.is_it(document)):
            return one
    names = ", ".join(one.name for one in known)
    raise ConfigError(f"the file is no configuration that is known ({names}); name it with --format")


def mapping_at(document: Document, key: str, place: str = "") -> Document:
    """A mapping, empty where it is absent.

    Raises:
        ConfigError: It is something else; names the place.
    """
    found = document.get(key)
    if found is None:
        return {}
    if not isinstance(found, Mapping):
        raise ConfigError(f"{place}{key} must be a mapping")
    return found
