"""``pointsman serve`` and ``pointsman keys``."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from router_runtime import overrides
from router_runtime.cli import render
from router_runtime.cli.values import above_zero, duration, state_place
from router_runtime.errors import ConfigError
from router_runtime.gateway import keys
from router_runtime.registry import WINDOWS
from router_runtime.registry_reader import DEFAULT_REGISTRY
from router_runtime.state import is_shared
from router_runtime.stores.opening import local_folder

LOG_PROMPTS = ("full", "redacted", "features", "none")

#: (option, default, help): the bounds of :class:`router_runtime.gateway.settings.GatewaySettings` that people change.
_BOUNDS: tuple[tuple[str, int | float, str], ...] = (
    ("max-body-mib", 20, "largest body of a request, in MiB (default 20)"),
    ("max-concurrent", 512, "requests answered at a time; past it 503 (default 512)"),
    ("max-concurrent-per-key", 128, "those of one key; past it 429 (default 128)"),
    ("drain-s", 30.0, "how long requests under way may take to end after SIGTERM (default 30)"),
    ("ready-delay-s", 0.1, "how long /ready says no before the listener closes (default 0.1)"),
)


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands."""
    _add_serve(subparsers)
    _add_keys(subparsers)


def _add_serve(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "serve",
        help="serve the router over HTTP",
        description="Serves the router over HTTP, to clients of OpenAI's and Anthropic's APIs.",
        epilog="example:\n  pointsman serve --bundle models/default --registry registry.yaml"
        " --log logs/ --log-prompts redacted",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", metavar="DIR", help="folder of a bundle (default: none, the static table chooses)")
    parser.add_argument("--registry", default=str(DEFAULT_REGISTRY), metavar="FILE", help="registry.yaml")
    parser.add_argument("--log", metavar="STORE", help="folder or URL of the outcome log (default: none)")
    parser.add_argument(
        "--log-prompts",
        default="none",
        choices=LOG_PROMPTS,
        help="what the log keeps of a prompt (default: none, from which nothing can be learnt); of users it keeps"
        " hashes, salted with $POINTSMAN_USER_SALT",
    )
    parser.add_argument(
        "--keep",
        type=duration,
        metavar="TIME",
        help="delete days of the log that are older, such as 90d (default: none)",
    )
    parser.add_argument(
        "--memory", metavar="PLACE", help="file or postgresql:// URL of what agents share (default: none)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=_port, default=8080, help="port; 0 takes a free one (default 8080)")
    parser.add_argument(
        "--state",
        type=state_place,
        action="append",
        default=[],
        metavar="DIR|URL",
        help="folder of keys, budgets and disabled models (default: $POINTSMAN_STATE, else the user's), or the"
        " redis:// URL of what replicas share; give both by naming it twice",
    )
    parser.add_argument(
        "--insecure-local", action="store_true", help="ask for no key; only on a loopback address, for trying out"
    )
    parser.add_argument(
        "--trace", action="store_true", help="send OpenTelemetry traces over OTLP, as the OTEL_* variables say"
    )
    for name, default, words in _BOUNDS:
        kind = type(default)
        parser.add_argument(f"--{name}", type=above_zero(kind), default=default, metavar="N", help=words)
    parser.set_defaults(run=serve)


def _add_keys(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "keys", help="create, list and revoke the gateway's API keys", description="The gateway's API keys."
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    create = _action(actions, "create", "make a key; it is shown once", create_key, "create --name app --tier free")
    create.add_argument("--name", required=True, help="for people: whose key it is")
    create.add_argument(
        "--tier", action="append", default=[], metavar="NAME", help="a tier that it opens; the first is the usual one"
    )
    create.add_argument("--budget", type=above_zero(float), metavar="USD", help="most that it may spend in a window")
    create.add_argument("--budget-window", default="month", choices=WINDOWS, help="of the budget (default month)")
    create.add_argument("--requests-per-minute", type=above_zero(int), metavar="N", help="rate of requests")
    create.add_argument("--tokens-per-minute", type=above_zero(int), metavar="N", help="rate of tokens")
    create.add_argument("--expires", type=duration, metavar="TIME", help="such as 12h or 90d; never where left out")
    create.add_argument("--admin", action="store_true", help="opens /admin and /metrics instead of the models")
    listed = _action(actions, "list", "show the keys, without their secrets", list_keys, "list --json")
    revoke = _action(actions, "revoke", "end a key within a second", revoke_key, "revoke app")
    revoke.add_argument("key", metavar="ID", help="its id or its name")
    for action in (create, listed, revoke):
        action.add_argument("--json", action="store_true", help="print one JSON document and nothing else on stdout")
        _add_state(action)


def _action(
    actions: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    words: str,
    run: Callable[[argparse.Namespace], int],
    example: str,
) -> argparse.ArgumentParser:
    parser = actions.add_parser(
        name,
        help=words,
        description=words[0].upper() + words[1:] + ".",
        epilog=f"example:\n  pointsman keys {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(run=run)
    return parser


def _add_state(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state",
        type=state_place,
        metavar="DIR",
        help="keys, budgets and disabled models (default: $POINTSMAN_STATE, else the user's)",
    )


def serve(arguments: argparse.Namespace) -> int:
    """``pointsman serve``."""
    missing = [
        name for name in ("starlette", "uvicorn", "uvloop", "httptools", "prometheus_client") if find_spec(name) is None
    ]
    if missing:
        raise ConfigError(f"{missing[0]} is not installed; add it with: pip install 'pointsman[gateway]'")
    from router_runtime.gateway import serve as gateway  # here: the extra's libraries, which other commands do not need
    from router_runtime.gateway.settings import GatewaySettings

    if arguments.keep is not None and (arguments.log is None or local_folder(arguments.log) is None):
        raise ConfigError("--keep deletes days of a log in a folder; name the folder with --log")
    gateway.check_door(arguments.host, insecure_local=arguments.insecure_local)
    bounds = {name.replace("-", "_"): getattr(arguments, name.replace("-", "_")) for name, _, _ in _BOUNDS}
    bounds["max_body_bytes"] = bounds.pop("max_body_mib") << 20
    folders = [place for place in arguments.state if not is_shared(place)]
    urls = [place for place in arguments.state if is_shared(place)]
    state = Path(folders[-1]) if folders else overrides.default_state_dir()
    router = gateway.open_router(
        arguments.bundle,
        arguments.registry,
        state,
        arguments.log,
        log_prompts=arguments.log_prompts,
        state=urls[-1] if urls else None,
    )
    service = gateway.open_service(router, None if arguments.insecure_local else state, GatewaySettings(**bounds))
    service.keep_s = arguments.keep
    if arguments.memory is not None:
        gateway.remember(service, arguments.memory)
    if arguments.trace:
        _trace(service)

    def started(url: str) -> None:
        gateway.say(url)
        for line in (f"its dashboard is at {url}/ui", *_unlearnt(arguments)):
            print(line, file=sys.stderr)
        if service.keys is not None and service.keys.empty:
            print("no key is in force yet; make one with: pointsman keys create --name NAME", file=sys.stderr)

    gateway.settle()
    try:
        gateway.make_server(service, arguments.host, arguments.port, started).run()
    except SystemExit as end:  # uvicorn's, which has said why: the port is taken, or the host is none of ours
        return int(bool(end.code))
    return 0


def _unlearnt(arguments: argparse.Namespace) -> list[str]:
    """What to say of a log from which nothing can be learnt."""
    if arguments.log is not None and arguments.log_prompts == "none":
        return ["the log keeps no requests, so that no router can learn from it; see --log-prompts"]
    if arguments.log is None and arguments.log_prompts != "none":
        return [f"--log-prompts {arguments.log_prompts} keeps nothing without --log: name a folder or a store"]
    return []


def _trace(service: Any) -> None:
    """Traces from here on."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter") is None:
        raise ConfigError("OpenTelemetry is not installed; add it with: pip install 'pointsman[otel]'")
    from router_runtime.gateway.serve import trace  # here: extras
    from router_runtime.tracing import Spans, open_provider

    provider = open_provider()
    trace(service, Spans(provider))
    service.closing.append(provider.shutdown)


def create_key(arguments: argparse.Namespace) -> int:
    """``pointsman keys create``."""
    now = time.time()
    key, record = keys.create_key(
        _state(arguments),
        arguments.name,
        now,
        tiers=tuple(arguments.tier),
        budget_usd=arguments.budget,
        budget_window=arguments.budget_window,
        requests_per_minute=arguments.requests_per_minute,
        tokens_per_minute=arguments.tokens_per_minute,
        expires=None if arguments.expires is None else now + arguments.expires,
        admin=arguments.admin,
    )
    _show(arguments, {"key": key, **record.public()}, key)
    if not arguments.json:
        print("this is shown once; only its hash is kept", file=sys.stderr)
    return 0


def list_keys(arguments: argparse.Namespace) -> int:
    """``pointsman keys list``."""
    now = time.time()
    records = sorted(keys.read_keys(_state(arguments)).values(), key=lambda record: record.created)
    rows = [("id", "name", "kind", "tiers", "state")]
    for record in records:
        kind = "admin" if record.admin else "models"
        state = (record.refusal(now) or "in force").removeprefix("this key ")
        rows.append((record.id, record.name, kind, ", ".join(record.tiers) or "any", state))
    document = {"keys": [{**record.public(), "in_force": record.refusal(now) is None} for record in records]}
    _show(arguments, document, "\n".join(render.table(rows)))
    return 0


def revoke_key(arguments: argparse.Namespace) -> int:
    """``pointsman keys revoke``."""
    record = keys.revoke_key(_state(arguments), arguments.key, time.time())
    _show(arguments, record.public(), f"{record.name} ({record.id}) is revoked")
    return 0


def _show(arguments: argparse.Namespace, document: dict[str, Any], words: str) -> None:
    render.show(arguments.json, document, words)


def _state(arguments: argparse.Namespace) -> Path:
    """The folder of the keys.

    Raises:
        ConfigError: For a URL: what replicas share holds no keys, and a folder of that name would be made.
    """
    if arguments.state is not None and is_shared(arguments.state):
        raise ConfigError(
            "keys are kept in a folder: name one with --state, which 'serve' takes beside its redis:// URL"
        )
    return overrides.default_state_dir() if arguments.state is None else Path(arguments.state)


def _port(text: str) -> int:
    port = int(text)
    if not 0 <= port <= 65_535:
        raise argparse.ArgumentTypeError(f"{text} is no port")
    return port
