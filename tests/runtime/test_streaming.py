"""Server-sent events: the rules of the WHATWG's specification, and bytes split anywhere."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_runtime.provider_errors import MalformedAnswer
from router_runtime.streaming import EventDecoder, ServerEvent


def decode(*pieces, bound=1000):
    decoder = EventDecoder(bound)
    return [event for piece in pieces for event in decoder.feed(piece)]


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\r\n"])
def test_all_line_ends(end):
    stream = end.join(
        [b": comment", b"event: a", b"data: one", b"data:two", b"data", b"id: 7", b"", b"data: x", b"", b""]
    )
    assert decode(stream) == [ServerEvent("a", "one\ntwo\n"), ServerEvent("", "x")]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"\xef\xbb\xbfdata: bom\n\n", [("", "bom")]),
        (b"data: a\n\n\xef\xbb\xbfdata: b\n\n", [("", "a")]),  # a mark in the middle is part of a field's name
        (b"event: nothing\n\ndata: x\n\n", [("", "x")]),  # an event without data is none, and its name is forgotten
        (b"data:  two spaces\n\n", [("", " two spaces")]),
        (b"data: unfinished\n", []),
        (b"dataset: no\ndata-x: no\n\n", []),
        (b"data: \xe2\x82\xac \xff\n\n", [("", "€ �")]),
        (b"data: a\x0bb\x1cc\xe2\x80\xa8d\n\n", [("", "a\x0bb\x1cc\u2028d")]),  # no line ends in this format
        (b"\n\n\n", []),
    ],
)
def test_the_corners_of_the_specification(stream, events):
    assert decode(stream) == [ServerEvent(*event) for event in events]


@given(
    st.lists(st.sampled_from([b"data: a", b"data", b"event: e", b"\r", b"\n", b"\r\n", b"\xe2\x82\xac", b":c", b""])),
    st.data(),
)
def test_the_same_events_however_the_bytes_are_split(pieces, data):
    stream = b"".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    split = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert decode(*split) == decode(stream) == decode(*(stream[i : i + 1] for i in range(len(stream))))


@pytest.mark.parametrize(
    "stream", [b"data: " + b"x" * 100 + b"\n\n", b"data: 123456789\n" * 10 + b"\n", b":" + b"x" * 99 + b"\n"]
)
def test_lines_and_events_are_bounded(stream):
    with pytest.raises(MalformedAnswer, match="larger than 50 bytes"):
        decode(stream, bound=50)


def test_a_line_that_never_ends_is_seen_before_it_ends():
    decoder = EventDecoder(50)
    assert decoder.lines(b"x" * 50) == []
    assert not decoder.overflow
    decoder.lines(b"x")
    assert decoder.overflow
