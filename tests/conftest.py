"""What every test may ask for: one thread, the shared audio, and a synthetic singer."""

import importlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
import pytest

if TYPE_CHECKING:
    from report_song import Made

    from resing.conversion import Converter

REPOSITORY = Path(__file__).resolve().parents[1]
# Centre in Hz, half-power width in Hz and height of the formants of a sung [a].
FORMANTS = ((700.0, 90.0, 1.0), (1220.0, 110.0, 0.6), (2600.0, 170.0, 0.3), (3300.0, 250.0, 0.2))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Torch on one thread: the same sums in the same order on every machine, and no fight over cores."""
    import torch

    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def home_of_the_test(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A RESING_HOME for each test: no test sees the user's voices and caches, nor another test's."""
    monkeypatch.setenv("RESING_HOME", str(tmp_path_factory.mktemp("home")))


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Load a script outside the package, with its neighbours in reach: `script("recipes/phones.py")`."""

    def load(relative: str) -> ModuleType:
        path = REPOSITORY / relative
        sys.path.insert(0, str(path.parent))
        try:
            return importlib.import_module(path.stem)
        finally:
            sys.path.remove(str(path.parent))

    return load


@pytest.fixture(scope="session")
def shared_file() -> Callable[[str], Path]:
    """Find a file or folder of the shared audio, which lies outside the repository, by its relative path.

    The folder is `../shared/data` beside the repository, or what RESING_DATA says. Without the file the test
    is skipped; with RESING_REQUIRE_DATA=1, as in CI, it fails.
    """
    folder = Path(os.environ.get("RESING_DATA", REPOSITORY.parent / "shared" / "data"))

    def find(relative: str) -> Path:
        path = folder / relative
        if path.exists():
            return path
        reason = f"no shared audio at {path}; RESING_DATA=FOLDER says where it is"
        if os.environ.get("RESING_REQUIRE_DATA") == "1":
            pytest.fail(reason)
        pytest.skip(reason)

    return find


@pytest.fixture(scope="session")
def shared_data(shared_file: Callable[[str], Path]) -> Path:
    """Return the folder of the shared audio; skips or fails without it, as `shared_file` does."""
    return shared_file("manifest.csv").parent


@pytest.fixture(scope="session")
def sung_vowel() -> Callable[..., np.ndarray]:
    """A synthetic singer: `sung_vowel(f0, seconds)` returns mono audio of one held vowel."""
    return _sung_vowel


@pytest.fixture(scope="session")
def sung_phrase() -> Callable[..., np.ndarray]:
    """A synthetic singer: `sung_phrase([(f0, seconds), ...])` returns its notes; f0 0 is a rest."""
    return _sung_phrase


def _sung_vowel(
    f0: float,
    seconds: float,
    sample_rate: int = 44100,
    *,
    vibrato_cents: float = 30.0,
    vibrato_hz: float = 5.5,
    formant_shift: float = 1.0,
    peak: float = 0.5,
) -> np.ndarray:
    """Harmonics of a note under the formants of an [a], with vibrato and a soft start and end.

    Args:
        f0: centre of the note, Hz.
        seconds: duration; the result has `round(seconds * sample_rate)` samples.
        sample_rate: Hz; there are harmonics up to 45 % of it.
        vibrato_cents: swing to each side; 0 holds the note still.
        vibrato_hz: swings per second.
        formant_shift: factor on the formants: another singer's throat.
        peak: largest absolute sample.

    Returns:
        float32 audio (N,).
    """
    times = np.arange(round(seconds * sample_rate)) / sample_rate
    pitch = f0 * 2 ** (vibrato_cents / 1200 * np.sin(2 * np.pi * vibrato_hz * times))
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    highest = f0 * 2 ** (vibrato_cents / 1200)
    audio = np.zeros_like(times)
    for harmonic in range(1, int(0.45 * sample_rate / highest) + 1):
        audio += _vowel_gain(harmonic * f0 / formant_shift) / harmonic * np.sin(harmonic * phase)
    edge = np.minimum(times, times[-1] - times) / 0.02 if len(times) else times
    audio *= np.clip(edge, 0, 1)
    return (peak * audio / max(np.abs(audio).max(initial=0.0), 1e-9)).astype(np.float32)


def _vowel_gain(hz: float) -> float:
    """Gain of the throat at a frequency: a floor and one resonance per formant."""
    return 0.05 + sum(height / (1 + ((hz - centre) / width) ** 2) for centre, width, height in FORMANTS)


def _sung_phrase(notes: list[tuple[float, float]], sample_rate: int = 44100, **options: float) -> np.ndarray:
    """Notes one after another, each (f0 in Hz, seconds), a rest where f0 is 0: float32 audio (N,)."""
    parts = [
        _sung_vowel(f0, seconds, sample_rate, **options)
        if f0
        else np.zeros(round(seconds * sample_rate), np.float32)
        for f0, seconds in notes
    ]
    return np.concatenate(parts)


@pytest.fixture
def reader_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader of foreign checkpoints in this process; test_checkpoint_foreign.py shows the child."""
    from resing import checkpoint_child, checkpoint_foreign

    monkeypatch.setattr(checkpoint_child, "limit", lambda size: None)
    monkeypatch.setattr(
        checkpoint_foreign,
        "_run",
        lambda path, out, places: checkpoint_child.answer(str(path), str(out), list(places)) or "",
    )


@pytest.fixture
def tiny_converter() -> "Converter":
    """A converter of small models that nobody trained, with the voice "tiny", 110 to 880 Hz."""
    import torch

    from resing.config import AudioConfig, ModelConfig
    from resing.conversion import Converter
    from resing.features import content
    from resing.features.content import ContentConfig, ContentEncoder
    from resing.synthesis import acoustic, vocoder
    from resing.synthesis.vocoder import Vocoder, VocoderConfig
    from resing.voice import Voice, VoiceCard

    torch.manual_seed(0)
    audio = AudioConfig()
    model = ModelConfig(n_units=6, hidden=16, decoder_layers=1, denoiser_layers=1, speaker_dim=8)
    net = acoustic.build(model, audio)
    torch.nn.init.normal_(net.denoiser.leave.weight, std=0.05)
    facts = {"name": "tiny", "licence": "mine", "consent": "mine", "range_hz": (110, 880)}
    card = VoiceCard(**facts, encoder_id="untrained", base_hash="untrained")
    voice = Voice(card, model, audio, torch.ones(8), merged=dict(net.state_dict()))
    shape = VocoderConfig(hidden=16, layers=1, points=24)
    encoder = ContentEncoder(content.build(ContentConfig(hidden=16, layers=2, n_units=6)))
    return Converter(voice, Vocoder(vocoder.build(shape, audio), audio), encoder)


@pytest.fixture(scope="module")
def made(
    tmp_path_factory: pytest.TempPathFactory, sung_phrase: Callable[..., np.ndarray]
) -> "Iterator[Made]":
    """A report of a synthetic song, its sound, and its card."""
    from report_song import make_report

    folder = tmp_path_factory.mktemp("report")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RESING_HOME", str(folder / "home"))
        yield make_report(folder, sung_phrase)
