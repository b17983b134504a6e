"""The corpus, damaged at random: no exception outside of the error tree, and the same result however it is split."""

import contextlib
import json
import random

import pytest

from router_runtime.chat import ChatChunk
from router_runtime.provider_errors import ProviderError
from router_runtime.providers.catalog import adapter
from tests.runtime.providers.corpus import CASES

_BITS = (b'"', b"\\", b"\n", b"\r\n", b"null", b"{}", b"[]", b"1e999", b"\xff", b"\xed\xa0\x80", b'"content":')
_MORE = (b'"text":', b"data: ", b"\n\n", b"-1", b"true", b"\x00", b"event: error\n")


def damaged(data: bytes, rng: random.Random) -> bytes:
    """``data`` after one to six accidents: bytes changed, lost, doubled or turned round, scraps put in."""
    for _ in range(rng.randint(1, 6)):
        start = rng.randrange(len(data) + 1)
        end = min(len(data), start + rng.randint(1, 40))
        kind = rng.randrange(6)
        if kind == 0:
            data = data[:start] + bytes([rng.randrange(256)]) + data[start + 1 :]
        elif kind == 1:
            data = data[:start] + data[end:]
        elif kind == 2:
            data = data[:start] + data[start:end] + data[start:]
        elif kind == 3:
            data = data[:start] + rng.choice(_BITS + _MORE) + data[start:]
        elif kind == 4:
            data = data[:start] + data[start:end][::-1] + data[end:]
        else:
            events = data.split(b"\n\n")
            events.insert(rng.randrange(len(events)), rng.choice(events))
            data = b"\n\n".join(events)
    return data


def read(name: str, pieces: list[bytes]) -> tuple[list[ChatChunk], tuple[type, str] | None]:
    decoder = adapter(name).decoder()
    chunks = [chunk for piece in pieces for chunk in decoder.feed(piece)]
    try:
        return chunks + decoder.close(), None
    except ProviderError as error:
        return chunks, (type(error), str(error))


def damage_all(seed: int, rounds: int) -> None:
    rng = random.Random(seed)
    for number in range(rounds):
        case = rng.choice(CASES)
        stream = damaged(case.stream, rng)
        cuts = sorted(rng.randrange(len(stream) + 1) for _ in range(rng.randint(0, 8)))
        pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
        assert read(case.adapter, pieces) == read(case.adapter, [stream]), (seed, number)
        body = damaged(case.body, rng)
        for status in (200, 400, 429, 500):
            with contextlib.suppress(ProviderError):
                json.dumps(adapter(case.adapter).parse(status, {}, body).to_openai())


def test_damaged_answers() -> None:
    damage_all(1, 400)


@pytest.mark.slow
def test_many_damaged_answers() -> None:
    damage_all(2, 30_000)
