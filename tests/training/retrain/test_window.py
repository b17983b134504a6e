"""A window that holds nothing says what to write instead."""

from datetime import UTC, datetime

import pytest

from router_runtime.errors import ConfigError
from training.retrain.window import make_window

NOW = datetime(2026, 4, 8, 15, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("since", "until", "remedy"),
    [
        ("2026-04-08", None, "it ends at the last midnight .UTC.; add --until now, or name an earlier --since"),
        ("0d", None, "add --until now, or name an earlier --since"),
        ("2026-04-05", "2026-04-05", "for all of this one use --until 2026-04-06"),
        ("2026-04-05T10:00", "2026-04-05T10:00", "--until must be later than --since"),
        ("2026-04-07", "2026-04-05", "--until must be later than --since"),
        ("2026-04-09", None, "--since must lie in the past"),
        ("2027-04-09", "now", "--since must lie in the past"),
    ],
)
def test_an_empty_window_names_its_remedy(since, until, remedy):
    with pytest.raises(ConfigError, match=rf"^the window from \S+ to \S+ is empty: .*{remedy}$"):
        make_window(since, until, NOW)


def test_a_day_to_the_next_and_today_so_far_are_windows():
    assert make_window("2026-04-05", "2026-04-06", NOW).until - make_window("2026-04-05", None, NOW).since == 86_400
    assert make_window("2026-04-08", "now", NOW).until == NOW
