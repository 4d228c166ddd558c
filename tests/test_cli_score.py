"""`resing score` and `resing compare`: tables for people, records for programs, one line for mistakes."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from resing import cli, cli_score
from resing.audio import files
from resing.scoring.card import Figure, Finding, Phrase, Scorecard
from resing.scoring.compare import compare_cards

RATE = 44100
FIGURES_OF_A_PHRASE = {"hnr_db": 20.0, "similarity": 0.9, "phone_distance": 15.0}


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RESING_HOME", str(tmp_path / "home"))


@pytest.fixture
def song(tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> Path:
    return save(tmp_path / "song.wav", sung_phrase([(330.0, 1.0), (0.0, 0.4), (440.0, 1.0)]))


@pytest.fixture
def out(tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> Path:
    """The song with its second note too high."""
    return save(tmp_path / "out.wav", sung_phrase([(330.0, 1.0), (0.0, 0.4), (456.0, 1.0)]))


def save(path: Path, audio: np.ndarray) -> Path:
    noise = 1e-4 * np.random.default_rng(0).standard_normal(len(audio))
    files.write(path, (0.9 * audio + noise).astype(np.float32)[None], RATE)
    return path


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    """The one line that a command fails with."""
    assert cli.run([str(a) for a in arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith("resing: ") and captured.err.count("\n") == 1
    return captured.err


def card(name: str = "out.flac", **changes: object) -> Scorecard:
    figures = (
        Figure("coverage", "clear notes kept", 0.82, "", None, None, ">= 0.9", True),
        Figure("hnr_db", "tone over noise", 17.3, "dB", 20.0, 19.0),
        Figure("clipped_runs", "clipped peaks", 0, "", 0, None, "<= 0"),
        Figure("words_cer", "letters misheard", None, "%", note="needs a recogniser"),
    )
    findings = (Finding(41.2, 44.0, "pitch", "pitch breaks: A5 is [bold]above[/bold] the range", 0.9),)
    phrases = tuple(Phrase(3.0 * i, 3.0 * i + 2, 0.0, FIGURES_OF_A_PHRASE) for i in range(8))
    facts = {"voice": "kumi", "seconds": 190.0, "transpose": -3.0, "moved": (), "figures": figures}
    return Scorecard(name, "song.flac", **(facts | {"phrases": phrases, "findings": findings} | changes))


def test_a_score_is_shown_and_saved(song: Path, out: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["score", str(out), "--source", str(song), "--voice", "kumi"]) == 0
    shown = capsys.readouterr().out
    for text in (
        "out.wav, 0:02 as kumi",
        "figures beyond their limits, ",
        "expected",
        "pitch error, median, cents",
        "What to listen to",
    ):
        assert text in shown, shown
    assert "0:01-0:02  out of tune: A4 comes out 6" in shown
    assert "Not measured" in shown and "--recordings FOLDER" in shown


def test_json_is_the_record(song: Path, out: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["score", str(out), "--source", str(song), "--transpose", "0.0", "--json"]) == 0
    captured = capsys.readouterr()
    record = json.loads(captured.out)
    assert record["findings"][0]["kind"] == "pitch" and record["transpose"] == 0.0
    assert captured.err == ""


def test_a_report_is_written_beside_the_table(
    song: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    page = tmp_path / "page.html"
    assert cli.run(["score", str(out), "--source", str(song), "--report", str(page)]) == 0
    assert "out of tune" in page.read_text(encoding="utf-8")
    assert f"Wrote {page}" in capsys.readouterr().err


def test_a_comparison_is_shown(song: Path, out: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["compare", str(out), str(song), "--source", str(song), "--voice", "kumi"]) == 0
    shown = capsys.readouterr().out
    for text in (
        f"a: {out} (",
        f"b: {song} (",
        "95 % interval",
        "Where they differ most",
    ):
        assert text in shown, shown
    assert "Not enough to tell" in shown
    assert cli.run(["compare", str(out), str(song), "--source", str(song), "--voice", "kumi", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["better"] == "unsure" and record["card_a"]["findings"][-1]["kind"] == "pitch"


def test_mistakes_are_one_line(song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    (tmp_path / "text.wav").write_text("words")
    files.write(tmp_path / "silence.wav", np.zeros((1, 2 * RATE), np.float32), RATE)
    files.write(tmp_path / "long.wav", np.tile(files.read(song)[0], 3), RATE)
    for name, text in (
        ("none.wav", "no such file"),
        ("text.wav", "is not audio"),
        ("silence.wav", "holds no singing"),
        ("long.wav", "expected the same length"),
    ):
        assert text in fails(capsys, "score", tmp_path / name, "--source", song)
        assert text in fails(capsys, "compare", song, tmp_path / name, "--source", song)
    assert "no voice named 'kumo'" in fails(capsys, "score", song, "--source", song, "--voice", "kumo")
    assert "--source" in fails(capsys, "score", song)
    assert "a report is a web page" in fails(
        capsys, "score", song, "--source", song, "--report", tmp_path / "page.txt"
    )


def test_help_needs_no_heavy_library():
    code = (
        "import sys; from resing import cli;"
        "cli.run(['score', '--help']); cli.run(['compare', '--help']);"
        "sys.exit(bool({'torch', 'av', 'onnxruntime', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert shown.returncode == 0, shown.stderr
    for text in ("--source", "--recordings", "--report", "--transpose", "--json"):
        assert text in shown.stdout


def test_a_card_shows_figures_limits_and_findings(capsys: pytest.CaptureFixture[str]):
    cli_score.show_card(card())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "out.flac, 3:10 as kumi, -3 semitones"
    cells = {line.split("  ")[0]: line.split() for line in lines}
    assert cells["clear notes kept"][-4:] == ["0.82", ">=", "0.9", "look"]
    assert cells["tone over noise, dB"][-3:] == ["17.3", "20", "19"]
    assert cells["clipped peaks"][-4:] == ["0", "0", "<=", "0"]
    assert "  letters misheard: needs a recogniser" in [line.rstrip() for line in lines]
    assert "  0:41-0:44  pitch breaks: A5 is [bold]above[/bold] the range" in lines


def test_no_more_findings_than_a_person_reads(capsys: pytest.CaptureFixture[str]):
    many = tuple(Finding(float(i), i + 0.1, "click", f"click {i}", 0.01 * i) for i in range(40))
    cli_score.show_card(card(findings=many))
    shown = capsys.readouterr().out
    assert shown.count("click ") == cli_score.MOST_SHOWN
    assert "0:39  click 39" in shown and "click 19" not in shown
    assert "and 20 lesser ones: --json or --report page.html" in shown


def test_nothing_to_tell(capsys: pytest.CaptureFixture[str]):
    cli_score.show_card(card(findings=(), voice=None, transpose=0.0))
    shown = capsys.readouterr().out
    assert shown.startswith("out.flac, 3:10\n") and "Nothing stands out." in shown


def test_a_comparison_leaves_out_what_neither_has(capsys: pytest.CaptureFixture[str]):
    cli_score.show_comparison(compare_cards(card("a.flac"), card("b.flac", findings=())))
    shown = capsys.readouterr().out
    assert "a: a.flac (1 finding)" in shown and "likeness to the voice" in shown
    assert "letters misheard" not in shown and "Where they differ" not in shown
    assert "No difference: neither loses 0.01 of likeness to the voice, 0.5 dB of tone over noise or" in shown


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0, "0"),
        (3, "3"),
        (0.8123, "0.81"),
        (0.0042, "0.004"),
        (-0.0002, "0"),
        (-48.21, "-48.2"),
        (1234.6, "1235"),
    ],
)
def test_numbers(value: float | None, text: str):
    assert cli_score.number(value) == text


def test_times():
    assert cli_score.span(41.2, 44.9) == "0:41-0:44"
    assert cli_score.span(12.3, 12.4) == "0:12"
    assert cli_score.number(0.5, True) == "+0.50"
