"""The cache: one place, names by content, a limit, the oldest go first; and the command that shows it."""

import json
import os
from pathlib import Path

import pytest

from resing import cache, cli


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESING_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def keep(kind: str, name: str, size: int, used: float) -> Path:
    path = cache.entry(kind, name)
    path.write_bytes(bytes(size))
    os.utime(path, (used, used))
    return path


def test_it_lies_under_resing_home_or_where_the_system_keeps_caches(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
):
    assert cache.entry("heard", "a") == own_home / "cache" / "heard" / "a"
    monkeypatch.delenv("RESING_HOME")
    assert cache.folder().name.lower() == "resing" and own_home not in cache.folder().parents


def test_keys_differ_with_each_fact_and_are_the_same_for_the_same():
    assert cache.key("a", 1, None) == cache.key("a", 1, None)
    assert len({cache.key("a", 1), cache.key("a", "1"), cache.key("a1"), cache.key(1, "a")}) == 4
    assert len(cache.key("a")) == 40


def test_sizes_by_kind():
    assert cache.size() == {}
    keep("heard", "a", 10, 1.0)
    keep("heard", "b", 5, 1.0)
    keep("takes", "c", 7, 1.0)
    assert cache.size() == {"heard": cache.Held(2, 15), "takes": cache.Held(1, 7)}


def test_over_the_limit_what_was_used_longest_ago_goes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "LARGEST_BYTES", 20)
    monkeypatch.setattr(cache, "NEWEST", 1)
    oldest, newest = keep("heard", "a", 10, 1.0), keep("takes", "b", 10, 3.0)
    again = keep("heard", "c", 10, 0.0)
    cache.used(again)
    cache.trim()
    assert not oldest.exists() and newest.exists() and again.exists()
    cache.trim()
    assert newest.exists() and again.exists()


def test_a_song_keeps_what_it_needs_however_large_it_is(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(cache, "LARGEST_BYTES", 20)
    old = keep("stems", "old", 1, 1.0)
    needed = [keep("stems", f"{i}", 10, 2.0 + i) for i in range(cache.NEWEST)]
    cache.trim()
    assert not old.exists() and all(path.exists() for path in needed)


def test_a_folder_that_cannot_be_made_is_an_empty_cache(own_home: Path):
    own_home.write_text("a file where the folder should be")
    assert not cache.entry("heard", "a").exists()
    assert cache.size() == {}
    cache.trim()
    cache.clear()


def test_the_command_shows_and_clears(own_home: Path, capsys: pytest.CaptureFixture[str]):
    kept = keep("heard", "a", 1_500_000, 1.0)
    assert cli.run(["cache"]) == 0
    shown = capsys.readouterr()
    assert "heard" in shown.out and "1.5 MB" in shown.out and str(own_home / "cache") in shown.err
    assert cli.run(["cache", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kinds"] == {"heard": {"files": 1, "bytes": 1_500_000}}
    assert cli.run(["cache", "clear", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["freed_bytes"] == 1_500_000
    assert not kept.exists()
    assert cli.run(["cache"]) == 0
    assert "holds 0.0 MB" in capsys.readouterr().err
