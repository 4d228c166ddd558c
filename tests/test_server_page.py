"""The page in a real browser: a song sung, a voice made, a reload and a cancelled job on the way."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from browser import Tab, open_tab
from serving import TOKEN, Served, Work, listening
from tiny_installation import AUDIO, add_voice, install, sing_recordings

from resing.audio import files
from resing.config import ConvertOptions
from resing.server import work, work_voice
from resing.server.task import Task
from resing.voice import Voice

WIDTHS = (390, 1280)


def slow(task: Task) -> dict[str, object]:
    """A training that takes its time before it begins, so that one can look and cancel."""
    for step in range(300):
        task.tell("train", step / 300, (300 - step) / 20, figures={"step": step, "steps": 300})
        time.sleep(0.05)
    raise AssertionError("nobody cancelled it")


@pytest.fixture(autouse=True)
def home_of_the_test() -> None:
    """All tests here share the RESING_HOME of the server."""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A small random installation in a RESING_HOME of its own, with the voice "ada"."""
    with pytest.MonkeyPatch.context() as patch:
        install(tmp_path_factory.mktemp("tiny"), patch)
        torch.set_num_threads(1)
        patch.setattr(work, "is_a_cappella", lambda *_: True)
        patch.setattr("resing.song.arrange.is_a_cappella", lambda *_: True)
        patch.setattr(work, "SAMPLE", ConvertOptions(end_seconds=2.0))
        add_voice("ada")
        yield


@pytest.fixture(scope="module")
def jobs() -> dict[str, Work]:
    """What each kind of job does; a test may put another in its place."""
    return work.WORK | work_voice.WORK


@pytest.fixture(scope="module")
def served(tiny: None, jobs: dict[str, Work]) -> Iterator[Served]:
    """A server that works."""
    with listening(work=jobs) as served:
        yield served


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory, served: Served) -> Iterator[Tab]:
    """A browser that has the page open."""
    with open_tab(tmp_path_factory.mktemp("browser")) as opened:
        opened.visit(f"{served.address}/?token={TOKEN}")
        assert opened.value("location.href") == f"{served.address}/"
        yield opened


@pytest.fixture(scope="module")
def song(tmp_path_factory: pytest.TempPathFactory, sung_phrase: Callable[..., np.ndarray]) -> Path:
    """Three seconds of singing."""
    path = tmp_path_factory.mktemp("song") / "a <b>song & more.wav"
    sung = 0.4 * sung_phrase([(220.0, 1.0), (0.0, 0.4), (277.18, 1.6)])  # no take of it clips
    files.write(path, sung[None], AUDIO.sample_rate)
    return path


@pytest.fixture(scope="module")
def recordings(
    tmp_path_factory: pytest.TempPathFactory, sung_phrase: Callable[..., np.ndarray]
) -> list[Path]:
    """Half a minute of a synthetic singer."""
    folder = tmp_path_factory.mktemp("recordings")
    sing_recordings(folder, sung_phrase)
    return sorted(folder.iterdir())


def silent(tab: Tab, served: Served) -> bool:
    """Whether the page neither complained nor asked anybody else for anything."""
    return tab.complaints(served.address, "blob:", "data:") == []


def fits(tab: Tab) -> bool:
    return tab.value("document.documentElement.scrollWidth <= innerWidth")


def test_a_song_is_dropped_sung_heard_and_downloaded(tab: Tab, served: Served, song: Path):
    tab.visit(f"{served.address}/#sing")
    tab.until("document.querySelectorAll('.voice').length === 1")
    tab.give("#sing input[type=file]", song)
    tab.until("!!document.querySelector('#heard .tag, #heard p')")
    assert tab.value("document.querySelector('#song h2').textContent") == song.name  # shown, not obeyed
    assert "0:03 of singing" in tab.value("document.querySelector('#heard').textContent")
    assert "100 % in range" in tab.value("document.querySelector('#choose-voice').textContent")
    tab.click("#go")
    tab.until("!!document.querySelector('#lane-after')")
    tab.until("!!document.querySelector('#weak .tag, #weak li')")
    painted = """[...document.querySelectorAll('.lanes canvas')].map(canvas => new Set(
        canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data).size > 8)"""
    assert tab.value(painted) == [True, True, True]
    assert fits(tab) and silent(tab, served)
    names = tab.value(
        "[...document.querySelectorAll('#downloads a')].map(link => link.href.split('?')[0].split('/').pop())"
    )
    assert {"song.flac", "song.wav", "song.mp3", "record.json", "report.html"} <= set(names)
    sizes = tab.value("""Promise.all([...document.querySelectorAll('#downloads a')].map(link =>
        fetch(link.href).then(answer => answer.blob()).then(blob => blob.size)))""")
    assert min(sizes) > 500


def test_the_switch_keeps_the_place_and_keys_do_all(tab: Tab, served: Served):
    clock = "document.querySelector('#result .clock').textContent"
    place = "Number(document.querySelector('#seek').value)"
    tab.value("document.activeElement.blur()")
    tab.press(" ")
    tab.until(f"{place} > 0.4")
    before, after = tab.value(
        f"""(async () => {{ const place = () => {place}; const before = place();
        document.querySelector('#hear-before').click();
        await new Promise(go => setTimeout(go, 300)); return [before, place()]; }})()"""
    )
    assert 0.1 < after - before < 0.9
    assert tab.value("document.querySelector('#hear-before').getAttribute('aria-pressed')") == "true"
    tab.press(" ")
    stopped = tab.value(place)
    tab.press("x")
    assert tab.value("document.querySelector('#hear-after').getAttribute('aria-pressed')") == "true"
    assert tab.value(place) == pytest.approx(stopped, abs=0.02)
    tab.press("ArrowLeft")
    assert tab.value(place) == 0 and tab.value(clock) == "0:00 / 0:03"
    assert silent(tab, served)


def test_a_phrase_is_sung_again_and_put_into_the_song(tab: Tab, served: Served):
    place = "Number(document.querySelector('#seek').value)"
    first = tab.value("JSON.parse(localStorage['resing.sing']).job")
    tab.value("""(() => { const seek = document.querySelector('#seek');
        seek.value = 2; seek.dispatchEvent(new Event('input')); })()""")
    tab.click("#again-here")
    tab.until("!!document.querySelector('#anew')")
    told = served.store.job(next(entry.id for entry in served.store.jobs() if entry.kind == "retake"))
    assert told.result["of"] == first and told.result["anew"]["replaced"]
    assert told.request["start_seconds"] <= 2.0 < told.result["anew"]["end_seconds"]
    assert tab.value(place) == pytest.approx(told.result["anew"]["start_seconds"] - 0.3, abs=0.02)
    kept, made = (files.read(served.store.places.job(job) / "song.flac")[0] for job in (first, told.id))
    differs = np.flatnonzero((kept != made).any(axis=0)) / AUDIO.sample_rate
    assert differs.min() > told.result["anew"]["start_seconds"] - 0.5
    tab.click("#hear-previous")
    tab.until("document.querySelector('#hear-previous').getAttribute('aria-pressed') === 'true'")
    tab.until("!!document.querySelector('#weak .tag, #weak li')")
    assert fits(tab) and silent(tab, served)
    tab.click("#back")
    tab.until("!!document.querySelector('#lane-after') && !document.querySelector('#anew')")


def test_a_reload_finds_the_result_again_on_a_phone_in_the_dark(tab: Tab, served: Served):
    tab.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    tab.visit(f"{served.address}/api/docs")
    tab.until("document.querySelectorAll('#operations details').length > 40")
    assert silent(tab, served)
    for width in WIDTHS:
        tab.visit(f"{served.address}/#sing", width)
        tab.value("window.old = true")
        tab.call("Page.reload")
        tab.until("!window.old && !!document.querySelector('#lane-after')")
        assert fits(tab), width
    light = "getComputedStyle(document.body).backgroundColor"
    assert tab.value(light) == "rgb(20, 18, 26)"
    tab.call("Emulation.setEmulatedMedia", features=[])
    assert tab.value(light) == "rgb(246, 245, 250)"


def test_a_song_comes_from_the_microphone(tab: Tab, served: Served):
    tab.visit(f"{served.address}/#sing")
    tab.until("!!document.querySelector('#song')")
    tab.click("#song button")
    tab.click("#record")
    tab.until("document.querySelector('#sing .clock')?.textContent === '0:02'")
    tab.click("#stop")
    tab.until("!!document.querySelector('#song')")
    assert tab.value("document.querySelector('#song h2').textContent").startswith("recording ")
    (sent,) = [path for path in served.store.places.uploads.iterdir() if files.probe(path).channels == 1]
    assert files.read(sent)[0].shape[1] > AUDIO.sample_rate and np.abs(files.read(sent)[0]).max() > 0.05
    tab.until("!!document.querySelector('#heard p')")
    assert silent(tab, served)


def test_what_is_no_song_is_said_beside_the_place(tab: Tab, served: Served, tmp_path: Path):
    (tmp_path / "notes.wav").write_text("no song")
    tab.visit(f"{served.address}/#sing")
    tab.until("!!document.querySelector('#song')")
    tab.click("#song button")
    tab.give("#sing input[type=file]", tmp_path / "notes.wav")
    tab.until("!!document.querySelector('#sing .error')")
    assert tab.value("document.querySelector('#sing .error').textContent").startswith(
        "notes.wav: is not audio"
    )


def test_a_voice_is_made_of_recordings_through_a_reload_and_a_cancel(
    tab: Tab, served: Served, jobs: dict[str, Work], recordings: list[Path]
):
    tab.visit(f"{served.address}/#create")
    tab.until("!!document.querySelector('#create input[type=file]')")
    tab.give("#create input[type=file]", *recordings)
    tab.until("document.querySelectorAll('#recordings li').length === 2")
    tab.click("#look")
    tab.until("!!document.querySelector('#found')")
    assert "min" in tab.value("document.querySelector('#found .figures').textContent")
    tab.click("#make")  # nothing is stated yet: the browser says so, and nothing is asked for
    assert not any(entry.kind == "voice" for entry in served.store.jobs())
    tab.value(
        """(() => { const form = document.querySelector('#facts');
        form.elements.namedItem('name').value = 'eve';
        form.elements.namedItem('whose').value = 'a synthesiser'; form.elements.namedItem('right')[3].click();
        form.elements.namedItem('why').value = 'made for a test'; form.sure.click();
        form.querySelector('details').open = true; form.steps.value = 3; })()"""
    )
    jobs["voice"] = slow
    tab.click("#make")
    tab.until("document.querySelector('#making .soft')?.textContent.includes('%')")
    tab.visit(f"{served.address}/#jobs")
    tab.until("!!document.querySelector('#jobs li progress')")
    tab.visit(f"{served.address}/#create")
    tab.value("window.old = true")
    tab.call("Page.reload")  # in mid-job
    tab.until("!window.old && !!document.querySelector('#making .soft')?.textContent.includes('left')")
    tab.click("#making .progress button")
    tab.until("!!document.querySelector('#making .error')")
    assert next(entry for entry in served.store.jobs() if entry.kind == "voice").state == "cancelled"
    jobs["voice"] = work_voice.create_voice
    tab.click("#making .error + .row button")
    tab.until("!!document.querySelector('#making .tag.good')")
    tab.until("document.querySelector('#best audio')?.duration > 1.9")
    card = Voice.load("eve").card
    assert (
        card.consent == "No person: it is a synthesiser's voice: made for a test"
        and card.licence == "private"
    )
    tab.visit(f"{served.address}/#voices", WIDTHS[0])
    tab.until("document.querySelectorAll('#voices .voice').length === 2")
    assert fits(tab) and silent(tab, served)
    tab.click("#voices .voice:nth-child(2) button.danger")
    tab.until("document.querySelector('#ask').open")
    tab.click("#ask button.danger")
    tab.until("document.querySelectorAll('#voices .voice').length === 1")
