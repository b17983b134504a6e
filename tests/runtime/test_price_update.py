"""Newer prices become another dated entry: comments stay, nothing is overwritten, nothing is half written."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router_runtime.cli import main
from router_runtime.errors import RegistryError
from router_runtime.price_source import known_price
from router_runtime.price_update import find_updates, write_update
from router_runtime.registry import Price
from router_runtime.registry_reader import DEFAULT_REGISTRY, load_registry

TODAY = date(2026, 11, 23)
NOW = datetime(2026, 11, 23, 9, tzinfo=UTC).timestamp()
MODELS = {"flow", "flow-in-block", "block", "wide", "mixed", "last"}
NEW = Price(TODAY, 1.25, 5.0, 0.125)

STYLES = """\
# the head
providers:
  p: {adapter: openai, base_url: "http://localhost:1"}  # ours
models:
  flow: {provider: p, prices: [{valid_from: 2026-04-01, input: 1, output: 2}]}  # in one line
  flow-in-block:
    provider: p
    prices: [
      {valid_from: 2026-04-01, input: 1, output: 2},  # the first
    ]
  block:
    provider: p
    prices:
      - valid_from: 2026-04-01  # day
        input: 1
        output: 2  # the last one

      # a comment that belongs to nothing
    aliases: [bee]
  wide:
    provider: p
    prices:
      -   valid_from: 2026-04-01
          input: 1
          output: 2
  mixed:
    provider: p
    prices:
    - {valid_from: 2026-01-01, input: 3, output: 4}
    - {valid_from: 2026-04-01, input: 1, output: 2}
  ours: {provider: p, self_hosted: true, prices: [{valid_from: 2026-04-01, input: 0, output: 0}]}
  last:
    provider: p
    prices:
      - {valid_from: 2026-04-01, input: 1, output: 2}"""


def source(price: Price | None = NEW, of: str = ""):
    return lambda _url, names, _day: price if not of or of in names else None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "registry.yaml"
    path.write_text(STYLES)
    return path


def test_an_entry_is_added_in_every_style_and_all_else_stays(file: Path) -> None:
    before = load_registry(file)
    found = find_updates(file, source(), NOW)
    write_update(file, found)
    after = load_registry(file)
    assert set(found.added) == MODELS
    for name in found.added:
        assert after.models[name].prices == (*before.models[name].prices, NEW)
    assert after.models["ours"] == before.models["ours"]
    lines = file.read_text().splitlines()
    removed = [line for line in STYLES.splitlines() if line not in lines]
    assert removed == [line for line in STYLES.splitlines() if "in one line" in line or line.endswith("# the first")]
    assert "# a comment that belongs to nothing" in file.read_text()
    assert [path.name for path in file.parent.iterdir()] == ["registry.yaml"], "no scraps"


@pytest.mark.parametrize("name", ["flow", "flow-in-block", "block", "wide", "mixed", "last"])
@given(price=st.builds(Price, st.just(TODAY), *[st.floats(0, 1e6)] * 2, st.none() | st.floats(0, 1e6)))
def test_one_model_alone(name: str, price: Price, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("prices") / "registry.yaml"
    path.write_text(STYLES.replace("\n", "\r\n") if price.input > 1 else STYLES)
    found = find_updates(path, source(price, name), NOW)
    assert list(found.added) == [name]
    write_update(path, found)
    assert load_registry(path).models[name].prices[-1] == found.added[name]
    assert found.added[name].input == pytest.approx(price.input, rel=1e-9)


def test_a_price_that_is_a_sum_is_rounded(file: Path) -> None:
    found = find_updates(file, source(Price(TODAY, 1.0399999999999998, 0.1 + 0.2)), NOW)
    assert "{valid_from: 2026-11-23, input: 1.04, output: 0.3}" in found.text
    assert set(find_updates(file, source(Price(TODAY, 1.0000000000000002, 2)), NOW).unchanged) == MODELS


def test_what_is_the_same_or_new_today_is_left_alone(file: Path) -> None:
    same = find_updates(file, source(Price(TODAY, 1, 2)), NOW)
    assert (same.text, set(same.unchanged), same.added) == (
        STYLES,
        MODELS,
        {},
    )
    write_update(file, find_updates(file, source(), NOW))
    again = find_updates(file, source(Price(TODAY, 9, 9)), NOW)
    assert not again.added
    assert again.refused["flow"] == "has a price from 2026-11-23 on already"
    later = find_updates(file, source(Price(date(2026, 11, 24), 9, 9)), NOW + 86_400)
    assert set(later.added) == MODELS
    assert find_updates(file, source(None), NOW).unknown == ("flow", "flow-in-block", "block", "wide", "mixed", "last")


def test_a_file_that_changed_meanwhile_is_not_written(file: Path) -> None:
    found = find_updates(file, source(), NOW)
    file.write_text(STYLES + "\n# somebody was here\n")
    with pytest.raises(RegistryError, match="changed meanwhile"):
        write_update(file, found)
    assert file.read_text().endswith("here\n")


def test_what_a_link_leads_to_is_written(file: Path) -> None:
    link = file.with_name("linked.yaml")
    link.symlink_to(file.name)
    found = find_updates(link, source(), NOW)
    write_update(link, found)
    assert link.is_symlink()
    assert file.read_text() == found.text


def test_the_files_permissions_stay(file: Path) -> None:
    file.chmod(0o640)
    write_update(file, find_updates(file, source(), NOW))
    assert file.stat().st_mode & 0o777 == 0o640


def test_the_installed_package_prices_the_shipped_registry(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("genai_prices", reason="the prices extra is not installed")
    path = tmp_path / "registry.yaml"
    path.write_text(DEFAULT_REGISTRY.read_text())
    command = ["prices", "update", "--registry", str(path)]
    assert main([*command, "--dry-run"]) == 0
    shown = capsys.readouterr().out
    assert "+    prices: [{valid_from: 2026-04-01, input: 15, output: 75}, {valid_from: " in shown
    assert path.read_text() == DEFAULT_REGISTRY.read_text()
    assert main([*command, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["written"]
    assert "claude-opus-4.7" in document["added"]
    assert len(load_registry(path).models["claude-opus-4.7"].prices) == 2
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["written"] is False


def test_prices_by_the_hour_are_the_dearest_and_by_length_the_first() -> None:
    pytest.importorskip("genai_prices", reason="the prices extra is not installed")
    peak = known_price("https://api.deepseek.com", ["deepseek-v4-flash"], TODAY)
    assert peak is not None
    assert peak.input >= 0.15
    tiered = known_price("https://api.openai.com/v1", ["no-such", "gpt-5.5"], TODAY)
    assert tiered is not None
    assert tiered.cached_input is not None
    assert tiered.cached_input < tiered.input < tiered.output
    assert known_price("https://api.openai.com/v1", ["no-such-model"], TODAY) is None
    assert known_price("http://127.0.0.1:8000", ["gpt-5.5"], TODAY) is None
