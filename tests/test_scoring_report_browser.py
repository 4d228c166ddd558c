"""The report of a scoring in a real browser: players, findings, keys, and a narrow screen."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import Tab, open_tab
from report_song import FINDINGS, NASTY, PHRASES, RATE, SECONDS, Made

from resing.audio import files
from resing.scoring.report import write_report


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A tab of a headless browser."""
    with open_tab(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def test_the_page_loads_without_a_word(tab: Tab, made: Made):
    tab.open(made.page)
    assert tab.complaints() == []
    assert tab.value("document.querySelector('h1').textContent") == f"{made.output.name}, sung by {NASTY}"
    durations = tab.value("[...document.querySelectorAll('audio')].map(sound => sound.duration)")
    assert durations == pytest.approx([SECONDS, SECONDS], abs=0.03)
    assert tab.value("document.querySelectorAll('.bar').length") == len(FINDINGS) + len(PHRASES)
    colours = tab.value(
        """[...document.querySelectorAll("canvas")].map(canvas => new Set(new Uint32Array(canvas
        .getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer)).size)"""
    )
    assert len(colours) == 5 and min(colours) > 10


def test_a_finding_in_the_list_moves_both_players(tab: Tab, made: Made):
    tab.open(made.page)
    tab.click("ol.findings li:nth-child(2) button")
    tab.until("[...document.querySelectorAll('audio')].every(sound => !sound.seeking)")
    assert tab.times() == pytest.approx((2.0, 2.0), abs=0.01)
    assert tab.value("document.querySelector('[aria-current]').dataset.kind") == "pitch"
    assert "pitch breaks" in tab.value("document.querySelector('#told').textContent")
    assert tab.value("document.querySelector('#clock').textContent") == "0:02.0 / 0:04.5"
    assert tab.value("document.querySelector('#notes').textContent").count("C#4") == 2
    assert tab.complaints() == []


def test_a_mark_on_the_time_axis_moves_both_players(tab: Tab, made: Made):
    tab.open(made.page)
    tab.click(".lane:nth-child(3) .bar")
    assert tab.times() == pytest.approx((3.5, 3.5), abs=0.01)
    tab.click("#pitch canvas")
    width = tab.value("document.querySelector('#pitch canvas').clientWidth")
    expected = (width / 2 - 74) / (width - 74 - 10) * SECONDS  # the axis begins and ends inside the picture
    assert tab.times() == pytest.approx((expected, expected), abs=0.02)
    assert tab.value("document.querySelector('[aria-current]')") is None


def test_the_switch_keeps_the_place(tab: Tab, made: Made):
    tab.open(made.page)
    tab.click("#play")
    tab.until("now() > 0.4")
    for selector, name in (("[value=source]", "source"), ("[value=output]", "output")):
        before, after, clock_before, clock_after = tab.value(
            f"""(async () => {{ const before = now(), t0 = performance.now();
            document.querySelector("{selector}").click();
            await new Promise(done => setTimeout(done, 200));
            return [before, now(), t0, performance.now()]; }})()"""
        )
        assert after - before == pytest.approx((clock_after - clock_before) / 1000, abs=0.15)
        assert tab.value("[heard, sounds.source.muted, sounds.output.muted, running]") == [
            name,
            name != "source",
            name != "output",
            True,
        ]
    tab.click("#play")
    source, output = tab.times()
    assert 0.4 < source < SECONDS and source == pytest.approx(output, abs=0.05)
    tab.click("[value=source]")
    assert tab.times() == pytest.approx((source, source), abs=0.05)
    assert tab.complaints() == []


def test_everything_can_be_done_with_keys(tab: Tab, made: Made):
    tab.open(made.page)
    tab.press("n")
    tab.press("n")
    assert tab.times() == pytest.approx((2.0, 2.0), abs=0.01)
    tab.press("p")
    assert tab.times() == pytest.approx((0.6, 0.6), abs=0.01)
    tab.press("ArrowRight")
    assert tab.times() == pytest.approx((2.6, 2.6), abs=0.01)
    tab.press("x")
    assert tab.value("[heard, document.querySelector('[name=heard]:checked').value]") == ["source"] * 2
    tab.press(" ")
    tab.until("now() > 2.8")
    tab.press(" ")
    assert tab.value("running") is False
    tab.press("+")
    assert tab.value("view.length") == pytest.approx(3.0)


def test_a_place_is_repeated(tab: Tab, made: Made):
    tab.open(made.page)
    tab.click("ol.findings li:nth-child(1) button")
    tab.click("#repeat")
    tab.click("#play")
    tab.until("now() > 0.8")
    tab.until("now() < 0.7")
    assert tab.value("running") is True
    tab.click("#play")


def test_the_end_stops_it_and_play_begins_again(tab: Tab, made: Made):
    tab.open(made.page)
    tab.value("seek(4.3)")
    tab.click("#play")
    tab.until("!running && sounds.source.paused && sounds.output.paused")
    tab.click("#play")
    tab.until("running && now() > 0.1 && now() < 4")
    assert tab.value("sounds.source.paused || sounds.output.paused") is False


def test_a_shorter_output_goes_on_with_the_source(
    tab: Tab, made: Made, tmp_path: Path, sung_phrase: Callable[..., np.ndarray]
):
    short = tmp_path / "short.wav"
    files.write(short, files.read(made.output)[0][:, : 2 * RATE], RATE)
    tab.open(write_report(tmp_path / "short.html", made.card, short, made.source))
    tab.click("[value=source]")
    tab.value("seek(1.7)")
    tab.click("#play")
    tab.until("now() > 2.3")
    assert tab.value("sounds.output.ended") is True
    tab.value("seek(0.5)")
    tab.until("!sounds.output.paused && sounds.output.currentTime > 0.6")
    tab.click("#play")


@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out(tab: Tab, made: Made, width: int):
    tab.open(made.page, width)
    tab.value("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    assert tab.value("document.documentElement.scrollWidth") <= width
