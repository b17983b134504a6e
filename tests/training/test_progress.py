"""What long work says while it runs."""

from __future__ import annotations

import io

from training.progress import Progress


def test_a_line_is_one_line_and_as_it_was_written():
    stream = io.StringIO()
    said = f"domain=[law] {'a long name ' * 20}end"
    Progress(stream).say(said)
    assert stream.getvalue().splitlines()[0].endswith(said)


def test_nothing_where_nobody_looks():
    stream = io.StringIO()
    quiet = Progress(stream, enabled=False)
    quiet.say("anything")
    assert list(quiet.track([1, 2], "counting")) == [1, 2]
    assert stream.getvalue() == ""
