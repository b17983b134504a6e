"""The ``agents``, ``dispatch`` and ``memory`` sections of a registry, and a folder of files with one agent each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path

from router_runtime.errors import RegistryError
from router_runtime.registry_agents import (
    AGENT_STRATEGIES,
    AgentEntry,
    DispatchEntry,
    EndpointEncoderEntry,
    MemoryEntry,
    OnnxEncoderEntry,
)
from router_runtime.registry_yaml import Section, Value, did_you_mean, parse_yaml

_KEYS = (
    *("description", "system", "model", "strategy", "labels", "intent"),
    *("tiers", "tools", "budgets", "memory"),
)
_BACKEND = ("primary", "fallbacks")
Resolve = Callable[[str, Value], str]
Budgets = Callable[[Section], tuple[tuple[str, float | None, int | None], ...]]


def agents_folder(top: Section) -> Path | None:
    """What ``agents_dir:`` names (beside the registry's file); None where it stands not there."""
    if "agents_dir" not in top:
        return None
    place = top.get("agents_dir")
    return Path(place.file).parent / place.text("agents_dir")


def agent_files(folder: Path | None) -> list[Path]:
    """The files with an agent each, sorted."""
    return [] if folder is None else sorted((*folder.glob("*.yaml"), *folder.glob("*.yml")))


class AgentReader:
    """Reads agents against the names that the rest of the registry defines.

    Args:
        resolve: Name or alias of a model, and its place → the registry's name.
        budgets: Reads the key ``budgets`` of a section.
        tiers, intents: Names that may be referred to.
    """

    def __init__(self, resolve: Resolve, budgets: Budgets, tiers: Collection[str], intents: Collection[str]) -> None:
        self._resolve, self._budgets, self._tiers, self._intents = resolve, budgets, tiers, intents

    def section(self, top: Section) -> dict[str, AgentEntry]:
        """The agents of ``agents:`` and of the folder ``agents_dir:`` (beside the registry's file).

        Raises:
            RegistryError: An entry is not valid, or one name stands twice.
        """
        found = {name: self.one(name, value) for name, value in top.named("agents")}
        folder = agents_folder(top)
        if folder is not None:
            place = top.get("agents_dir")
            for name, entry in self.folder(folder, place).items():
                if name in found:
                    raise place.error(f"the agent {name!r} stands in agents and in the folder {folder.name}")
                found[name] = entry
        return found

    def folder(self, folder: Path, place: Value) -> dict[str, AgentEntry]:
        """One agent for each ``<name>.yaml`` of ``folder``."""
        if not folder.is_dir():
            raise place.error(f"agents_dir names no folder: {folder.name!r}")
        found = {}
        for path in agent_files(folder):
            try:
                data = path.read_bytes()
            except OSError as error:
                raise RegistryError(f"cannot be read: {error.strerror}", file=str(path)) from error
            if path.stem in found:
                raise RegistryError(f"the agent {path.stem!r} has two files", file=str(path))
            found[path.stem] = self.one(path.stem, parse_yaml(data, str(path)))
        return found

    def one(self, name: str, value: Value) -> AgentEntry:
        """The agent ``name``."""
        if not name or "/" in name or name != name.strip() or name == "auto":
            raise value.error(f"{name!r} cannot name an agent: no slash, no blanks around it, and 'auto' is the choice")
        section = Section(value, f"agents.{name}", _KEYS)
        models, fallbacks = self._backend(section)
        usual = "dedicated" if fallbacks or len(models) == 1 else "learned"
        strategy = section.choice("strategy", AGENT_STRATEGIES, usual)
        if strategy != "learned" and not models:
            raise section.value.error(f"agents.{name}.strategy {strategy!r} needs models to take from, not 'auto'")
        return AgentEntry(
            name=name,
            description=section.text("description", ""),
            system=section.text("system", ""),
            models=models,
            fallbacks=fallbacks,
            strategy=strategy,
            labels=section.texts("labels"),
            intent=self._known(section, "intent", self._intents),
            tiers=section.known("tiers", self._tiers),
            tools=frozenset(section.texts("tools")) if "tools" in section else None,
            budgets=self._budgets(section),
            memory=_memory(section),
        )

    def _backend(self, section: Section) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(models, fallbacks) of ``model: auto | name | [names] | {primary, fallbacks}``."""
        if "model" not in section:
            return (), ()
        place = section.get("model")
        if isinstance(place.data, Mapping):
            both = Section(place, f"{section.what}.model", _BACKEND)
            primary = self._resolve(both.text("primary"), both.get("primary"))
            others = [self._resolve(name, both.get("fallbacks")) for name in both.texts("fallbacks")]
            return (primary,), tuple(name for name in dict.fromkeys(others) if name != primary)
        names = section.texts("model")
        if names == ("auto",):
            return (), ()
        return tuple(dict.fromkeys(self._resolve(name, place) for name in names)), ()

    def _known(self, section: Section, key: str, known: Collection[str]) -> str | None:
        name = section.text(key, None)
        if name is not None and name not in known:
            raise section.get(key).error(f"{section.what}.{key}: unknown {name!r}{did_you_mean(name, known)}")
        return None if name is None else str(name)


def _memory(agent: Section) -> MemoryEntry:
    if "memory" not in agent:
        return MemoryEntry()
    section = Section(agent.get("memory"), f"{agent.what}.memory", ("write", "read"))
    for scope in (*section.texts("read"), section.text("write", "x")):
        if scope.startswith("agent:"):
            raise section.value.error(f"{section.what} names {scope!r}: private scopes are never shared")
    return MemoryEntry(section.text("write", None), frozenset(section.texts("read")))


def read_encoder(top: Section, providers: Collection[str]) -> EndpointEncoderEntry | OnnxEncoderEntry | None:
    """``memory.encoder``: ``{provider, model, dims}``, or ``{onnx, tokenizer}`` beside the registry's file."""
    if "memory" not in top or "encoder" not in (memory := Section(top.get("memory"), "memory", ("encoder",))):
        return None
    value = memory.get("encoder")
    if isinstance(value.data, Mapping) and "onnx" in value.data:
        return read_local_encoder(value, "memory.encoder")
    section = Section(value, "memory.encoder", EndpointEncoderEntry.__slots__)
    name = section.text("provider")
    if name not in providers:
        raise section.get("provider").error(f"memory.encoder: unknown provider {name!r}{did_you_mean(name, providers)}")
    return EndpointEncoderEntry(name, section.text("model"), section.whole("dims"))


def read_local_encoder(value: Value, what: str) -> OnnxEncoderEntry:
    """``{onnx, tokenizer, max_tokens}``, paths beside the registry's file."""
    section = Section(value, what, OnnxEncoderEntry.__slots__)
    folder = Path(value.file).parent
    onnx, tokenizer = (str(folder / section.text(key)) for key in ("onnx", "tokenizer"))
    return OnnxEncoderEntry(onnx, tokenizer, section.whole("max_tokens", OnnxEncoderEntry("", "").max_tokens))


def read_dispatch(top: Section) -> DispatchEntry:
    """The section ``dispatch``."""
    usual = DispatchEntry()
    if "dispatch" not in top:
        return usual
    section = Section(top.get("dispatch"), "dispatch", DispatchEntry.__slots__)
    return DispatchEntry(
        strategy=section.choice("strategy", AGENT_STRATEGIES, usual.strategy),
        epsilon=section.number("epsilon", usual.epsilon, high=1.0),
    )
