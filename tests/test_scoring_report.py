"""The report of a scoring: what is in the page; test_scoring_report_browser.py: what it does in a browser."""

import base64
import json
import re
import tomllib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest
from report_song import NASTY, RATE, SECONDS, Made

from resing.audio import files
from resing.errors import AudioError, ConfigError
from resing.scoring.card import Scorecard
from resing.scoring.page import clock, number
from resing.scoring.report import TEMPLATE, write_report


class Outline(HTMLParser):
    """What a page consists of: its elements with their attributes, and its text by element."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: dict[str, str] = {}
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag = self.elements[-1][0] if self.elements else ""
        self.text[tag] = self.text.get(tag, "") + data

    def attributes(self, tag: str, name: str) -> list[str]:
        return [found[name] or "" for kind, found in self.elements if kind == tag and name in found]


def outline(made: Made) -> Outline:
    return Outline(made.page.read_text(encoding="utf-8"))


def drawn(made: Made) -> dict[str, Any]:
    """What the page's script draws."""
    page = made.page.read_text(encoding="utf-8")
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


# ---- the file ----


def test_everything_is_inside_the_page(made: Made):
    page = outline(made)
    addresses = [
        value
        for _, attributes in page.elements
        for name, value in attributes.items()
        if name in {"src", "href", "action", "poster", "srcset"}
    ]
    assert len(addresses) == 3 and all(value.startswith("data:") for value in addresses)
    text = made.page.read_text(encoding="utf-8")
    assert re.findall(r"https?://|url\(|@import", text) == []
    assert "{{" not in text.replace("{{data}}", "")
    assert made.page.stat().st_size < 600_000


def test_every_text_is_escaped(made: Made):
    page = outline(made)
    assert [found for tag, found in page.elements if tag == "script"] == [
        {"type": "application/json", "id": "data"},
        {},
    ]
    assert page.text["h1"].strip() == f"{made.output.name}, sung by {NASTY}"
    assert NASTY in page.text["small"] and NASTY in page.text["span"]
    assert str(made.output.parent) not in made.page.read_text(encoding="utf-8")


def test_only_the_pages_own_script_may_run(made: Made):
    policy = outline(made).attributes("meta", "content")[0]
    assert "default-src 'none'" in policy and "script-src 'sha256-" in policy


def test_the_sound_is_all_there(made: Made, tmp_path: Path):
    for sound, path in zip(outline(made).attributes("audio", "src"), (made.source, made.output), strict=True):
        copy = tmp_path / "copy.opus"
        copy.write_bytes(base64.b64decode(sound.partition("base64,")[2]))
        heard, original = files.read(copy, RATE)[0], files.read(path, RATE)[0]
        assert heard.shape == original.shape
        assert np.corrcoef(heard[0], original[0])[0, 1] > 0.99


def test_the_transposition_is_taken_out_of_the_pitch(made: Made):
    curves = drawn(made)["pitch"]
    for start, f0 in ((0.3, 220.0), (1.9, 277.18), (3.4, 329.63)):
        frames = slice(round(start / curves["step"]), round((start + 0.6) / curves["step"]))
        for name in ("source", "output"):
            cents = np.array(curves[name][frames], float)
            assert np.abs(cents - 6900 - 1200 * np.log2(f0 / 440)).max() < 15
    assert curves["source"][round(1.4 / curves["step"])] is None
    assert curves["low"] < 5700 - 50 and curves["high"] > 6400 + 50


def test_loudness_is_that_of_both(made: Made):
    levels = drawn(made)["loudness"]
    assert len(levels["source"]) == len(levels["output"]) == round(SECONDS / levels["step"] + 0.5)
    frame = round(0.8 / levels["step"])
    assert levels["source"][frame] > -25
    silent = round(1.4 / levels["step"])
    assert max(levels["source"][silent], levels["output"][silent]) < levels["low"]


def test_the_spectrogram_shows_the_note(made: Made, tmp_path: Path):
    data = drawn(made)["spectrogram"]
    heights = dict(data["ticks"])
    assert 0 < heights["200 Hz"] < heights["500 Hz"] < heights["8 kHz"] < 1
    for name, f0 in (("source", 220.0), ("output", 440.0)):
        path = tmp_path / f"{name}.png"
        path.write_bytes(base64.b64decode(data["pictures"][name].partition("base64,")[2]))
        image = matplotlib.image.imread(path)[..., :3].sum(axis=2)  # (M, columns), dark to bright
        assert image.shape == (128, round(SECONDS / data["step"] + 0.5))
        column = image[:, round(0.6 / data["step"])][::-1]
        lowest = np.flatnonzero(column > 0.75 * column.max())[0]
        expected = heights["200 Hz"] * 128 * f0 / 200  # the mel scale is straight down here
        assert lowest == pytest.approx(expected, abs=2.5)
        assert image[:, round(1.4 / data["step"])].max() < 0.1 * column.max()


def test_a_long_song_is_drawn_in_fewer_columns(made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("resing.scoring.report.MOST_COLUMNS", 100)
    page = write_report(tmp_path / "long.html", made.card, made.output, made.source)
    fine, coarse = drawn(made), drawn(replace(made, page=page))
    assert coarse["spectrogram"]["step"] == pytest.approx(4 * fine["spectrogram"]["step"])
    levels = np.array(fine["loudness"]["source"][:384]).reshape(-1, 4).mean(axis=1)
    assert np.abs(levels - coarse["loudness"]["source"][:96]).max() < 0.2


def test_only_the_part_that_was_sung_is_shown(made: Made, tmp_path: Path):
    output = tmp_path / "part.wav"
    files.write(output, files.read(made.output)[0][:, : 2 * RATE], RATE)
    record = {
        "options": {"start_seconds": 1.6, "end_seconds": 3.6},
        "range": {"moved": []},
        "transpose": 12.0,
        "voice": "x",
        "source_sha256": "",
    }
    Path(f"{output}.json").write_text(json.dumps(record), encoding="utf-8")
    data = drawn(replace(made, page=write_report(tmp_path / "part.html", made.card, output, made.source)))
    assert data["seconds"] == pytest.approx(2.0, abs=0.01)
    cents = np.array(data["pitch"]["source"][20:60], float)
    assert np.abs(cents - 6900 - 1200 * np.log2(277.18 / 440)).max() < 15


# ---- its words ----


def test_flagged_figures_are_marked_in_words(made: Made):
    page = outline(made)
    rows = re.findall(r"<tr role=\"row\".*?</tr>", made.page.read_text(encoding="utf-8"), re.S)[1:]
    assert [("beyond its limit" in row, "flagged" in row) for row in rows] == [
        (True, True),
        (False, False),
        (False, False),
    ]
    assert "not measured" in rows[2] and "Needs a recogniser." in rows[2]
    assert "4.13\u00a0cents" in rows[1] and "\u2264 10" in rows[1] and "fine" in rows[1]
    assert "The same for an everyday note" in rows[1]
    assert "1 of 2 figures beyond their limits, 3 places to listen to." in page.text["p"]


def test_findings_stand_in_order_of_time(made: Made):
    page = outline(made)
    assert page.attributes("button", "data-start")[:3] == ["0.600", "2.000", "3.500"]
    assert page.attributes("button", "data-kind") == ["click", "pitch", "breathy"]
    assert page.text["time"].split(" ") == ["0:00.6", "0:02.0", "to", "0:02.6", "0:03.5", "to", "0:04.0", ""]


def test_a_card_with_nothing_in_it(made: Made, tmp_path: Path):
    empty = Scorecard("a.wav", "b.wav", None, SECONDS, 0.0, (), (), (), ())
    page = write_report(tmp_path / "empty.html", empty, made.output, made.source)
    text = page.read_text(encoding="utf-8")
    assert "Nothing stands out." in text and "Sung in the source&#x27;s key." in text
    assert ">No places to listen to.<" in text


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (None, "dB", "\u2013"),
        (float("nan"), "dB", "\u2013"),
        (float("-inf"), "", "\u2013"),
        (0.0, "", "0"),
        (-0.0001, "", "0"),
        (0.9134, "", "0.913"),
        (-3.1, "dB", "\u22123.1\u00a0dB"),
        (12.345, "%", "12.3%"),
        (44100, "samples", "44,100\u00a0samples"),
        (100.0, "", "100"),
    ],
)
def test_numbers_are_for_people(value: float | None, unit: str, text: str):
    assert number(value, unit) == text


def test_clock():
    assert [clock(t) for t in (0, 59.96, 61.04, 3599.99)] == ["0:00.0", "1:00.0", "1:01.0", "60:00.0"]
    assert [clock(t, 0) for t in (0, 59.6, 61.4)] == ["0:00", "1:00", "1:01"]


# ---- refusals ----


def test_the_page_never_takes_the_place_of_sound(made: Made):
    with pytest.raises(
        ConfigError, match=r"out 'x'\.wav: a report is a web page; give it a name like report"
    ):
        write_report(made.output, made.card, made.output, made.source)
    assert files.probe(made.output).sample_rate == RATE


def test_a_page_that_cannot_be_written(made: Made, tmp_path: Path):
    with pytest.raises(AudioError, match=r"report\.html: cannot be written \(No such file or directory\)"):
        write_report(tmp_path / "none" / "report.html", made.card, made.output, made.source)


def test_progress_is_told_and_can_stop_it(made: Made, tmp_path: Path):
    told: list[tuple[str, float, float]] = []

    def tell(*news: Any) -> None:
        told.append(news)
        if len(told) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_report(tmp_path / "stopped.html", made.card, made.output, made.source, tell)
    assert told == [("report", 0, 3), ("report", 1, 3), ("report", 2, 3)]
    assert list(tmp_path.iterdir()) == []


def test_the_template_ships_with_the_package():
    build = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["tool"]["hatch"][
        "build"
    ]
    assert "src/resing/assets/*.html" in build["artifacts"]
    assert TEMPLATE.is_file()
