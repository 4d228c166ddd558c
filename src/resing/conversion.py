"""A cappella in, a cappella out: the same song, the same length, another voice.

The song is heard once as a whole (per-frame data are small) and rendered window by window.
"""

import contextlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from resing import __version__, cache, checkpoint, conversion_take, pitch
from resing.audio import files
from resing.config import ConvertOptions
from resing.conversion_articulation import articulation_of
from resing.conversion_melody import Score, arrange, check_pitch_out, save_melody
from resing.conversion_output import Levelled, Levels, output_rate
from resing.conversion_record import RENDERING, ConversionRecord
from resing.conversion_retakes import Rendering, Retake, Settled
from resing.conversion_singer import singer_of
from resing.conversion_take import Take
from resing.conversion_windows import Renderer
from resing.errors import AudioError, ConfigError, VoiceError
from resing.features import ears
from resing.features.content import ContentEncoder
from resing.features.dereverb import dry_copy
from resing.features.extract import Features, Recording, open_recording
from resing.features.heard import hear
from resing.features.hubert import MODELS, HubertEncoder
from resing.features.melody_tracking import Doubt
from resing.features.residue import LONG_REVERB_DB
from resing.pitch_file import read_pitch
from resing.pitch_tune import scale_tones
from resing.synthesis import diff_svc, vocoder_nsf
from resing.synthesis.vocoder import Vocoder
from resing.voice import Voice, VoiceCard

MOSTLY = 0.5
"""Share of a melody that must have changed, and all windows with it, for its level to be found anew."""
MELODIC = frozenset({"pitch_file", "out_of_range", "tune", "tune_strength"})
"""Options that decide a melody and nothing else."""


class ProgressCallback(Protocol):
    """Told of each stage and how much of it is done; raise from it to cancel."""

    def __call__(self, stage: str, done: float, total: float) -> object:
        """Hear how much of a stage is done, of how much."""
        ...


class Converter:
    """A voice with the models that make it sing.

    Args:
        voice: who sings.
        vocoder: by default the one that the voice was made for, if it is here, else the one that ships.
        encoder: by default the one that the voice was trained on.
        keeps: renderings are kept, so that a phrase can be sung anew without the rest.

    Raises:
        DownloadError: the voice needs an encoder or tracker that is not here; says how to get it.
        VoiceError: the encoder that is here is not the one that the voice was trained on.
    """

    def __init__(
        self,
        voice: Voice,
        vocoder: Vocoder | None = None,
        encoder: ContentEncoder | None = None,
        keeps: bool = False,
    ) -> None:
        self.voice, self.keeps = voice, keeps
        if encoder is None:
            ears.require(voice.features, f"the voice {voice.card.name}")
            encoder = ears.encoder(voice.features)
            _check_encoder(voice.card, encoder)
        self.encoder = encoder
        self.acoustic = voice.acoustic
        self.vocoder = vocoder or vocoder_nsf.for_voice(voice.card.vocoder_id)
        self.renderer = Renderer(voice, self.vocoder)

    def convert(
        self,
        source: Path | str,
        out: Path | str,
        options: ConvertOptions | None = None,
        progress: ProgressCallback | None = None,
        *,
        pitch_out: Path | str | None = None,
        settled: Settled | None = None,
        source_starts: float = 0.0,
        range_heard: Callable[[float, pitch.RangeReport], object] | None = None,
    ) -> ConversionRecord:
        """Sing `source` in the voice; the output and its record appear whole or not at all.

        Where a pitch file is written or sung, the rendering is kept, and of the next one with another pitch
        file only the windows that change are rendered; all others stay as they are, bit for bit.

        Args:
            source: a cappella vocals, any audio file.
            out: .wav, .flac, .mp3, .ogg or .opus.
            options: how to sing.
            progress: told of the stages "listen" and "sing", before them "dereverb" where that is asked for,
                after them "retry" where phrases came out weak.
            pitch_out: .csv file to write the melody to that was heard, to be edited and given back.
            settled: of another rendering of the same song: the same level, and its choice of phrases; one
                may be sung anew.
            source_starts: second of the song at which `source` begins; all other times are the song's.
            range_heard: told the key in semitones and the range report before anything is sung.

        Raises:
            AudioError: the source cannot be used or the output cannot be written.
            ConfigError: options that do not fit the voice or each other, or a pitch file with a mistake.
        """
        options, watch = self._resolve(options or ConvertOptions()), Watch()
        tell = progress or (lambda stage, done, total: None)
        out = files.check_output(source, out)
        check_pitch_out(pitch_out, source, out, options.pitch_file)
        table = read_pitch(options.pitch_file) if options.pitch_file else None
        part = _part(options, source_starts)
        recording = open_recording(source, *part)
        writer = files.AudioWriter(out, output_rate(recording.sample_rate, out), len(recording.weights))
        digest = checkpoint.file_hash(source)
        with watch("listen"):
            recording, features = self._listen(source, digest, part, options.dereverb, tell)
        limits = pitch.voice_range(self.voice.card.range_hz, self.voice.card.f0_histogram)
        score, options, moved = arrange(features, limits, options, table)
        if range_heard:
            range_heard(float(options.transpose), moved)
        kept_anyway = table or pitch_out or self.keeps or (settled and settled.anew)
        name = self._take_name(digest, options) if kept_anyway else None
        take = Take.find(name, len(score.f0), self.voice.audio.hop_length) if name else None
        with _scratch_beside(out) as scratch:
            with watch("sing"):
                score = self._with_source(score, features, recording, options)
                sung = self.renderer.song(score, options, scratch, take, lambda done: tell("sing", done, 1.0))
                if name and settled is None:
                    conversion_take.keep_samples(name, scratch)
                made = scratch, score, features, recording, options
                rendering = Rendering(*made, self.renderer.window, self.renderer.work)
                retakes = self._sing_again(rendering, take, settled, tell)
            with watch("write"):
                levels = _settled_levels(settled, take, score, sung)
                levelled = Levelled.like(score.features, scratch, options.dynamics, levels)
                levelled.write(writer)
                if name and settled is None:
                    conversion_take.keep(name, score.melody, Settled(levelled.levels, retakes))
        if pitch_out:
            save_melody(pitch_out, score.features, options.start_seconds)
        facts: dict[str, Any] = {
            **self.models(),
            "source": str(Path(source).absolute()),
            "source_sha256": digest,
            "out": str(out),
            "sung_seconds": round(sung / self.voice.audio.frame_rate, 3),
            "retakes": [asdict(retake) for retake in retakes],
        }
        record = self._record(facts, options, moved, levelled, watch.times)
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

    def check(self, options: ConvertOptions) -> None:
        """Refuse what can be refused before anything is heard.

        Raises:
            ConfigError: options that do not fit the voice or each other, or a pitch file with a mistake.
        """
        self._resolve(options)
        if options.pitch_file:
            read_pitch(options.pitch_file)

    def _resolve(self, options: ConvertOptions) -> ConvertOptions:
        pitch.check_transpose(options.transpose)
        if options.tune:
            scale_tones(options.tune)
        end = options.end_seconds
        if end is not None and end <= options.start_seconds:
            raise ConfigError(
                f"the part ends at {end} s but starts at {options.start_seconds} s; swap --from and --to"
            )
        if self.voice.diff_svc:
            given = options.model_fields_set
            options = options.model_copy(
                update={name: value for name, value in diff_svc.DEFAULTS.items() if name not in given}
            )
        if options.sampler == "auto":
            options = options.model_copy(update={"sampler": self.acoustic.default_sampler()})
        self.acoustic.check_sampler(options.sampler)
        return options

    def _listen(
        self,
        source: Path | str,
        digest: str,
        part: tuple[float, float | None],
        dereverb: bool,
        tell: ProgressCallback,
    ) -> tuple[Recording, Features]:
        """What is heard, the source or a copy of it without late reverb, and what is heard in it."""
        if dereverb:
            source = dry_copy(source, digest, part, lambda share: tell("dereverb", share, 1.0))
            digest, part = checkpoint.file_hash(source), (0.0, None)
        voice, encoder = self.voice, self.encoder
        features = hear(
            source,
            digest,
            part,
            voice.audio,
            voice.features,
            encoder,
            lambda share: tell("listen", share, 1.0),
        )
        return open_recording(source, *part), features

    def _with_source(
        self, score: Score, heard: Features, recording: Recording, options: ConvertOptions
    ) -> Score:
        """The score with what guidance and articulation take from the source, where there is any."""
        base = self.voice.base if options.guidance or options.articulation else None
        singer = singer_of(recording, heard, base) if base else None
        if base is None or singer is None:
            return score
        if options.articulation:
            said = articulation_of(recording, heard, score.f0, base, singer, self.voice.speaker)
            score = replace(score, articulation=said)
        return replace(score, singer=singer)

    def _take_name(self, digest: str, options: ConvertOptions) -> str:
        """Hash of all that decides a rendering except its melody."""
        models, how = sorted(self.models().items()), options.model_dump_json(exclude=set(MELODIC))
        return cache.key(RENDERING, digest, models, how)

    def _sing_again(
        self,
        rendering: Rendering,
        take: Take | None,
        settled: Settled | None,
        tell: ProgressCallback,
    ) -> tuple[Retake, ...]:
        """Replace weak phrases: those that are settled, or those that a take kept and what is found now."""
        if settled is not None and settled.anew is not None:
            return rendering.sing_anew(settled.anew, settled.retakes)
        if settled is not None:
            rendering.lay(settled.retakes)
            return settled.retakes
        known: tuple[Retake, ...] = ()
        if take:
            reach = self.renderer.reach(rendering.again(1))
            known = take.settled.unchanged(take.changed(rendering.score.melody, reach)).retakes
        return rendering.sing_again(known, lambda share: tell("retry", share, 1.0))

    def _record(
        self,
        facts: dict[str, Any],
        options: ConvertOptions,
        moved: pitch.RangeReport,
        levelled: Levelled,
        times: dict[str, float],
    ) -> ConversionRecord:
        heard, levels, seconds = levelled.features, levelled.levels, levelled.features.seconds
        return ConversionRecord(
            resing=__version__,
            voice=self.voice.card.name,
            **facts,
            options=options.model_dump(),
            transpose=float(options.transpose),
            range=asdict(moved),
            seconds=round(seconds, 3),
            gain_db=round(levels.gain_db, 2),
            limited_db=round(levels.limited_db, 2),
            times={k: round(v, 2) for k, v in times.items()},
            real_time_factor=round(sum(times.values()) / seconds, 4),
            rendering=RENDERING,
            pitch_sha256=checkpoint.file_hash(options.pitch_file) if options.pitch_file else None,
            doubts=[_in_song(doubt, options.start_seconds) for doubt in heard.doubts],
            reverberant=heard.fall_db > LONG_REVERB_DB,
            levels=asdict(levels),
        )


def _check_encoder(card: VoiceCard, encoder: ContentEncoder) -> None:
    """A voice trained here on an encoder of the community's sings with that very one."""
    if not card.imported and isinstance(encoder, HubertEncoder) and encoder.encoder_id != card.encoder_id:
        raise VoiceError(
            f"the voice {card.name} was trained on the encoder {card.encoder_id}, here is "
            f"{encoder.encoder_id}; bring its file: resing models download {MODELS[encoder.kind]} --from FILE"
        )


def _part(options: ConvertOptions, source_starts: float) -> tuple[float, float | None]:
    """From where to where, in its own seconds, a source is sung that begins at a second of the song."""
    end = options.end_seconds
    return options.start_seconds - source_starts, None if end is None else end - source_starts


def _settled_levels(settled: Settled | None, take: Take | None, score: Score, sung: int) -> Levels | None:
    """The levels to keep: those that are settled, or a take's of which most stays; None: found anew."""
    if settled and settled.levels:
        return settled.levels
    stays = take and (sung < len(score.f0) or take.changed(score.melody, 0).mean() < MOSTLY)
    return take.settled.levels if take and stays else None


def _in_song(doubt: Doubt, start_seconds: float) -> dict[str, Any]:
    """A doubt with its times counted from the start of the song."""
    times = {k: round(v + start_seconds, 3) for k, v in asdict(doubt).items() if k != "reason"}
    return {**times, "reason": doubt.reason}


class Watch:
    """Seconds spent on each named stage."""

    def __init__(self) -> None:
        self.times: dict[str, float] = {}

    @contextlib.contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Take the time of what happens inside."""
        began = time.perf_counter()
        yield
        self.times[stage] = time.perf_counter() - began


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
