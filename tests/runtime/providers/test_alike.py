"""Events that are read by likeness say exactly what they say when they are parsed in full."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_runtime.chat import ChatChunk
from router_runtime.provider_errors import ProviderError
from router_runtime.providers.alike import AlikeText
from router_runtime.providers.catalog import adapter
from router_runtime.providers.decoding import EventStream
from router_runtime.streaming import ServerEvent

EVERY_FORMAT = pytest.mark.parametrize("name", ["openai", "openai-compatible", "anthropic"])
TEXT = st.text(max_size=6) | st.sampled_from(['"content"', '"text": "', "\\", "\u2028", "é", '"}'])


def chat(text: Any, **more: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text, **more.pop("delta", {})}, "finish_reason": None}
    return {"id": "c", "created": 7, "model": "m", "choices": [choice | more.pop("choice", {})], **more}


def delta(text: Any, **more: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}, **more}


BEGUN = [
    {"type": "message_start", "message": {"id": "a", "model": "m"}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
]
CHAT = st.one_of(
    TEXT.map(chat),
    TEXT.map(lambda t: chat(t, content="outside")),
    st.tuples(TEXT, TEXT).map(lambda t: chat(t[0], id=t[1])),
    st.tuples(TEXT, st.text("xyz", max_size=3)).map(lambda t: chat(t[0], obfuscation=t[1])),
    TEXT.map(lambda t: chat(t, usage={"prompt_tokens": len(t)})),
    TEXT.map(lambda t: chat(t, choice={"finish_reason": "stop"})),
    TEXT.map(lambda t: chat(t, delta={"refusal": t})),
    st.sampled_from([chat(None), chat(3), chat(["a"]), {"error": {"message": "x"}}, {}]),
)
MESSAGES = st.one_of(
    TEXT.map(delta),
    TEXT.map(lambda t: {**delta(t), "text": t}),
    st.sampled_from([delta(None), delta(1), delta("x", index=4), {"type": "ping"}, {"type": "message_stop"}]),
    TEXT.map(lambda t: {"type": "error", "error": {"message": t}}),
)


def read(name: str, stream: list[bytes]) -> tuple[list[ChatChunk], tuple[type, str] | None]:
    decoder = adapter(name).decoder()
    chunks = [chunk for piece in stream for chunk in decoder.feed(piece)]
    try:
        return chunks + decoder.close(), None
    except ProviderError as error:
        return chunks, (type(error), str(error))


def encoded(event: dict[str, Any], ascii_only: bool) -> bytes:
    return f"data: {json.dumps(event, ensure_ascii=ascii_only)}\n\n".encode("utf-8", "replace")


@EVERY_FORMAT
@given(st.data())
def test_events_read_by_likeness_are_those_parsed_in_full(name: str, data: st.DataObject) -> None:
    kinds = MESSAGES if name == "anthropic" else CHAT
    events = data.draw(st.lists(kinds, max_size=12))
    stream = [encoded(event, data.draw(st.booleans())) for event in [*(BEGUN if name == "anthropic" else []), *events]]
    in_full = [piece.replace(b"\n\n", b"\n: a comment, so that events are read line by line\n\n") for piece in stream]
    for number, piece in enumerate(in_full):  # and one unknown field more in each, so that none is alike
        in_full[number] = piece.replace(b"{", b'{"nr": %d, ' % number, 1) if b"{}" not in piece else piece
    assert read(name, stream) == read(name, [b"".join(stream)])
    assert [c.content for c in read(name, stream)[0]] == [c.content for c in read(name, in_full)[0]]


class Counting(EventStream):
    """Counts the events that are parsed in full."""

    parsed = 0

    def take(self, event: ServerEvent) -> list[ChatChunk]:
        self.parsed += 1
        return self.plain(event, "content", json.loads(event.data)["choices"][0]["delta"]["content"])


def test_most_of_a_stream_is_read_by_likeness() -> None:
    stream = Counting()
    pieces = [chunk.content for i in range(50) for chunk in stream.feed(encoded(chat(f'"{i}"'), True))]
    assert pieces == [f'"{i}"' for i in range(50)]
    assert stream.parsed == 1


def test_what_another_event_changed_holds_for_alike_ones_after_it() -> None:
    stream = [encoded(chat("a", id=name), True) for name in ("one", "one", "two", "one", "two")]
    assert [chunk.id for chunk in read("openai", stream)[0]] == ["one", "one", "two", "one", "two"]


def test_a_read_of_several_events_is_taken_apart_only_where_that_is_certain() -> None:
    alike = AlikeText()
    alike.learn('{"t": "a", "n": 1}', "t", "a")
    one = b'data: {"t": "%s", "n": 1}\n\n'
    assert alike.read_all(one % b"x" + one % b"" + one % "ü€".encode()) == ["x", "", "ü€"]
    for text in (b'\\"', b"\\n", b"\x01", b'"', b"\xff", b"\n", b"\xc2\x85"):
        assert alike.read_all(one % b"x" + one % text) is None, text
    for data in (
        b"",
        one,
        one % b"x" + b"\n",
        b": c\n" + one % b"x",
        (one % b"x")[:-1],
        one % b"x" + b"data: [DONE]\n\n",
    ):
        assert alike.read_all(data) is None or data == one
    assert alike.read_all(b'data: {"t": "a", "n": 1}\n') is None


def test_what_is_not_certain_is_not_learned() -> None:
    for data, value in [
        ('{"a": {"t": "x"}, "t": "x"}', "x"),  # the key stands there twice
        ('{"t" : ["x"]}', "x"),
        ('{"\\u0074": 1, "t": "x"}', "x"),  # an escape outside of the text
        ('{"t": "y"}', "x"),
        ('{"u": "x"}', "x"),
    ]:
        alike = AlikeText()
        alike.learn(data, "t", value)
        assert alike.read(data) is None, data


@pytest.mark.parametrize("data", ['{"t": "b", "u": 2}', '{"t": "b"', '{"t": "b""}', '{"t": "\x01"}', '{"t": "\\x"}'])
def test_what_is_not_alike_is_parsed_in_full(data: str) -> None:
    alike = AlikeText()
    alike.learn('{"t": "a"}', "t", "a")
    assert alike.read('{"t": "\\u00e9"}') == "é"
    assert alike.read(data) is None


def test_streams_that_are_never_alike_are_given_up() -> None:
    alike = AlikeText()
    for number in range(4):
        alike.learn(f'{{"t": "a", "n": {number}}}', "t", "a")
    alike.learn('{"t": "a", "n": 5}', "t", "a")
    assert alike.read('{"t": "b", "n": 5}') is None
