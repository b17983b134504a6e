"""A Redis for this folder's tests, empty for each."""

import pytest
import redis

from router_runtime.state import SharedState
from tests.redis_server import RedisServer


@pytest.fixture(scope="session")
def redis_process():
    with RedisServer() as server:
        yield server


@pytest.fixture
def redis_url(redis_process):
    client = redis.Redis.from_url(redis_process.url)
    client.flushall()
    client.close()
    return redis_process.url


@pytest.fixture
def mortal():
    """A Redis that a test may stop, freeze and start again."""
    with RedisServer() as server:
        yield server


@pytest.fixture
def shared(redis_url):
    """Opens states at the session's Redis; they are closed at the end."""
    opened = []

    def open_state(url=redis_url, **more):
        opened.append(SharedState(url, **more))
        return opened[-1]

    yield open_state
    for state in opened:
        state.close()
