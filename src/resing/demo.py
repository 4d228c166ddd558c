"""The bundled song in a bundled voice: audio, stems, and a picture of what changed."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resing.audio import files
from resing.audio.mel import log_mel, mel_centres
from resing.config import AudioConfig, FeaturesConfig
from resing.conversion import Converter, ProgressCallback
from resing.conversion_record import ConversionRecord
from resing.errors import AudioError, VoiceError
from resing.features.f0 import SWIFT_RATE, frame_times, track
from resing.song.arrange import Arranger
from resing.voice import Voice
from resing.whole import whole

ASSETS = Path(__file__).parent / "assets"
LEAD, ACCOMPANIMENT = ASSETS / "demo_lead.ogg", ASSETS / "demo_accompaniment.ogg"
FAVOURITES = ("kumi", "af_aoede", "pjs")
"""The first of these that is here sings the demo, else the first of all voices."""
PICTURE_DB = 90.0


@dataclass(frozen=True)
class Demo:
    """What the demo made.

    Attributes:
        record: of the conversion; the audio and its JSON lie where it says.
        stems: folder of the lead before and after, the accompaniment and the mix.
        picture: spectrograms of both leads, with the notes.
    """

    record: ConversionRecord
    stems: Path
    picture: Path


def favourite() -> str:
    """The voice that sings the demo.

    Raises:
        VoiceError: there is no voice at all.
    """
    names = [card.name for card in Voice.list()]
    if not names:
        raise VoiceError("no voice is here to sing the demo; make one: resing voice create NAME RECORDINGS")
    return next((name for name in FAVOURITES if name in names), names[0])


def make_demo(folder: Path | str, voice: str | None = None, progress: ProgressCallback | None = None) -> Demo:
    """Convert the bundled song and draw it before and after.

    Args:
        folder: where the files go; made if missing.
        voice: name of a voice, or a voice file; by default a bundled one.
        progress: told as in `Converter.convert`.

    Raises:
        VoiceError: unknown or damaged voice.
        AudioError: the folder cannot be written.
    """
    folder, singer = Path(folder), Voice.load(voice or favourite())
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudioError(
            f"{folder}: cannot be made ({error.strerror}); choose another folder with -o"
        ) from error
    out = folder / f"demo_{singer.card.name}.flac"
    arranger, stems = Arranger(Converter(singer)), folder / "stems"
    record = arranger.convert(LEAD, out, progress=progress, accompaniment=ACCOMPANIMENT, stems=stems)
    picture = out.with_suffix(".png")
    leads = {"the lead in the song": f"lead{LEAD.suffix}", f"sung by {singer.card.name}": "converted.flac"}
    sounds = {title: stems / name for title, name in leads.items()}
    draw(sounds, picture, singer.audio, singer.features)
    return Demo(record, stems, picture)


def draw(sounds: dict[str, Path], picture: Path, audio: AudioConfig, features: FeaturesConfig) -> None:
    """Mel spectrograms one above the other, each with its notes drawn in, as a PNG.

    Args:
        sounds: files by title.
        picture: to write.
        audio: the frame grid.
        features: range of the notes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.2 * len(sounds)), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (title, path) in enumerate(sounds.items(), 1):
        axes = figure.add_subplot(len(sounds), 1, number)
        _draw_one(axes, title, path, audio, features)
    try:
        with whole(picture) as temporary:
            figure.savefig(temporary, format="png")
    except OSError as error:
        raise AudioError(f"{picture}: cannot be written ({error.strerror}); free some space") from error


def _draw_one(axes: Any, title: str, path: Path, audio: AudioConfig, features: FeaturesConfig) -> None:
    sound = files.read(path, audio.sample_rate, mono=True)[0]
    mel = log_mel(torch.from_numpy(sound), audio)[0].numpy() * (20 / np.log(10))  # (M, T), dB
    narrow = files.read(path, SWIFT_RATE, mono=True)[0][0]
    f0, _ = track(narrow, mel.shape[1], audio, features)
    times = frame_times(mel.shape[1], audio)
    centres = mel_centres(audio.n_mels, audio.f_min, audio.f_max)
    axes.pcolormesh(times, centres, mel, vmin=mel.max() - PICTURE_DB, cmap="magma", rasterized=True)
    axes.plot(times, np.where(f0 > 0, f0, np.nan), color="#40e0ff", linewidth=1.2, label="f0")
    axes.set_yscale("function", functions=(_mel_axis, _hz_axis))
    axes.set_ylim(centres[0], centres[-1])
    axes.set_yticks([100, 200, 500, 1000, 2000, 5000, 10000])
    axes.set(title=title, xlabel="seconds", ylabel="Hz")
    axes.legend(loc="upper right")


def _mel_axis(hz: np.ndarray) -> np.ndarray:
    return np.log1p(np.maximum(hz, 0.0) / 300.0)


def _hz_axis(place: np.ndarray) -> np.ndarray:
    return 300.0 * np.expm1(np.minimum(place, 10.0))
