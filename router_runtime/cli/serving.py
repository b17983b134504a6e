"""``pointsman serve`` and ``pointsman keys``."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from router_runtime import overrides
from router_runtime.errors import ConfigError
from router_runtime.registry_reader import DEFAULT_REGISTRY


def register(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the commands."""
    _add_serve(subparsers)


def _add_serve(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = subparsers.add_parser(
        "serve",
        help="serve the router over HTTP",
        description="Serves the router over HTTP, to clients of OpenAI's and Anthropic's APIs.",
        epilog="example:\n  pointsman serve --bundle models/default --registry registry.yaml --log logs/",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--bundle", metavar="DIR", help="folder of a bundle (default: none, the static table chooses)")
    parser.add_argument("--registry", default=str(DEFAULT_REGISTRY), metavar="FILE", help="registry.yaml")
    parser.add_argument("--log", metavar="STORE", help="folder or URL of the outcome log (default: none)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="port to listen on; 0 takes a free one (default 8080)")
    parser.add_argument(
        "--state", metavar="DIR", help="keys, budgets and disabled models (default: $POINTSMAN_STATE, else the user's)"
    )
    parser.add_argument(
        "--insecure-local", action="store_true", help="ask for no key; only on a loopback address, for trying out"
    )
    parser.set_defaults(run=serve)


def serve(arguments: argparse.Namespace) -> int:
    """``pointsman serve``."""
    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise ConfigError("the gateway is not installed; add it with: pip install 'pointsman[gateway]'")
    from router_runtime.gateway import serve as gateway  # here: the extra's libraries, which other commands do not need

    gateway.check_door(arguments.host, insecure_local=arguments.insecure_local)
    state = overrides.default_state_dir() if arguments.state is None else Path(arguments.state)
    router = gateway.open_router(arguments.bundle, arguments.registry, state, arguments.log)
    service = gateway.open_service(router, None if arguments.insecure_local else state)
    server = gateway.make_server(service, arguments.host, arguments.port, gateway.say)
    server.run()
    return 0
