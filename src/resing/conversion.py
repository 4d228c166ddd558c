"""A cappella in, a cappella out: the same song, the same length, another voice.

The song is heard once as a whole (per-frame data are small) and rendered window by window. A window is
given the networks' reach on both sides, noise and phase are keyed by absolute frame, so the joined windows
are what one rendering of the whole song would be, and memory does not grow with the song.
"""

import contextlib
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO, Protocol

import numpy as np
import torch

from resing import __version__, checkpoint, pitch
from resing.audio import files
from resing.config import ConvertOptions
from resing.conversion_output import Levelled, output_rate
from resing.conversion_record import ConversionRecord
from resing.errors import AudioError, ConfigError
from resing.features import content
from resing.features.content import ContentEncoder
from resing.features.extract import Features, extract_recording, open_recording
from resing.features.f0 import fill_unvoiced
from resing.synthesis.noise import frame_noise
from resing.synthesis.vocoder import Vocoder, phase_at_frames
from resing.voice import Voice

SWITCH_FRAMES = 1
"""Frames by which sound reaches into silence, so that no onset is cut."""


class ProgressCallback(Protocol):
    """Told of each stage and how much of it is done; raise from it to cancel."""

    def __call__(self, stage: str, done: float, total: float) -> object:
        """Hear how much of a stage is done, of how much."""
        ...


@dataclass(frozen=True, eq=False)
class Score:
    """What is to be sung per frame: f0 in Hz, > 0 everywhere, and pulse cycles at the frame's start."""

    features: Features
    f0: np.ndarray
    phase: np.ndarray


class Converter:
    """A voice with the models that make it sing.

    Args:
        voice: who sings.
        vocoder: by default the one that ships.
        encoder: by default the one that ships.
    """

    def __init__(
        self, voice: Voice, vocoder: Vocoder | None = None, encoder: ContentEncoder | None = None
    ) -> None:
        self.voice = voice
        self.acoustic = voice.acoustic
        self.vocoder = vocoder or Vocoder.load()
        self.encoder = encoder or content.embedded()

    def convert(
        self,
        source: Path | str,
        out: Path | str,
        options: ConvertOptions | None = None,
        progress: ProgressCallback | None = None,
    ) -> ConversionRecord:
        """Sing `source` in the voice; the output and its record appear whole or not at all.

        Args:
            source: a cappella vocals, any audio file.
            out: .wav, .flac, .mp3, .ogg or .opus.
            options: how to sing.
            progress: told of the stages "listen" and "sing".

        Raises:
            AudioError: the source cannot be used or the output cannot be written.
            ConfigError: options that do not fit the voice or each other.
        """
        options, watch = self._resolve(options or ConvertOptions()), _Watch()
        tell = progress or (lambda stage, done, total: None)
        out = files.check_output(source, out)
        recording = open_recording(source, options.start_seconds, options.end_seconds)
        writer = files.AudioWriter(out, output_rate(recording.sample_rate, out), len(recording.weights))
        with watch("listen"):
            features = extract_recording(
                recording,
                self.voice.audio,
                self.voice.features,
                self.encoder,
                lambda share: tell("listen", share, 1.0),
            )
        score, transpose, moved = self._arrange(features, options)
        with _scratch_beside(out) as scratch:
            with watch("sing"):
                self._render(score, options, scratch, tell)
            with watch("write"):
                levelled = Levelled.like(features, scratch, options.dynamics)
                levelled.write(writer)
        options = options.model_copy(update={"transpose": transpose})
        record = self._record(source, out, options, moved, levelled, watch.times)
        record.save()
        return record

    def models(self) -> dict[str, str]:
        """Hashes and ids of everything that sings, as `ConversionRecord` keeps them."""
        return {
            "voice_hash": checkpoint.tensors_hash(self.voice.tensors()),
            "encoder_id": self.encoder.encoder_id,
            "base_hash": self.acoustic.base_hash,
            "vocoder_id": self.vocoder.vocoder_id,
        }

    def _resolve(self, options: ConvertOptions) -> ConvertOptions:
        pitch.check_transpose(options.transpose)
        end = options.end_seconds
        if end is not None and end <= options.start_seconds:
            raise ConfigError(
                f"the part ends at {end} s but starts at {options.start_seconds} s; swap --from and --to"
            )
        if options.sampler == "auto":
            options = options.model_copy(update={"sampler": self.acoustic.default_sampler()})
        self.acoustic.check_sampler(options.sampler)
        return options

    def _arrange(self, features: Features, options: ConvertOptions) -> tuple[Score, float, pitch.RangeReport]:
        """The melody in the voice's key and range."""
        rate = self.voice.audio.frame_rate
        limits = pitch.voice_range(self.voice.card.range_hz, self.voice.card.f0_histogram)
        notes = pitch.find_notes(features.f0, rate)
        transpose = float(
            pitch.auto_transpose(notes, limits) if options.transpose == "auto" else options.transpose
        )
        sung, moved = pitch.sing_in_range(
            features.f0, notes, transpose, limits, options.out_of_range, rate, options.start_seconds
        )
        f0 = fill_unvoiced(sung)
        return Score(features, f0, phase_at_frames(f0, self.voice.audio)[:-1]), transpose, moved

    def _render(
        self, score: Score, options: ConvertOptions, scratch: BinaryIO, tell: ProgressCallback
    ) -> None:
        """Write the song at the reference level to `scratch` as float32."""
        frames = len(score.f0)
        size = max(1, round(options.window_seconds * self.voice.audio.frame_rate))
        for start in range(0, frames, size):
            stop = min(start + size, frames)
            audio = self.render_window(score, start, stop, options)
            if not np.isfinite(audio).all():
                raise AudioError(
                    "the voice gave samples that are not finite; its file is damaged, get it again"
                )
            scratch.write(audio.astype(np.float32).tobytes())
            tell("sing", stop, frames)

    def render_window(self, score: Score, start: int, stop: int, options: ConvertOptions) -> np.ndarray:
        """Samples of the frames start..stop, the same whatever the window, (n,) float32."""
        frames, hop = len(score.f0), self.voice.audio.hop_length
        gate = _gate(score.features.silent, start, stop, hop)
        if not gate.any():
            return gate
        inner = max(0, start - self.vocoder.halo_frames), min(frames, stop + self.vocoder.halo_frames)
        reach = self.acoustic.halo_frames(options.sampler, options.steps)
        outer = max(0, inner[0] - reach), min(frames, inner[1] + reach)
        mel = self._sample(score, outer[0], outer[1], options)[..., inner[0] - outer[0] : inner[1] - outer[0]]
        f0, voiced, phase = (
            _batch(x[inner[0] : inner[1]]) for x in (score.f0, score.features.voiced, score.phase)
        )
        audio = self.vocoder(mel, f0, voiced, phase=phase, start_frame=inner[0], seed=options.seed)[0].numpy()
        audio = audio[(start - inner[0]) * hop : (stop - inner[0]) * hop]
        return audio * gate

    def _sample(self, score: Score, start: int, stop: int, options: ConvertOptions) -> torch.Tensor:
        """Mel of the frames start..stop, (1, M, T)."""
        heard, audio = score.features, self.voice.audio
        f0, voiced, loudness = (_batch(x[start:stop]) for x in (score.f0, heard.voiced, heard.loudness))
        return self.acoustic.sample(
            torch.from_numpy(heard.window(start, stop))[None],
            f0,
            voiced,
            loudness,
            self.voice.speaker,
            noise=frame_noise(options.seed + 1, start, stop - start, audio.n_mels)[None],
            sampler=options.sampler,
            steps=options.steps,
            temperature=options.temperature,
        )

    def _record(
        self,
        source: Path | str,
        out: Path,
        options: ConvertOptions,
        moved: pitch.RangeReport,
        levelled: Levelled,
        times: dict[str, float],
    ) -> ConversionRecord:
        seconds = levelled.features.seconds
        return ConversionRecord(
            resing=__version__,
            source=str(Path(source).absolute()),
            source_sha256=checkpoint.file_hash(source),
            out=str(out),
            voice=self.voice.card.name,
            **self.models(),
            options=options.model_dump(),
            transpose=float(options.transpose),
            range=asdict(moved),
            seconds=round(seconds, 3),
            gain_db=round(levelled.gain_db, 2),
            limited_db=round(levelled.limited_db, 2),
            times={k: round(v, 2) for k, v in times.items()},
            real_time_factor=round(sum(times.values()) / seconds, 4),
        )


def convert(
    source: Path | str,
    out: Path | str,
    voice: Voice | Path | str,
    options: ConvertOptions | None = None,
    progress: ProgressCallback | None = None,
) -> ConversionRecord:
    """Sing `source` in a voice given by name, file or object; see `Converter.convert`."""
    singer = voice if isinstance(voice, Voice) else Voice.load(voice)
    return Converter(singer).convert(source, out, options, progress)


def repeat(
    record: Path | str,
    out: Path | str,
    voice: Voice | Path | str | None = None,
    progress: ProgressCallback | None = None,
) -> ConversionRecord:
    """Make an output again from its OUT.json: on the same machine the same samples, bit for bit.

    Args:
        record: the OUT.json.
        out: the file to write.
        voice: the voice, where it is no longer known by the recorded name.
        progress: see `Converter.convert`.

    Raises:
        ConfigError: the record cannot be read, or source, voice or models are not the recorded ones.
    """
    kept, options = ConversionRecord.load(record)
    singer = voice if isinstance(voice, Voice) else Voice.load(voice or kept.voice)
    converter = Converter(singer)
    if Path(kept.source).is_file() and checkpoint.file_hash(kept.source) != kept.source_sha256:
        raise ConfigError(f"{kept.source} has changed since {record} was written; restore it to go on")
    if any(getattr(kept, name) != value for name, value in converter.models().items()):
        raise ConfigError(
            f"{record} was made with another version of the voice {kept.voice} or of the models; "
            f"install Resing {kept.resing} and that voice to make the same again"
        )
    return converter.convert(kept.source, out, options, progress)


class _Watch:
    """Seconds spent on each named stage."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began = time.perf_counter()
        yield
        self.times[stage] = time.perf_counter() - began


def _batch(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.astype(np.float32))[None]


@contextlib.contextmanager
def _scratch_beside(out: Path) -> Iterator[BinaryIO]:
    """A nameless file on the disk of `out`, gone at the end whatever happens."""
    try:
        with tempfile.TemporaryFile(dir=out.parent, prefix=".resing-", suffix=".part") as file:
            yield file
    except OSError as error:
        raise AudioError(
            f"{out}: cannot be written ({error.strerror}); free some space or write to another disk"
        ) from error


def _gate(silent: np.ndarray, start: int, stop: int, hop: int) -> np.ndarray:
    """0 where the source is silent, 1 elsewhere, with ramps of one frame, (samples,) float32."""
    first, last = max(0, start - SWITCH_FRAMES - 1), min(len(silent), stop + SWITCH_FRAMES + 1)
    sounding = (~silent[first:last]).astype(np.float32)
    for _ in range(SWITCH_FRAMES):
        wide = np.pad(sounding, 1)
        sounding = np.maximum(np.maximum(wide[:-2], wide[2:]), sounding)
    centres = (np.arange(first, last) + 0.5) * hop
    return np.interp(np.arange(start * hop, stop * hop) + 0.5, centres, sounding).astype(np.float32)
