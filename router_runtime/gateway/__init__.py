"""The gateway: the router as an HTTP service that speaks OpenAI's and Anthropic's formats (extra ``gateway``).

Thin over :class:`router_runtime.router.Router`: no decision is made here. Start with :mod:`router_runtime.gateway.app`.
"""
