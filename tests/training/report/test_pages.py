"""The report's pages: the command that writes them, and the HTML in a real browser."""

import json

import pytest

from tests.browser import DESKTOP, PHONE, running_browser, watched
from training.cli import main


@pytest.fixture(scope="module")
def pages(held_log, tmp_path_factory):
    out = tmp_path_factory.mktemp("report")
    assert main(["report", "--log", str(held_log), "--out", str(out), "--quiet"]) == 0
    return out


@pytest.fixture(scope="module")
def chrome():
    with running_browser() as browser:
        yield browser


@pytest.mark.parametrize(("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "light"), (PHONE, "dark")])
def test_the_page_opens_without_errors_requests_or_sideways_scrolling(pages, chrome, viewport, scheme):
    address = (pages / "report.html").as_uri()
    with watched(chrome, viewport, scheme) as seen:
        seen.page.goto(address)
        assert seen.errors == []
        assert seen.requests == [address]
        assert seen.sideways() == 0
        headings = seen.page.locator("h2").all_inner_texts()
        assert headings[:4] == ["Day by day", "By task label", "Where a model underperforms", "Models"]
        assert {"Calibration", "Drift", "Providers", "Data"} <= set(headings)
        drawn = seen.page.locator("svg[role=img]")
        assert drawn.count() == 5
        assert all(drawn.nth(i).bounding_box()["height"] > 50 for i in range(5))
        assert "routing saved" in seen.page.locator(".verdict").inner_text()


def test_text_stands_out_from_its_ground_in_light_and_dark(pages, chrome):
    for scheme in ("light", "dark"):
        with watched(chrome, DESKTOP, scheme) as seen:
            seen.page.goto((pages / "report.html").as_uri())
            ink, paper = (
                seen.page.evaluate(f"getComputedStyle(document.body).{name}") for name in ("color", "backgroundColor")
            )
            assert contrast(ink, paper) > 7


def test_wide_tables_scroll_by_keyboard(pages, chrome):
    with watched(chrome, PHONE) as seen:
        seen.page.goto((pages / "report.html").as_uri())
        table = seen.page.get_by_role("region", name="Quality by model and label")
        table.focus()
        assert table.evaluate("one => one === document.activeElement")
        assert table.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"


def test_at_a_desk_every_table_of_the_page_shows_its_last_column(pages, chrome):
    with watched(chrome, DESKTOP) as seen:
        seen.page.goto((pages / "report.html").as_uri())
        tables = seen.page.locator(".wide:visible")
        hidden = {
            tables.nth(i).get_attribute("aria-label"): tables.nth(i).evaluate(
                "one => one.scrollWidth - one.clientWidth"
            )
            for i in range(tables.count())
        }
        assert {name: width for name, width in hidden.items() if width > 0} == {}


def test_names_from_the_log_are_text_and_never_markup(plain_log, tmp_path, chrome):
    from training.report.facts import Question, gather
    from training.report.html import page
    from training.report.reading import read_report_log

    facts = gather(read_report_log(plain_log), Question(source="<script>document.title='x'</script>"))
    (tmp_path / "page.html").write_text(page(facts))
    with watched(chrome) as seen:
        seen.page.goto((tmp_path / "page.html").as_uri())
        assert "<script>" in seen.page.title()
        assert seen.page.locator("script").count() == 0


def test_markdown_says_the_same(pages):
    facts = json.loads((pages / "report.json").read_text())
    text = (pages / "report.md").read_text()
    assert f"**{facts['verdict']['sentence']}**" in text
    assert "in place of what stands there\n  math/sums:\n" in text
    assert all(f"| {one['label']} |" in text for one in facts["labels"])


def test_the_command_prints_one_document_and_refuses_in_one_line(held_log, tmp_path, capsys):
    assert (
        main(
            ["report", "--store", held_log.as_uri().replace("file", "dir"), "--out", str(tmp_path), "--json", "--quiet"]
        )
        == 0
    )
    document = json.loads(capsys.readouterr().out)
    assert document["verdict"]["status"] == "measured"
    assert main(["report", "--log", str(held_log), "--since", "2026-05-01", "--until", "2026-05-02", "--quiet"]) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["report", "--log", str(held_log), "--since", "yesterday", "--quiet"]) == 2


def contrast(first, second):
    """WCAG 2 contrast ratio of two ``rgb(r, g, b)`` colours."""
    light = sorted((luminance(one) for one in (first, second)), reverse=True)
    return (light[0] + 0.05) / (light[1] + 0.05)


def luminance(colour):
    parts = [int(part) / 255 for part in colour.removeprefix("rgb(").removesuffix(")").split(",")]
    linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
