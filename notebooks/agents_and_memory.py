"""Four agents solve a list of tasks together: ``python -m notebooks.agents_and_memory``.

Nothing leaves the machine and no key is needed: the shipped registry's agents, models and prices are used, but each
provider is a small local server whose answers stand below. So the costs follow from the registry's prices and from the
lengths that are scripted here; how good real models are is not shown.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from router_runtime import Router
from router_runtime.execution import Completion
from router_runtime.memory import Memory, open_memory
from router_runtime.registry import Registry
from router_runtime.registry_reader import load_registry

TIER = "pro"
ONE_FOR_ALL = "claude-opus-4.7"
PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVORK5CYII="
)
TOOL = {"type": "function", "function": {"name": "shell", "parameters": {"type": "object", "properties": {}}}}


@dataclass(frozen=True)
class Task:
    """One task.

    Args:
        text: What is asked.
        answer: What the scripted provider says.
        tokens: Of that answer, thinking included.
        agent: Who is asked; ``auto`` = the one that fits.
        image: Whether a picture comes with it.
        tools: Whether the shell is offered.
        recall: What the agent looks up in the memory before.
        without: The scripted answer where nothing was found.
        note: What the agent writes to the memory after.
    """

    text: str
    answer: str
    tokens: int
    agent: str = "auto"
    image: bool = False
    tools: bool = False
    recall: str = ""
    without: str = ""
    note: str = ""


TASKS = (
    Task(
        "Refactor the function parse_invoice so that totals are whole cents.",
        "def parse_invoice(text): return {'amount_due': round(float(fields(text)['Total']) * 100)}",
        1800,
        agent="coding",
        note="parse_invoice() keeps the total of an invoice in the field amount_due, in cents",
    ),
    Task(
        "Read the total on this scanned invoice and name the field of our parser that takes it.",
        "The total is 41.90; it goes into amount_due as 4190.",
        300,
        agent="vision",
        image=True,
        recall="which field takes the total of an invoice",
        without="The total is 41.90; I cannot know the parser's field.",
    ),
    Task("Sort this ticket into a label: I was charged twice this month.", "billing", 4, agent="classifier"),
    Task("Sort this ticket into a label: the app crashes when I log in.", "bug", 4, agent="classifier"),
    Task("Sort this e-mail into a label: could you add a dark mode?", "wish", 4),
    Task(
        "Run the shell command that starts the tests, step by step.",
        "All 214 tests pass in 31 s.",
        900,
        agent="terminal",
        tools=True,
        recall="parse_invoice total",
        note="The tests pass since parse_invoice keeps cents",
    ),
    Task("Debug the function that rounds 0.125 to 0.12 in our Python code.", "Use Decimal and ROUND_HALF_UP.", 1500),
    Task("Describe this screenshot of the invoice page.", "A table of four rows, the total in bold.", 250, image=True),
)


@dataclass(frozen=True)
class Done:
    """A task that was solved: who took it, which model answered what, at what cost, with which notes of others."""

    task: Task
    agent: str
    model: str
    answer: str
    cost_usd: Decimal
    notes: tuple[str, ...] = ()


class _Scripted(BaseHTTPRequestHandler):
    """Speaks OpenAI's Chat Completions; lengths of prompts are estimated as a token for four characters."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        said = json.dumps(json.loads(body)["messages"])
        task = next(task for task in TASKS if json.dumps(task.text)[1:-1] in said)
        answer = task.answer if "amount_due" in said or not task.without else task.without
        data = json.dumps(_completion(answer, len(said) // 4, task.tokens)).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


def _completion(answer: str, prompt: int, tokens: int) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": answer}, "finish_reason": "stop"}
    usage = {"prompt_tokens": prompt, "completion_tokens": tokens, "total_tokens": prompt + tokens}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


@contextmanager
def scripted_registry() -> Iterator[Registry]:
    """The shipped registry, whose providers are all a server on this machine while the context lasts."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Scripted)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    known = load_registry()
    own: Any = {"adapter": "openai-compatible", "base_url": url, "api_key_env": None}
    try:
        yield replace(known, providers={name: replace(one, **own) for name, one in known.providers.items()})
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def solve(router: Router, memory: Memory, tasks: Sequence[Task] = TASKS) -> list[Done]:
    """Each task by its agent, which reads the memory before and writes to it after."""
    return [_by_agent(router, memory, task) for task in tasks]


def solve_alone(router: Router, model: str = ONE_FOR_ALL, tasks: Sequence[Task] = TASKS) -> list[Done]:
    """All tasks by one model, without agents or memory."""
    return [
        _done(task, "none", router.complete_sync(_messages(task, ()), model=model, tier=TIER, **_tools(task)))
        for task in tasks
    ]


def _by_agent(router: Router, memory: Memory, task: Task) -> Done:
    notes: tuple[str, ...] = ()
    if task.recall:
        found = memory.search(task.recall, reader=task.agent, k=2)
        notes = tuple(f"{hit.entry.agent}: {hit.entry.text}" for hit in found)
    answer = router.agent(task.agent).complete_sync(_messages(task, notes), tier=TIER, **_tools(task))
    agent = answer.decision.agent
    assert agent is not None
    if task.note:
        memory.write(agent, task.note, tags=("invoice",))
    return _done(task, agent, answer, notes)


def _done(task: Task, agent: str, answer: Completion, notes: tuple[str, ...] = ()) -> Done:
    return Done(task, agent, answer.served, answer.text, answer.cost_usd, notes)


def _messages(task: Task, notes: Sequence[str]) -> list[dict[str, Any]]:
    text = "\n".join((*(f"Note of {note}" for note in notes), task.text))
    parts: list[dict[str, Any]] = [{"type": "text", "text": text}]
    if task.image:
        parts.append({"type": "image_url", "image_url": {"url": PIXEL}})
    return [{"role": "user", "content": parts if task.image else text}]


def _tools(task: Task) -> dict[str, Any]:
    return {"tools": [TOOL]} if task.tools else {}


def table(done: Sequence[Done]) -> str:
    """A line for each task, and the sum."""
    lines = [f"{one.agent:11} {one.model:18} ${one.cost_usd:.6f}  {one.task.text[:60]}" for one in done]
    lines += [f"            {one.agent} read a note of {note}" for one in done for note in one.notes]
    return "\n".join((*lines, f"{'together':30} ${total(done):.6f}"))


def total(done: Sequence[Done]) -> Decimal:
    """USD."""
    return sum((one.cost_usd for one in done), Decimal(0))


def main() -> None:
    """Prints both ways."""
    with tempfile.TemporaryDirectory() as folder, scripted_registry() as registry:
        memory = open_memory(Path(folder) / "memory.sqlite", lambda: registry)
        with closing(Router.open(registry=registry, state_dir=None)) as router:
            agents, alone = solve(router, memory), solve_alone(router)
        memory.close()
    print(table(agents))
    print(f"\n{ONE_FOR_ALL} for all: ${total(alone):.6f}, {total(alone) / total(agents):.2f} times as much")


if __name__ == "__main__":
    main()
