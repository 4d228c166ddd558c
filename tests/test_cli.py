"""The `resing` command: flags become options, failures become one line, records go to stdout."""

import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from resing import cli, cli_convert, cli_told, cli_train
from resing import voice as library
from resing.audio import files
from resing.config import AudioConfig, ConvertOptions, MixOptions, ModelConfig, SongOptions, TrainingConfig
from resing.errors import AudioError, ConfigError
from resing.features import content
from resing.synthesis import acoustic, vocoder
from resing.voice import Installed, Voice, VoiceCard

AUDIO = AudioConfig()
MODEL = ModelConfig(n_units=4, hidden=8, decoder_layers=1, denoiser_layers=1, speaker_dim=6, adapter_rank=2)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RESING_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def voices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny random installation with the shipped voice kumi and the user's voice anna; the user's folder."""
    weights = tmp_path / "weights"
    monkeypatch.setattr(acoustic, "EMBEDDED", weights / "base.safetensors")
    monkeypatch.setattr(content, "EMBEDDED", weights / "content.safetensors")
    monkeypatch.setattr(vocoder, "EMBEDDED", weights / "vocoder.safetensors")
    monkeypatch.setattr(library, "SHIPPED", weights / "voices")
    acoustic.save_base(acoustic.EMBEDDED, acoustic.AcousticModel(acoustic.build(MODEL, AUDIO), MODEL), AUDIO)
    small = content.ContentConfig(hidden=8, layers=1, n_units=MODEL.n_units)
    content.save_content(content.EMBEDDED, content.build(small), small)
    thin = vocoder.VocoderConfig(hidden=8, layers=1)
    vocoder.save_vocoder(vocoder.EMBEDDED, vocoder.build(thin, AUDIO), thin, AUDIO)
    make_voice("kumi", library.SHIPPED)
    make_voice("anna", library.user_folder())
    return library.user_folder()


def make_voice(name: str, folder: Path) -> Path:
    installed = Installed.read()
    card = VoiceCard(
        name=name,
        licence="CC0 [bold]",
        consent="asked",
        languages=["en", "ja"],
        range_hz=(220.0, 880.0),
        encoder_id=installed.encoder_id,
        base_hash=installed.base_hash,
    )
    path = folder / f"{name}.safetensors"
    Voice(card, MODEL, AUDIO, torch.ones(MODEL.speaker_dim)).save(path)
    return path


def resing(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "resing", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(cli.__file__).parents[1])}
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, **options)


def one_line(text: str) -> str:
    assert text.startswith("resing: ") and text.count("\n") == 1, text
    return text


def fails(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 2) -> str:
    """The one line that a command in this process fails with."""
    assert cli.run([str(a) for a in arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    return one_line(captured.err)


# -- start


def test_help_names_every_command_without_heavy_imports():
    shown = resing("--help")
    assert shown.returncode == 0 and shown.stderr == ""
    for command in ("convert", "demo", "prepare", "train", "resume", "voice"):
        assert command in shown.stdout
    code = (
        "import sys; from resing import cli;"
        "cli.run(['convert', '--help']); cli.run(['voice', 'create', '--help']);"
        "sys.exit(bool({'torch', 'av', 'onnxruntime', 'numpy', 'matplotlib'} & set(sys.modules)))"
    )
    assert (
        subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
    )


def test_the_version_is_the_packages():
    import resing as package

    shown = resing("--version")
    assert (shown.returncode, shown.stdout) == (0, f"{package.__version__}\n")


# -- mistakes on the command line


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ("convrt a.wav", ('"convrt"', 'Did you mean "convert"?')),
        ("voice lst", ('"lst"', 'Did you mean "list"?')),
        (
            "convert a.wav --voice k -o o.wav --stps 3",
            ("--stps", "Did you mean --steps?", "See: resing convert --help"),
        ),
        ("convert a.wav --voice k -o o.wav --out-of-range fol", ('"fol"', 'Did you mean "fold"?')),
        ("convert a.wav --voice k -o o.wav --sampler eulr", ('"eulr"', 'Did you mean "euler"?')),
        ("convert a.wav --voice k -o o.wav --transpose high", ("--transpose", "auto, octaves, or semitones")),
        ("convert a.wav --voice k -o o.wav --transpose nan", ("transpose", "finite number")),
        ("convert a.wav --voice k -o o.wav --from 1:75", ("--from", "m:ss")),
        ("convert a.wav --voice k -o o.wav --steps 5000", ("steps", "less than or equal to 1000")),
        ("convert a.wav -o o.wav", ("--voice",)),
        ("convert --voice k -o o.wav", ("SOURCE",)),
        ("convert a.wav b.wav --voice k -o o.wav", ("b.wav",)),
        ("voice list --jsn", ("--jsn", "Did you mean --json?", "See: resing voice list --help")),
        ("voice create anna recordings --licence mine", ("--consent",)),
        (
            "voice create anna recordings --licence a --consent b --set stps=3",
            ("stps", "did you mean steps?"),
        ),
        ("voice create anna recordings --licence a --consent b --set steps=x", ("steps", "integer")),
        ("voice create anna recordings --licence a --consent b --set steps", ("KEY=VALUE",)),
        ("voice create anna recordings --licence a --consent b --sex w", ("sex", "'female'")),
        ("voice create a/b recordings --licence a --consent b", ("letters, digits",)),
    ],
)
def test_a_mistake_is_named_in_one_line(
    capsys: pytest.CaptureFixture[str], line: str, texts: tuple[str, ...]
):
    message = fails(capsys, *line.split())
    assert all(text in message for text in texts), message


def test_a_failure_is_one_line_and_exit_2_in_a_process_of_its_own(tmp_path: Path):
    shown = resing(
        "convert", "none.wav", "--voice", "nobody-of-that-name", "-o", tmp_path / "o.wav", cwd=tmp_path
    )
    assert shown.returncode == 2 and shown.stdout == ""
    assert "no voice named 'nobody-of-that-name'" in one_line(shown.stderr)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("75", 75.0),
        ("1:15", 75.0),
        ("0:40.5", 40.5),
        ("1:02:03", 3723.0),
        (".5", 0.5),
        ("90:00", 5400.0),
    ],
)
def test_times(text: str, seconds: float):
    assert cli_convert.parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "a", "-1", "1:-5", "1:60", "1:2:3:4", "1.5:00", "nan", "inf", ":30"])
def test_times_that_are_none(text: str):
    with pytest.raises(ValueError, match="m:ss"):
        cli_convert.parse_time(text)


# -- flags become options


class FakeArranger:
    """Notes what it is asked for; `outcome` is returned, or raised."""

    asked: tuple[Any, ...] = ()
    outcome: Any = None

    def __init__(self, voice: Any, song: SongOptions) -> None:
        self.voice, self.song = voice, song

    def check(self, *_: Any) -> None:
        pass

    def stages(self, *_: Any) -> dict[str, float]:
        return {}

    def convert(self, source: Path, out: Path, options: ConvertOptions, *_: Any, **__: Any) -> Any:
        type(self).asked = (self.voice.card.name, source, out, options, self.song)
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome


@pytest.fixture
def converter(voices: Path, monkeypatch: pytest.MonkeyPatch) -> type[FakeArranger]:
    fresh = type("Fresh", (FakeArranger,), {})
    for name, what in (("conversion", {"Converter": lambda v: v}), ("song.arrange", {"Arranger": fresh})):
        fake = types.ModuleType(f"resing.{name}")
        vars(fake).update(what)
        monkeypatch.setitem(sys.modules, f"resing.{name}", fake)
    monkeypatch.setattr(cli_convert, "describe", lambda _, range_told: None)
    monkeypatch.setattr(cli_convert, "_learn", lambda _: None)
    return fresh


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        ("", {}),
        ("--transpose octaves", {"transpose": "octaves"}),
        ("--transpose auto", {"transpose": "auto"}),
        ("--transpose -3", {"transpose": -3.0}),
        ("--transpose=2.5", {"transpose": 2.5}),
        ("--from 0:40 --to 0:55", {"start_seconds": 40.0, "end_seconds": 55.0}),
        ("--seed 9 --steps 0 --sampler heun", {"seed": 9, "steps": 0, "sampler": "heun"}),
        ("--out-of-range clamp", {"out_of_range": "clamp"}),
        ("--out-of-range keep", {"out_of_range": "keep"}),
        ("--tune chromatic --tune-strength 0.5", {"tune": "chromatic", "tune_strength": 0.5}),
        ("--pitch-file /songs/p.csv", {"pitch_file": "/songs/p.csv"}),
    ],
)
def test_flags_build_the_same_options_as_python(
    converter: type[FakeArranger], flags: str, options: dict[str, Any]
):
    assert cli.run(["convert", "a.flac", "--voice", "anna", "-o", "b.wav", *flags.split()]) == 0
    assert converter.asked == (
        "anna", Path("a.flac"), Path("b.wav"), ConvertOptions(**options), SongOptions(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "song"),
    [
        ("--a-cappella", {"a_cappella": True}),
        ("--no-a-cappella", {"a_cappella": False}),
        ("--shift-accompaniment", {"shift_accompaniment": True}),
        ("--mix match_reverb=0 --mix limit=no", {"mix": MixOptions(match_reverb=0, limit=False)}),
    ],
)
def test_flags_build_the_same_song_options(converter: type[FakeArranger], flags: str, song: dict[str, Any]):
    assert cli.run(["convert", "a.flac", "--voice", "anna", "-o", "b.wav", *flags.split()]) == 0
    assert converter.asked[-1] == SongOptions(**song)


def test_a_mix_setting_that_is_none_is_named(
    converter: type[FakeArranger], capsys: pytest.CaptureFixture[str]
):
    said = fails(capsys, "convert", "a.flac", "--voice", "anna", "-o", "b.wav", "--mix", "match_revreb=1")
    assert "unknown setting match_revreb; did you mean match_reverb?" in said
    said = fails(capsys, "convert", "a.flac", "--voice", "anna", "-o", "b.wav", "--mix", "match_reverb")
    assert "expected NAME=VALUE, such as --mix match_reverb=0" in said


def test_json_prints_the_record(converter: type[FakeArranger], capsys: pytest.CaptureFixture[str]):
    converter.outcome = ConvertOptions(seed=4)
    assert cli.run(["convert", "a.flac", "--voice", "anna", "-o", "b.wav", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["seed"] == 4
    assert captured.err == ""


@pytest.mark.parametrize(
    ("outcome", "code", "text"),
    [
        (AudioError("a.flac: is empty;\nchoose another"), 2, "resing: a.flac: is empty; choose another\n"),
        (ConfigError("[red]x[/red]"), 2, "resing: [red]x[/red]\n"),
        (KeyboardInterrupt(), 130, "resing: cancelled\n"),
        (PermissionError(13, "Permission denied", "/x"), 2, "resing: /x: Permission denied; free some space"),
    ],
)
def test_failures_become_one_line(
    converter: type[FakeArranger], capsys: pytest.CaptureFixture[str], outcome: Any, code: int, text: str
):
    converter.outcome = outcome
    assert text in fails(capsys, "convert", "a.flac", "--voice", "anna", "-o", "b.wav", code=code)


def test_a_defect_is_not_dressed_up(converter: type[FakeArranger]):
    converter.outcome = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        cli.run(["convert", "a.flac", "--voice", "anna", "-o", "b.wav"])


def test_training_settings():
    assert cli_train.training_config(None) == TrainingConfig()
    changed = cli_train.training_config(["training.batch_size=4", "learning_rate=2e-4"])
    assert changed == TrainingConfig(batch_size=4, learning_rate=2e-4)


# -- conversions


@pytest.fixture
def models(voices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the tiny models those that ship, for conversions in this process."""
    heard = content.ContentEncoder.load(content.EMBEDDED)
    sounding = vocoder.Vocoder.load(vocoder.EMBEDDED)
    monkeypatch.setattr(content, "embedded", lambda: heard)
    monkeypatch.setattr(vocoder.Vocoder, "load", lambda *_: sounding)


@pytest.fixture
def song(tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> Path:
    """Three seconds; the last note is below the voices' range."""
    path = tmp_path / "song.wav"
    files.write(path, sung_phrase([(330.0, 0.9), (0.0, 0.3), (440.0, 0.9), (110.0, 0.9)])[None], 44100)
    return path


def test_a_song_is_sung_and_described(
    models: None, song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out = tmp_path / "out.flac"
    flags = ["--voice", "kumi", "--steps", "1", "--transpose", "0", "--json"]
    assert cli.run(["convert", str(song), "-o", str(out), *flags]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out) == json.loads(Path(f"{out}.json").read_text())
    assert files.probe(out).seconds == pytest.approx(3.0)
    for text in (f"Wrote {out} (0:03), sung by kumi", "Key: as it was sung", "A2 sung as A3", "of real time"):
        assert text in captured.err
    again = tmp_path / "again.flac"
    assert cli.run(["repeat", f"{out}.json", "-o", str(again)]) == 0
    assert np.array_equal(files.read(again)[0], files.read(out)[0])
    capsys.readouterr()
    assert "is no record" in fails(capsys, "repeat", song, "-o", again)


def test_a_preview_is_as_long_as_asked(models: None, song: Path, tmp_path: Path):
    out = tmp_path / "out.wav"
    times = ["--from", "0:01", "--to", "2.5"]
    assert cli.run(["convert", str(song), "--voice", "kumi", "-o", str(out), "--steps", "0", *times]) == 0
    assert files.probe(out).seconds == pytest.approx(1.5)


@pytest.mark.parametrize(
    ("source", "out", "texts"),
    [
        ("none.wav", "out.wav", ("none.wav",)),
        ("text.wav", "out.wav", ("text.wav",)),
        ("empty.wav", "out.wav", ("empty.wav",)),
        ("song.wav", "song.wav", ("the input itself",)),
        ("song.wav", "none/out.wav", ("no such folder", "mkdir -p")),
        ("song.wav", "out.xyz", (".xyz", ".flac")),
        ("silence.wav", "out.wav", ("silence.wav",)),
        ("short.wav", "out.wav", ("short.wav",)),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    models: None,
    song: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    source: str,
    out: str,
    texts: tuple[str, ...],
):
    (tmp_path / "text.wav").write_text("words")
    (tmp_path / "empty.wav").write_bytes(b"")
    files.write(tmp_path / "silence.wav", np.zeros((1, 44100), np.float32), 44100)
    files.write(tmp_path / "short.wav", np.full((1, 441), 0.1, np.float32), 44100)
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    message = fails(capsys, "convert", tmp_path / source, "--voice", "kumi", "-o", tmp_path / out)
    assert all(text in message for text in texts), message
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_cancelling_leaves_nothing(
    models: None,
    song: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
):
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    before = sorted(os.listdir(tmp_path))
    monkeypatch.setattr(acoustic.AcousticModel, "sample", interrupt)
    assert cli.run(["convert", str(song), "--voice", "kumi", "-o", str(tmp_path / "out.flac")]) == 130
    told = capsys.readouterr().err
    assert told.startswith("Key: ") and told.endswith(
        "singing.\nresing: cancelled\n"
    )  # known before it is sung
    assert sorted(os.listdir(tmp_path)) == before


def test_the_demo_makes_audio_and_a_picture(
    models: None,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    song: Path,
):
    from resing import demo

    assert demo.LEAD.stat().st_size + demo.ACCOMPANIMENT.stat().st_size < 2e6
    for path in (demo.LEAD, demo.ACCOMPANIMENT):
        assert files.probe(path).seconds == pytest.approx(34.5, abs=0.1)
    monkeypatch.setattr(demo, "LEAD", song)
    monkeypatch.setattr(demo, "ACCOMPANIMENT", song)
    folder = tmp_path / "made" / "here"
    assert cli.run(["demo", "-o", str(folder), "--voice", "anna", "--json"]) == 0
    captured = capsys.readouterr()
    assert sorted(os.listdir(folder)) == ["demo_anna.flac", "demo_anna.flac.json", "demo_anna.png", "stems"]
    assert (folder / "demo_anna.png").read_bytes().startswith(b"\x89PNG")
    assert json.loads(captured.out)["voice"] == "anna"
    assert "demo_anna.png" in captured.err
    assert demo.favourite() == "kumi"
    assert "demo_anna.flac" in fails(capsys, "demo", "-o", folder / "demo_anna.flac")


def test_weak_places_are_the_longest_stretches_outside_the_range():
    def note(start: float, end: float) -> dict[str, Any]:
        return {"start_seconds": start, "end_seconds": end, "note": "C6", "sung": "C5"}

    places = cli_told.weak_places([note(1, 1.2), note(62, 63), note(64, 66), note(90, 90.5)], "fold")
    assert places == [f"{times}: C6 sung as C5" for times in ("1:02-1:06", "1:30", "0:01")]


def test_notes_that_are_kept_are_told_as_kept():
    note = {"start_seconds": 1.0, "end_seconds": 2.0, "note": "C6", "sung": "C6"}
    assert cli_told.weak_places([note], "keep") == ["0:01-0:02: C6 kept"]
    assert cli_told.weak_places([note], "clamp") == ["0:01-0:02: C6 bent into the range"]


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ({"below": 0.0, "inside": 1.0, "above": 0.0, "near": 0.0}, "100% of the singing."),
        ({"below": 0.0, "inside": 1.0, "above": 0.0}, "100% of the singing."),
        (
            {"below": 0.02, "inside": 0.9, "above": 0.08, "near": 0.25},
            "90% of the singing (25% on notes that its recordings hardly have), 2% below it, 8% above it.",
        ),
        (
            {"below": 0.002, "inside": 0.998, "above": 0.0},
            "100% of the singing, hardly any below it.",
        ),
    ],
)
def test_the_range_in_a_sentence(found: dict[str, Any], text: str):
    assert cli_told.range_text(found) == "In the voice's range: " + text


def test_a_melody_is_written_edited_and_sung(
    models: None, song: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    table, out = tmp_path / "pitch.csv", tmp_path / "out.wav"
    flags = ["--voice", "kumi", "--steps", "1", "-o", str(out)]
    assert cli.run(["convert", str(song), *flags, "--pitch-out", str(table), "--tune", "C major"]) == 0
    assert len(table.read_text().splitlines()) == 1 + AUDIO.frame_count(3 * 44100 + 1)
    capsys.readouterr()
    assert cli.run(["convert", str(song), *flags, "--pitch-file", str(table), "--tune", "C major"]) == 0
    assert "The singing was kept from last time" in capsys.readouterr().err
    table.write_text("time,hz,voiced\n0,loud,1\n")
    assert "pitch.csv: line 2: hz: got 'loud'" in fails(
        capsys, "convert", song, *flags, "--pitch-file", table
    )
    assert "expected chromatic, or a tonic" in fails(capsys, "convert", song, *flags, "--tune", "H major")


def test_doubts_are_told_where_there_are_many(capsys: pytest.CaptureFixture[str]):
    doubt = {"start_seconds": 61.0, "end_seconds": 63.0, "reason": "several notes at once"}
    record = types.SimpleNamespace(
        doubts=[doubt], reverberant=True, seconds=60.0, options={"dereverb": False}
    )
    cli_told.tell_doubts(record)
    told = capsys.readouterr().err
    assert (
        "long reverb; --dereverb" in told
        and "for 2.0 s" in told
        and "1:01-1:03: several notes at once" in told
    )
    cli_told.tell_doubts(types.SimpleNamespace(doubts=[doubt], reverberant=False, seconds=600.0))
    assert capsys.readouterr().err == ""
    record.options["dereverb"] = True
    cli_told.tell_doubts(record)
    assert "still have a long reverb" in capsys.readouterr().err


# -- voices


def test_the_list_as_json(voices: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["voice", "list", "--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [entry["name"] for entry in listed] == ["anna", "kumi"]
    for entry in listed:
        assert entry["languages"] == ["en", "ja"]
        assert entry["range_hz"] == [220.0, 880.0]
        assert entry["licence"] == "CC0 [bold]"


def test_the_list_for_people(voices: Path, capsys: pytest.CaptureFixture[str]):
    (voices / "broken.safetensors").write_bytes(b"")
    assert cli.run(["voice", "list"]) == 0
    captured = capsys.readouterr()
    assert "anna" in captured.out and "A3-A5 (220-880 Hz)" in captured.out and "CC0 [bold]" in captured.out
    assert "broken.safetensors" in one_line(captured.err)


def test_show(voices: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["voice", "show", "anna", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == Voice.load("anna").card.model_dump(mode="json")
    assert cli.run(["voice", "show", str(voices / "anna.safetensors")]) == 0
    assert "consent" in capsys.readouterr().out
    assert "did you mean anna?" in fails(capsys, "voice", "show", "ana")


def test_remove(voices: Path, capsys: pytest.CaptureFixture[str]):
    assert cli.run(["voice", "remove", "anna", "--yes"]) == 0
    assert not (voices / "anna.safetensors").exists()
    capsys.readouterr()
    assert "ships with Resing" in fails(capsys, "voice", "remove", "kumi", "-y")
    assert "no voice named 'anna'" in fails(capsys, "voice", "remove", "anna", "-y")


def test_a_person_is_asked_before_a_voice_goes(voices: Path, monkeypatch: pytest.MonkeyPatch):
    answers = iter(["n\n", "\n", "y\n"])
    terminal = types.SimpleNamespace(isatty=lambda: True, readline=lambda: next(answers))
    monkeypatch.setattr(sys, "stdin", terminal)
    for kept in (True, True, False):
        assert cli.run(["voice", "remove", "anna"]) == 0
        assert (voices / "anna.safetensors").exists() == kept


def test_export_and_install(voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    for flags in ([], ["--full"]):
        path = tmp_path / "out.safetensors"
        assert cli.run(["voice", "export", "anna", "-o", str(path), *flags]) == 0
        assert str(path) in capsys.readouterr().err
        assert Voice.load(path).full == bool(flags)
        assert "already here" in fails(capsys, "voice", "install", path)
        assert cli.run(["voice", "install", str(path), "--replace"]) == 0
        assert "Installed anna" in capsys.readouterr().err
    assert "no such folder" in fails(
        capsys, "voice", "export", "anna", "-o", tmp_path / "no" / "x.safetensors"
    )
    path.write_bytes(path.read_bytes()[:-1])
    assert "damaged" in fails(capsys, "voice", "install", path)


# -- recordings to a voice


@pytest.fixture
def recordings(tmp_path: Path, sung_phrase: Callable[..., np.ndarray]) -> Path:
    """Half a minute of a synthetic singer."""
    folder = tmp_path / "recordings"
    folder.mkdir()
    for number, root in enumerate((220.0, 262.0)):
        notes = [(root * 2 ** (step / 12), 0.9) for step in (0, 2, 4, 5, 7, 9, 11, 12)] + [(0.0, 0.5)]
        files.write(folder / f"{number}.wav", sung_phrase(notes * 2)[None], AUDIO.sample_rate)
    return folder


def test_prepare_describes_the_recordings(
    voices: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (recordings / "broken.wav").write_bytes(b"no sound")
    assert cli.run(["prepare", str(recordings), str(tmp_path / "set"), "--json"]) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert len(report["recordings"]) == 2 and report["minutes"] > 0.3
    assert "2 recordings" in captured.err and "broken.wav" in captured.err and "resing train" in captured.err
    assert "does not exist" in fails(capsys, "prepare", tmp_path / "none", "--out", tmp_path / "set")


def test_one_command_makes_a_voice(voices: Path, recordings: Path, capsys: pytest.CaptureFixture[str]):
    facts = ["--licence", "private", "--consent", "my own voice", "--languages", "en, nl", "--sex", "female"]
    settings = ["--set", "steps=3", "--set", "batch_size=2", "--set", "segment_frames=32"]
    assert cli.run(["voice", "create", "eva", str(recordings), *facts, *settings, "--json"]) == 0
    captured = capsys.readouterr()
    card = json.loads(captured.out)
    assert (card["name"], card["languages"], card["sex"]) == ("eva", ["en", "nl"], "female")
    assert Voice.load("eva").card.model_dump(mode="json") == card
    assert "resing convert SONG.flac --voice eva" in captured.err
    assert "exists already" in fails(capsys, "voice", "create", "kumi", recordings, *facts, *settings)


def test_step_by_step_makes_a_voice_and_resume_goes_on(
    voices: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    dataset, folder = str(tmp_path / "set"), str(tmp_path / "run")
    assert cli.run(["prepare", str(recordings), "--out", dataset]) == 0
    facts = ["--name", "eva", "--licence", "private", "--consent", "my own voice"]
    settings = ["--set", "batch_size=2", "--set", "segment_frames=32"]
    assert cli.run(["train", dataset, "--out", folder, *facts, *settings, "--set", "steps=2"]) == 0
    assert Voice.load("eva").card.training["steps"] == 2
    assert cli.run(["resume", folder, "--set", "steps=4"]) == 0
    assert Voice.load("eva").card.training["steps"] == 4
    capsys.readouterr()
    assert "no run to resume" in fails(capsys, "resume", tmp_path / "none")
