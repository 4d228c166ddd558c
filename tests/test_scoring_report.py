"""The report of a scoring: what is in the page, and what it does in a real browser."""

import base64
import contextlib
import json
import os
import re
import shutil
import socket
import struct
import subprocess
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib.image
import numpy as np
import pytest

from resing.audio import files
from resing.errors import AudioError, ConfigError
from resing.scoring.card import Figure, Finding, Phrase, Scorecard
from resing.scoring.page import clock, number
from resing.scoring.report import TEMPLATE, write_report

RATE = 44100
NASTY = '<script>document.title=1</script> & "O\'Brien" {{data}}'
MELODY = [(220.0, 1.2), (0.0, 0.4), (277.18, 1.2), (0.0, 0.3), (329.63, 1.4)]
SECONDS = 4.5
TRANSPOSE = 12.0
QUIETER_DB = -6.0
FINDINGS = (
    Finding(2.0, 2.6, "pitch", "pitch breaks: note above this voice's range", 0.9),
    Finding(0.6, 0.62, "click", "a click", 0.2),
    Finding(3.5, 4.0, "breathy", NASTY, 0.5),
)
FIGURES = (
    Figure("f0_median_cents", "pitch error, median", 4.13, "cents", limit="<= 10"),
    Figure("hnr_db_change", "tone over noise, change", -3.1, "dB", 18.2, 19.0, ">= -2.5", True, NASTY),
    Figure("words_cer", "letters misheard", None, "%", note="needs a recogniser"),
)
PHRASES = (Phrase(0.0, 2.8, 0.7, {"f0_median_cents": 6.0}), Phrase(3.1, 4.5, 0.1, {"f0_median_cents": None}))
MOVED = ({"start_seconds": 1.6, "end_seconds": 2.8, "note": "C#5", "sung": "C#4"},)


@dataclass(frozen=True)
class Made:
    """A report and what it was made from."""

    page: Path
    card: Scorecard
    output: Path
    source: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, sung_phrase: Callable[..., np.ndarray]) -> Iterator[Made]:
    """A report of a synthetic song and the same an octave higher and quieter; names as bad as they get."""
    folder = tmp_path_factory.mktemp("report")
    source, output = folder / "song & <b>.wav", folder / "out 'x'.wav"
    louder = sung_phrase(MELODY, vibrato_cents=0.0)
    quieter = sung_phrase([(2 * f0, seconds) for f0, seconds in MELODY], vibrato_cents=0.0)
    files.write(source, louder[None], RATE)
    files.write(output, quieter[None] * 10 ** (QUIETER_DB / 20), RATE)
    card = Scorecard(str(output), str(source), NASTY, SECONDS, TRANSPOSE, MOVED, FIGURES, PHRASES, FINDINGS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESING_HOME", str(folder / "home"))
        yield Made(write_report(folder / "report.html", card, output, source), card, output, source)


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
        (False, False),
        (True, True),
        (False, False),
    ]
    assert "not measured" in rows[2] and "needs a recogniser" in rows[2]
    assert "4.13\u00a0cents" in rows[0] and "\u2264 10" in rows[0] and "fine" in rows[0]
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


# ---- in a browser ----

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--mute-audio",
    "--remote-debugging-port=0",
)
WAIT_SECONDS = 30.0


class Tab:
    """A page of a browser, driven by the Chrome DevTools Protocol over a WebSocket (RFC 6455)."""

    def __init__(self, address: str) -> None:
        place, _, path = address.removeprefix("ws://").partition("/")
        host, _, port = place.partition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=WAIT_SECONDS)
        self.stream = self.socket.makefile("rb")
        self.events: list[dict[str, Any]] = []
        self.calls = 0
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /{path} HTTP/1.1\r\nHost: {place}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        while self.stream.readline().strip():
            pass

    def close(self) -> None:
        self.stream.close()
        self.socket.close()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """What the browser answers; what it tells on the way is kept in `events`."""
        self.calls += 1
        message = json.dumps({"id": self.calls, "method": method, "params": parameters}).encode()
        size = len(message)
        length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
        self.socket.sendall(b"\x81" + length + bytes(4) + message)  # masked with zeros
        while (answer := self._receive()).get("id") != self.calls:
            self.events.append(answer)
        assert "error" not in answer, answer
        return answer["result"]

    def _receive(self) -> dict[str, Any]:
        size = self.stream.read(2)[1] & 127
        if size > 125:
            size = int.from_bytes(self.stream.read(2 if size == 126 else 8), "big")
        return json.loads(self.stream.read(size))

    def value(self, script: str) -> Any:
        """What a JavaScript expression comes to."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script: str) -> None:
        """Wait for a JavaScript expression to become true."""
        end = time.monotonic() + WAIT_SECONDS
        while not self.value(script):
            assert time.monotonic() < end, f"still not true after {WAIT_SECONDS} s: {script}"
            time.sleep(0.05)

    def click(self, selector: str, share: float = 0.5) -> None:
        """Press the mouse on an element, `share` of its width from its left."""
        x, y = self.value(
            f"""(() => {{ const element = document.querySelector({json.dumps(selector)});
            element.scrollIntoView({{block: "center"}});
            const box = element.getBoundingClientRect();
            return [box.left + {share} * box.width, box.top + box.height / 2]; }})()"""
        )
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key."""
        text = {"text": key} if len(key) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def open(self, page: Path, width: int = 1280, height: int = 900) -> None:
        """Load a page and wait until its sounds and pictures are there."""
        self.events.clear()
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        self.call("Page.navigate", url=page.as_uri())
        self.until("document.readyState === 'complete' && document.querySelectorAll('audio').length === 2")
        self.until("[...document.querySelectorAll('audio')].every(sound => sound.readyState === 4)")

    def times(self) -> tuple[float, float]:
        """Seconds at which source and output stand."""
        return tuple(self.value("[...document.querySelectorAll('audio')].map(sound => sound.currentTime)"))

    def complaints(self) -> list[dict[str, Any]]:
        """Errors and warnings of the page, and what it fetched from elsewhere."""
        self.call("Page.getFrameTree")
        bad = {"Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"}
        return [
            event
            for event in self.events
            if event["method"] in bad
            or (
                event["method"] == "Network.requestWillBeSent"
                and not event["params"]["request"]["url"].startswith(("file:", "data:"))
            )
        ]


def find_browser() -> str:
    """Name the browser; without one the test is skipped, or fails where RESING_REQUIRE_BROWSER is 1."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is not None:
        return found
    reason = f"no browser here ({', '.join(BROWSERS)}); on Debian: apt-get install chromium"
    if os.environ.get("RESING_REQUIRE_BROWSER") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    """A tab of a headless browser."""
    profile = tmp_path_factory.mktemp("browser")
    command = [find_browser(), *FLAGS, f"--user-data-dir={profile}", "about:blank"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as browser:
        try:
            with contextlib.closing(Tab(first_tab(profile, browser))) as tab:
                for room in ("Page", "Runtime", "Log", "Network"):
                    tab.call(f"{room}.enable")
                yield tab
                tab.call("Browser.close")
                browser.wait(WAIT_SECONDS)
        finally:
            browser.kill()


def first_tab(profile: Path, browser: "subprocess.Popen[bytes]") -> str:
    """Wait for a browser to start and return its tab's address."""
    told, end = profile / "DevToolsActivePort", time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end and browser.poll() is None:
        if told.is_file() and "\n" in (text := told.read_text()):
            with urllib.request.urlopen(f"http://127.0.0.1:{text.split()[0]}/json", timeout=10) as answer:
                for found in json.load(answer):
                    if found["type"] == "page":
                        return found["webSocketDebuggerUrl"]
        time.sleep(0.1)
    pytest.fail(f"the browser did not start in {WAIT_SECONDS} s (exit status {browser.poll()})")


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
