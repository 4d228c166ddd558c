"""A whole song in, a whole song out: separate, convert the lead, mix back."""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

from resing import checkpoint, pitch
from resing.audio import files
from resing.audio.tags import read_tags, write_tags
from resing.config import ConvertOptions, SongOptions
from resing.conversion import Converter, ProgressCallback, Watch
from resing.conversion_melody import check_pitch_out
from resing.conversion_record import ConversionRecord
from resing.conversion_reopen import reopen
from resing.conversion_retakes import Settled
from resing.errors import AudioError, ConfigError
from resing.features.heard import was_heard
from resing.separation import Separator
from resing.separation_a_cappella import is_a_cappella
from resing.separation_htdemucs import HTDemucsSeparator
from resing.separation_unet import embedded
from resing.song import mix_kept
from resing.song.mix import MixReport, mix
from resing.song.pitch_shift import shift_pitch
from resing.song.stems import Stems, given_stems, kept_stems, stems_of
from resing.voice import Voice
from resing.whole import whole

STEM_NAMES = ("lead", "accompaniment", "converted", "mix")
IN_TUNE_SEMITONES = 0.01


class Arranger:
    """A voice that sings whole songs.

    Args:
        converter: the voice with its models.
        options: what is done beside singing.
        separator: by default the one that the options name, opened when first needed.
    """

    def __init__(
        self, converter: Converter, options: SongOptions | None = None, separator: Separator | None = None
    ) -> None:
        self.converter, self.options = converter, options or SongOptions()
        self._separator = separator
        self._alone: dict[str, bool] = {}
        self._watch = Watch()

    @property
    def separator(self) -> Separator:
        """What tells the lead from the accompaniment."""
        if self._separator is None:
            self._separator = HTDemucsSeparator.load() if self.options.separator == "htdemucs" else embedded()
        return self._separator

    def is_alone(self, source: Path) -> bool:
        """Whether there is nothing to separate: as the options say, or as it sounds."""
        if self.options.a_cappella is not None:
            return self.options.a_cappella
        digest = checkpoint.file_hash(source)
        if digest not in self._alone:
            with self._watch("recognise"):
                self._alone[digest] = is_a_cappella(source, self.separator)
        return self._alone[digest]

    def check(self, source: Path, out: Path | str, options: ConvertOptions, pitch_out: Path | None) -> Path:
        """The file to write, once all is refused that can be before anything is heard; see `convert`."""
        out = files.check_output(source, out)
        check_pitch_out(pitch_out, source, out, options.pitch_file)
        self.converter.check(options)
        return out

    def stages(
        self, source: Path, options: ConvertOptions, accompaniment: Path | None = None
    ) -> dict[str, float]:
        """Seconds of song that each stage has to do, without what is kept from an earlier run.

        Args:
            source, options, accompaniment: see `convert`.
        """
        last = files.probe(source).seconds or 0.0
        seconds = max(0.0, min(last, options.end_seconds or last) - options.start_seconds)
        end = options.end_seconds
        part = (options.start_seconds, end)
        stages, lead = dict.fromkeys(("separate", "listen", "sing", "mix"), seconds), None
        if accompaniment is None and self.is_alone(source):
            stages["separate"] = stages["mix"] = 0.0
            lead = source
        elif accompaniment is not None:
            stages["separate"] = 0.0
        elif lead := kept_stems(source, self.separator, part):
            stages["separate"], part = 0.0, (0.0, end and end - options.start_seconds)
        voice, encoder = self.converter.voice, self.converter.encoder
        known = checkpoint.file_hash(lead) if lead and not options.dereverb else None
        if known and was_heard(known, part, voice.audio, voice.features, encoder):
            stages["listen"] = 0.0
        return stages

    def convert(
        self,
        source: Path | str,
        out: Path | str,
        options: ConvertOptions | None = None,
        progress: ProgressCallback | None = None,
        *,
        accompaniment: Path | None = None,
        stems: Path | None = None,
        pitch_out: Path | None = None,
        settled: Settled | None = None,
        range_heard: Callable[[float, pitch.RangeReport], object] | None = None,
    ) -> ConversionRecord:
        """Sing the lead of a song in the voice; the output and its record appear whole or not at all.

        Args:
            source: a song, or vocals alone.
            out: .wav, .flac, .mp3, .ogg or .opus.
            options: how to sing.
            progress: told of the stages "separate", "listen", "sing" and "mix".
            accompaniment: what is played, where `source` is the lead of a song that is there in stems.
            stems: folder for lead, accompaniment, converted lead and mix, in sync to the sample.
            pitch_out, settled, range_heard: see `Converter.convert`.

        Raises:
            AudioError: the source cannot be used or the output cannot be written.
            ConfigError: options that do not fit the voice or each other.
        """
        source, options, tell = Path(source), options or ConvertOptions(), progress or _unheard
        out = self.check(source, out, options, pitch_out)
        tags = read_tags(source)
        sing = partial(
            self.converter.convert,
            progress=tell,
            pitch_out=pitch_out,
            settled=settled,
            range_heard=range_heard,
        )
        like = MixReport.of(settled.mix) if settled and settled.mix else None
        alone = accompaniment is None and self.is_alone(source)
        with tempfile.TemporaryDirectory(dir=out.parent, prefix=".resing-") as scratch:
            made = Path(scratch) / out.name
            if alone:
                if stems is not None:
                    raise ConfigError(
                        f"{source}: is a voice alone and has no stems; leave out --stems, or separate it "
                        "all the same with --no-a-cappella"
                    )
                record = sing(source, made, options)
                song: dict[str, Any] = {"a_cappella": True}
            else:
                record, song = self._whole_song(
                    (source, accompaniment), made, options, tell, stems, (sing, like)
                )
            write_tags(made, tags.saying(f"Sung by {record.voice}, a converted voice (Resing)."))
            made.replace(out)
        song = {"options": self.options.model_dump(), "asked": options.model_dump()} | song
        times = {"recognise": round(self._watch.times.pop("recognise", 0.0), 2)} | record.times
        record = replace(
            record,
            out=str(out),
            song=song,
            times=times,
            real_time_factor=round(sum(times.values()) / record.seconds, 4),
        )
        record.save()
        return record

    def _whole_song(
        self,
        sources: tuple[Path, Path | None],
        made: Path,
        options: ConvertOptions,
        tell: ProgressCallback,
        folder: Path | None,
        how: tuple[Callable[..., ConversionRecord], MixReport | None],
    ) -> tuple[ConversionRecord, dict[str, Any]]:
        watch, (source, played), (sing, like) = Watch(), sources, how
        start, part = options.start_seconds, (options.start_seconds, options.end_seconds)
        with watch("separate"):
            if played is not None:
                stems = given_stems(source, played, part, made.parent)
            else:
                stems = stems_of(source, self.separator, part, tell)
        if options.transpose == "auto" and not self.options.shift_accompaniment:
            options = options.model_copy(update={"transpose": "octaves"})
        lead, placed = (made.with_name(f".{name}.flac") for name in ("lead", "placed"))
        try:
            record = sing(stems.lead, lead, options, source_starts=start)
        except AudioError as error:
            told = str(error).replace(str(stems.lead), f"{source}, the lead in it")
            raise AudioError(told) from error
        with watch("mix"):
            rest = self._accompaniment(stems, record.transpose, made)
            master = files.probe(rest)
            writers = [
                files.AudioWriter(path, master.sample_rate, master.channels) for path in (made, placed)
            ]
            name = mix_kept.name_of(record, self.options.mix)
            like = like or (mix_kept.find(name) if options.pitch_file else None)
            report = mix(lead, stems.lead, rest, writers[0], self.options.mix, tell, writers[1], like=like)
            if not like:
                mix_kept.keep(name, report)
        if folder is not None:
            _lay_out(folder, dict(zip(STEM_NAMES, (stems.lead, rest, placed, made), strict=True)))
        took = {name: round(seconds, 2) for name, seconds in watch.times.items()}
        record = replace(
            record,
            source=str(source.absolute()),
            source_sha256=checkpoint.file_hash(source),
            times={"separate": took["separate"]} | record.times | {"mix": took["mix"]},
        )
        return record, {
            "a_cappella": False,
            "separator": None if played else self.separator.separator_id,
            "accompaniment": played
            and {"file": str(played.absolute()), "sha256": checkpoint.file_hash(played)},
            "accompaniment_db": stems.accompaniment_db,
            "stems_kept": stems.kept,
            "mix": asdict(report),
            "mix_words": report.words(),
        }

    def _accompaniment(self, stems: Stems, transpose: float, made: Path) -> Path:
        """The accompaniment in the lead's new key, moved by the fewest semitones that lead there."""
        semitones = transpose - 12 * round(transpose / 12)
        if not self.options.shift_accompaniment or abs(semitones) < IN_TUNE_SEMITONES:
            return stems.accompaniment
        shifted = made.with_name(".accompaniment.flac")
        shift_pitch(stems.accompaniment, shifted, semitones)
        return shifted


def convert(
    source: Path | str,
    out: Path | str,
    voice: Voice | Path | str,
    options: ConvertOptions | None = None,
    song: SongOptions | None = None,
    progress: ProgressCallback | None = None,
) -> ConversionRecord:
    """Sing a song, or vocals alone, in a voice given by name, file or object; see `Arranger.convert`."""
    singer = voice if isinstance(voice, Voice) else Voice.load(voice)
    return Arranger(Converter(singer), song).convert(source, out, options, progress)


def repeat(
    record: Path | str,
    out: Path | str,
    voice: Converter | Voice | Path | str | None = None,
    progress: ProgressCallback | None = None,
    *,
    anew: tuple[float, float] | None = None,
    stems: Path | None = None,
) -> ConversionRecord:
    """Make an output again from its OUT.json: on the same machine the same samples, bit for bit.

    With a place to be sung anew, another take of the phrase that is there is put in; all that was sung beside
    it stays as it is, bit for bit, and is not sung again if its rendering was kept.

    Args:
        record: the OUT.json.
        out: the file to write.
        voice: the voice, where it is no longer known by the recorded name or has its models open already.
        progress: see `Arranger.convert`.
        anew: from where to where in the song, in seconds, a phrase shall be sung once more.
        stems: see `Arranger.convert`.

    Raises:
        AudioError: nothing is sung at the place that shall be sung anew.
        ConfigError: the record cannot be read, or source, voice or models are not the recorded ones.
    """
    kept, options, converter = reopen(record, voice)
    song = SongOptions(**(kept.song or {"options": {"a_cappella": True}})["options"])
    played = (kept.song or {}).get("accompaniment")
    if played and checkpoint.file_hash(played["file"]) != played["sha256"]:
        raise ConfigError(f"{played['file']} has changed since {record} was written; restore it to go on")
    return Arranger(converter, song).convert(
        kept.source,
        out,
        options,
        progress,
        accompaniment=Path(played["file"]) if played else None,
        stems=stems,
        settled=replace(kept.settled, anew=anew),
    )


def _lay_out(folder: Path, found: dict[str, Path]) -> None:
    """Copies of the stems under their names."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, path in found.items():
            with whole(folder / f"{name}{path.suffix}") as temporary:
                shutil.copyfile(path, temporary)
    except OSError as error:
        raise AudioError(
            f"{folder}: the stems cannot be written ({error.strerror}); free space or choose another folder"
        ) from error


def _unheard(stage: str, done: float, total: float) -> None:
    """Progress that nobody asked for."""
