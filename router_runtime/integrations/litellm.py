"""A bundle that chooses inside LiteLLM: its documented hook for custom routing strategies.

In a program::

    from litellm import Router as LiteLLMRouter
    from router_runtime.integrations.litellm import PointsmanStrategy

    llm_router = LiteLLMRouter(model_list=[...])          # one group named "auto" beside those to choose from
    PointsmanStrategy(llm_router, Router.open("models/default", registry="registry.yaml")).install()

In LiteLLM's proxy, a file ``pointsman_hook.py`` beside its ``config.yaml``::

    from router_runtime.integrations.litellm import ProxyHook
    hook = ProxyHook("models/default", "registry.yaml")

and ``litellm_settings: {callbacks: pointsman_hook.hook}``. Requests for the group ``auto`` are then decided here, all
others as before. Groups are chosen from by their names, which must be names or aliases of the registry's models (as
``pointsman import-config`` writes them). Which deployment of a group answers, cooldowns, retries and the call itself
stay LiteLLM's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from litellm import BadRequestError
from litellm.integrations.custom_logger import CustomLogger
from litellm.types.router import CustomRoutingStrategyBase, RouterRateLimitError

from router_runtime.errors import PointsmanError
from router_runtime.options import RouteOptions
from router_runtime.router import Router

_ASKED = ("tools", "response_format")


class PointsmanStrategy(CustomRoutingStrategyBase):  # type: ignore[misc]
    """Chooses the group by the bundle, and lets LiteLLM choose the deployment within it.

    Args:
        llm_router: LiteLLM's router.
        router: Ours.
        group: Name of the group whose requests are decided here.
    """

    def __init__(self, llm_router: Any, router: Router, group: str = "auto") -> None:
        self._llm, self.router, self.group = llm_router, router, group
        self._usual, self._usual_sync = llm_router.async_get_available_deployment, llm_router.get_available_deployment

    def install(self) -> None:
        """Takes the place of LiteLLM's own strategy."""
        self._llm.set_custom_routing_strategy(self)

    async def async_get_available_deployment(
        self,
        model: str,
        request_kwargs: dict[str, Any] | None = None,
        messages: list[dict[str, str]] | None = None,
        input: str | list[Any] | None = None,
        specific_deployment: bool | None = False,
    ) -> Any:
        """See LiteLLM's ``CustomRoutingStrategyBase``; an element of its ``model_list``.

        Raises:
            RouterRateLimitError: No deployment of any eligible group is up.
            BadRequestError: No model may take the request.
        """
        more: dict[str, Any] = {"messages": messages, "input": input, "specific_deployment": specific_deployment}
        kwargs = request_kwargs if request_kwargs is not None else {}
        if model != self.group or messages is None:
            return await self._usual(model=model, request_kwargs=kwargs, **more)
        away: RouterRateLimitError | None = None
        for name in await self.router.off_loop(lambda: list(self.ranked(messages, kwargs))):
            try:
                return await self._usual(model=name, request_kwargs=kwargs, **more)
            except RouterRateLimitError as error:  # all of the group cool down: the next one by rank
                away = error
        assert away is not None
        raise away

    def get_available_deployment(
        self,
        model: str,
        messages: list[dict[str, str]] | None = None,
        input: str | list[Any] | None = None,
        specific_deployment: bool | None = False,
        request_kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """As :meth:`async_get_available_deployment`."""
        more: dict[str, Any] = {"messages": messages, "input": input, "specific_deployment": specific_deployment}
        if model != self.group or messages is None:
            return self._usual_sync(model=model, request_kwargs=request_kwargs, **more)
        away: RouterRateLimitError | None = None
        for name in self.ranked(messages, request_kwargs or {}):
            try:
                return self._usual_sync(model=name, request_kwargs=request_kwargs, **more)
            except RouterRateLimitError as error:
                away = error
        assert away is not None
        raise away

    def ranked(self, messages: Sequence[Mapping[str, Any]], asked: Mapping[str, Any]) -> Iterator[str]:
        """LiteLLM's groups for a request, the chosen one first, then the others as the policy ranks them."""
        groups = self.groups()
        options = cast(RouteOptions, {name: asked[name] for name in _ASKED if asked.get(name) is not None})
        options["models"] = list(groups)
        try:
            decision = self.router.route(list(messages), **options)
        except PointsmanError as error:
            raise self._bad(error) from error
        yield groups[decision.chosen]
        yield from (groups[one.model] for one in decision.candidates if one.model != decision.chosen)

    def groups(self) -> dict[str, str]:
        """LiteLLM's group by the registry's model; groups that the registry does not know are left out."""
        known = self.router.current_registry().names
        names = (name for name in self._llm.model_names if name != self.group and name in known)
        return {known[name]: name for name in names}

    def _bad(self, error: PointsmanError) -> BadRequestError:
        return BadRequestError(message=str(error), model=self.group, llm_provider="pointsman")


class ProxyHook(CustomLogger):  # type: ignore[misc]
    """A callback of LiteLLM's proxy that installs the strategy before the first request, and after a reload.

    Args:
        bundle: Folder of a bundle; None = the static table.
        registry: Path of a registry whose models bear the names of the proxy's groups.
        group: As in :class:`PointsmanStrategy`.
        settings: More for :meth:`router_runtime.router.Router.open`, such as ``log``.
    """

    def __init__(self, bundle: str | Path | None, registry: str | Path, group: str = "auto", **settings: Any) -> None:
        super().__init__()
        self._router, self._group = Router.open(bundle, registry=registry, **settings), group
        self._installed: Any = None

    async def async_pre_call_hook(self, *_arguments: Any, **_named: Any) -> None:
        """Before each request; nothing of it is changed."""
        from litellm.proxy import proxy_server  # here: it exists only within the proxy

        current = proxy_server.llm_router
        if current is not None and current is not self._installed:
            PointsmanStrategy(current, self._router, self._group).install()
            self._installed = current
