"""Run by an environment that holds LiteLLM: calls through its router with our strategy; prints what happened as JSON.

``python litellm_calls.py URL REGISTRY``: the registry's models ``cheap`` and ``dear`` are both served at URL.
"""

import asyncio
import json
import sys

from litellm import Router as LiteLLMRouter

from router_runtime import Router
from router_runtime.integrations.litellm import PointsmanStrategy

ASK = [{"role": "user", "content": "hello"}]
SEE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]}]


def deployment(group: str, url: str) -> dict:
    params = {"model": f"openai/{group}-upstream", "api_base": url, "api_key": "none"}
    return {"model_name": group, "litellm_params": params, "model_info": {"id": f"id-{group}"}}


async def main(url: str, registry: str) -> dict:
    groups = ("auto", "cheap", "dear", "unknown-here")
    llm = LiteLLMRouter(model_list=[deployment(group, url) for group in groups], num_retries=0, cooldown_time=60)
    strategy = PointsmanStrategy(llm, Router.open(registry=registry, state_dir=None))
    strategy.install()
    found = {"groups": strategy.groups()}
    found["auto"] = (await llm.acompletion("auto", ASK))._hidden_params["model_id"]
    found["vision"] = (await llm.acompletion("auto", SEE))._hidden_params["model_id"]
    found["named"] = (await llm.acompletion("unknown-here", ASK))._hidden_params["model_id"]
    found["sync"] = llm.completion("auto", ASK)._hidden_params["model_id"]
    chunks = [chunk async for chunk in await llm.acompletion("auto", ASK, stream=True)]
    found["streamed"] = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    llm.cooldown_cache.add_deployment_to_cooldown(
        model_id="id-cheap", original_exception=ValueError("down"), exception_status=500, cooldown_time=60.0
    )
    found["cheap cools down"] = (await llm.acompletion("auto", ASK))._hidden_params["model_id"]
    return found


if __name__ == "__main__":
    print(json.dumps(asyncio.run(main(*sys.argv[1:]))))
