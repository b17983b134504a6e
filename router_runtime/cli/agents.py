"""``pointsman agents`` and ``pointsman memory``: who there is, who would take a task, what they remember."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from router_runtime.cli import render
from router_runtime.cli.values import duration
from router_runtime.errors import ConfigError
from router_runtime.memory import Memory, open_memory
from router_runtime.registry_agents import AgentEntry
from router_runtime.registry_reader import DEFAULT_REGISTRY, load_registry
from router_runtime.router import Router

_AGENTS = """\
examples:
  pointsman agents list
  pointsman agents match "Refactor this function" --bundle models/default --tier pro
"""
_MEMORY = """\
examples:
  pointsman memory write --store memory.sqlite --agent coding "The tests need OMP_NUM_THREADS=1" --tag tests
  pointsman memory search --store memory.sqlite --agent vision "slow tests"
  pointsman memory forget --store memory.sqlite --agent coding --scope project
"""

Subparsers = argparse._SubParsersAction


def register(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Adds both commands."""
    agents = _family(subparsers, "agents", "who there is, and who would take a task", _AGENTS)
    _command(agents, "list", "the agents of a registry", list_agents)
    match = _command(agents, "match", "which agent would take a task; nothing is called", match_agent)
    match.add_argument("prompt", metavar="PROMPT", help="the task; - reads it from stdin")
    match.add_argument("--bundle", metavar="DIR", help="folder of a bundle, whose task head knows the domain")
    match.add_argument("--tier", help="of the caller")
    match.add_argument("--intent", help="what the caller wants")
    memory = _family(subparsers, "memory", "what agents remember together", _MEMORY)
    write = _command(memory, "write", "remember something", write_memory)
    write.add_argument("text", metavar="TEXT", help="what to remember; - reads it from stdin")
    write.add_argument(
        "--tag", action="append", default=[], metavar="WORD", help="a word to find it by; may be repeated"
    )
    write.add_argument("--scope", help="who may read it (default: the agent's usual scope)")
    write.add_argument(
        "--for", dest="ttl_s", type=duration, metavar="TIME", help="forget it after this time, such as 7d"
    )
    search = _command(memory, "search", "find what an agent may read", search_memory)
    search.add_argument("query", metavar="QUERY", help="words, or a whole text")
    search.add_argument("--by", action="append", metavar="AGENT", help="only what this agent wrote; may be repeated")
    search.add_argument("-k", type=int, default=10, help="entries to show (default 10)")
    forget = _command(memory, "forget", "delete what an agent wrote, so that nothing of it is left", forget_memory)
    forget.add_argument("ids", nargs="*", metavar="ID", help="entries to forget")
    forget.add_argument("--scope", help="all that the agent wrote to this scope")
    forget.add_argument("--everything", action="store_true", help="all that the agent wrote")
    for command in (write, search, forget):
        command.add_argument("--store", required=True, metavar="PLACE", help="a file, or postgresql://…")
        command.add_argument("--agent", required=True, help="on whose behalf")


def list_agents(arguments: argparse.Namespace) -> int:
    """``pointsman agents list``."""
    agents = load_registry(arguments.registry).agents
    rows = [_plain(entry) for entry in agents.values()]
    lines = [f"{one.name:16} {_backend(one):44} {one.description}" for one in agents.values()]
    render.show(arguments.json, {"agents": rows}, "\n".join(lines) or "the registry lists no agent")
    return 0


def match_agent(arguments: argparse.Namespace) -> int:
    """``pointsman agents match``."""
    router = Router.open(arguments.bundle, registry=arguments.registry, state_dir=None)
    choice = router.agents.match(_text(arguments.prompt), tier=arguments.tier, intent=arguments.intent)
    lines = [f"{choice.name}  (domain {choice.domain})", ""]
    lines += [f"  {name:16} fit {choice.scores[name]:+.3f}  share {share:.2f}" for name, share in choice.dist.items()]
    lines += [f"  {name:16} {reason}" for name, reason in choice.refused.items()]
    render.show(arguments.json, asdict(choice), "\n".join(lines))
    return 0


def write_memory(arguments: argparse.Namespace) -> int:
    """``pointsman memory write``."""
    memory = _memory(arguments)
    text = _text(arguments.text)
    key = memory.write(arguments.agent, text, arguments.tag, arguments.scope, ttl_s=arguments.ttl_s)
    memory.close()
    render.show(arguments.json, {"id": key}, key)
    return 0


def search_memory(arguments: argparse.Namespace) -> int:
    """``pointsman memory search``."""
    memory = _known_memory(arguments)
    found = memory.search(arguments.query, reader=arguments.agent, agents=arguments.by, k=arguments.k)
    memory.close()
    lines = [f"{hit.entry.agent:12} {hit.entry.scope:16} {' '.join(hit.entry.text.split())[:200]}" for hit in found]
    render.show(arguments.json, {"found": [asdict(hit) for hit in found]}, "\n".join(lines) or "nothing was found")
    return 0


def forget_memory(arguments: argparse.Namespace) -> int:
    """``pointsman memory forget``."""
    if not (arguments.ids or arguments.scope or arguments.everything):
        raise ConfigError("name entries to forget, --scope NAME, or --everything for all that the agent wrote")
    memory = _known_memory(arguments)
    ids = arguments.ids or None
    count = memory.forget(arguments.agent, ids=ids, scope=arguments.scope, everything=arguments.everything)
    memory.close()
    render.show(arguments.json, {"forgotten": count}, f"{count} entries forgotten")
    return 0


def _memory(arguments: argparse.Namespace) -> Memory:
    registry = load_registry(arguments.registry)
    return open_memory(arguments.store, lambda: registry)


def _known_memory(arguments: argparse.Namespace) -> Memory:
    """One that is there: a misspelt file must not become an empty memory.

    Raises:
        ConfigError: There is no such file.
    """
    if "://" not in arguments.store and not Path(arguments.store).is_file():
        raise ConfigError(f"no memory at {arguments.store}; name the file that was written to")
    return _memory(arguments)


def _plain(entry: AgentEntry) -> dict[str, Any]:
    """JSON-ready; sets in order."""
    row = asdict(entry)
    row["memory"]["read"] = sorted(entry.memory.read)
    return row | {name: None if row[name] is None else sorted(row[name]) for name in ("tiers", "tools")}


def _backend(entry: AgentEntry) -> str:
    names = " → ".join((*entry.models, *entry.fallbacks)) or "auto"
    return names if entry.strategy in ("dedicated", "learned") else f"{names} ({entry.strategy})"


def _text(given: str) -> str:
    return sys.stdin.read() if given == "-" else given


def _family(subparsers: Subparsers[argparse.ArgumentParser], name: str, words: str, examples: str) -> Any:
    parser = subparsers.add_parser(
        name, help=words, description=words, epilog=examples, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    return parser.add_subparsers(title="commands", metavar="COMMAND", required=True)


def _command(family: Any, name: str, words: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = family.add_parser(name, help=words, description=words)
    parser.add_argument(
        "--registry", type=Path, default=DEFAULT_REGISTRY, metavar="FILE", help="path of a registry.yaml"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")
    parser.set_defaults(run=run)
    return parser
