"""What each kind of job does: the functions of the command line, with the server's files and progress."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from resing import cache, checkpoint, pitch
from resing.audio import files
from resing.audio.tags import read_tags, write_tags
from resing.config import AudioConfig, ConvertOptions, FeaturesConfig, SongOptions
from resing.conversion import Converter, ProgressCallback
from resing.conversion_record import ConversionRecord
from resing.conversion_retakes import MORE_STEPS
from resing.errors import ResingError
from resing.features import content
from resing.features.heard import hear
from resing.features.residue import LONG_REVERB_DB
from resing.scoring.clip import Clip
from resing.scoring.metrics import FRAME_SECONDS
from resing.scoring.pair import Pair
from resing.scoring.report import write_report
from resing.scoring.score import score_pair
from resing.scoring.target import Target
from resing.separation_a_cappella import is_a_cappella
from resing.separation_unet import embedded
from resing.server import schema
from resing.server.entries import Entry, asked_of
from resing.server.task import Task
from resing.song.arrange import Arranger, repeat
from resing.song.pace import Pace
from resing.song.passage import loudest_sung
from resing.song.stems import stems_of
from resing.voice import Voice, VoiceCard, survey
from resing.whole import whole

DEMO = Path(files.__file__).parents[1] / "assets" / "demo_lead.ogg"
SAMPLE = ConvertOptions(start_seconds=0.0, end_seconds=8.0)
WHOLE = (0.0, None)
OUTPUTS = ("flac", "wav", "mp3")
RECORD = "song.flac.json"
"""What the conversion decided, with the server's paths: for another take, not to be given out."""
CURVE_POINTS = 6000
USUAL_SHARE = {"look": 0.02, "finish": 0.03}
"""Seconds of work per second of song for what comes before and after a conversion, on two cores."""


@lru_cache(maxsize=2)
def singer(voice_hash: str, name: str) -> Converter:
    """A voice with its models, kept for the next job; the hash is that of its file."""
    del voice_hash
    return Converter(Voice.load(name), keeps=True)


def open_singer(name: str) -> Converter:
    """The voice of that name, ready to sing."""
    from resing.voice import find

    return singer(checkpoint.file_hash(find(name)), name)


def listen(task: Task) -> dict[str, Any]:
    """Notes of a song, and for each voice the key it would choose and how the song then lies in its range."""
    request = schema.Listen(**task.entry.request)
    source, upload = task.places.upload(request.upload), task.store.upload(request.upload)
    seconds, known = upload["seconds"], Pace.known().per_second
    task.expect({"look": 1.0, "separate": known["separate"] * seconds, "listen": known["listen"] * seconds})
    task.stage("look", 0, 1)
    alone = is_a_cappella(source, embedded())
    lead = source if alone else stems_of(source, embedded(), WHOLE, task.stage).lead
    audio = AudioConfig()
    heard = hear(
        lead,
        checkpoint.file_hash(lead),
        WHOLE,
        audio,
        FeaturesConfig(),
        content.embedded(),
        lambda share: task.stage("listen", share, 1.0),
    )
    notes = pitch.find_notes(heard.f0, audio.frame_rate)
    minutes: dict[str, float] = {}
    for note in notes:
        name = str(round(note.pitch))
        minutes[name] = minutes.get(name, 0.0) + (note.stop - note.start) / audio.frame_rate / 60
    fits = {card.name: fit(card, notes, alone) for card in survey()[0]}
    return {
        "a_cappella": alone,
        "notes": {name: round(value, 4) for name, value in sorted(minutes.items(), key=lambda n: int(n[0]))},
        "sung_seconds": round(60 * sum(minutes.values()), 2),
        "reverberant": heard.fall_db > LONG_REVERB_DB,
        "doubts": [asdict(doubt) for doubt in heard.doubts],
        "fits": fits,
    }


def fit(card: VoiceCard, notes: list[pitch.Note], alone: bool) -> dict[str, float]:
    """The key a voice would sing notes in, in semitones, and how they then lie in its range."""
    limits = pitch.voice_range(card.range_hz, card.f0_histogram)
    key = pitch.auto_transpose(notes, limits, octaves_only=not alone)
    lies = {name: round(value, 4) for name, value in asdict(pitch.shares(notes, key, limits)).items()}
    return {"transpose": float(key), **lies}


def convert(task: Task) -> dict[str, Any]:
    """A song in another voice: the song as flac, wav and mp3, the stems, and the melody before and after."""
    request, folder = schema.Convert(**task.entry.request), task.clear()
    source, upload = task.places.upload(request.upload), task.store.upload(request.upload)
    task.tell("open", 0.0)
    arranger = Arranger(open_singer(request.voice), request.song)
    alone = arranger.is_alone(source)
    arranger.options = SongOptions(**(request.song.model_dump() | {"a_cappella": alone}))
    options, seconds = request.options, upload["seconds"]
    if request.preview:
        separator = None if alone else arranger.separator
        start, end = loudest_sung(source, separator, progress=lambda share: task.tell("search", 0.1 * share))
        options = options.model_copy(update={"start_seconds": start, "end_seconds": end})
    last = min(seconds, options.end_seconds or seconds)
    task.expect(_stages(max(0.0, last - options.start_seconds), alone))
    out = folder / "song.flac"
    record = arranger.convert(source, out, options, task.stage, stems=None if alone else folder)
    Pace.known().learn(record.seconds, record.times)
    return _finish(task, record, source, alone) | {"options": options.model_dump()}


def retake(task: Task) -> dict[str, Any]:
    """The song of a conversion with another take of one phrase put in; nothing else is sung."""
    request, folder = schema.Retake(**task.entry.request), task.clear()
    made, result = done_before(task, request.job)
    asked, alone = schema.Convert(**asked_of(made)), bool(result["a_cappella"])
    before, _ = ConversionRecord.load(task.places.job(made.id) / RECORD)
    known, place = Pace.known().per_second, (request.start_seconds, request.end_seconds)
    stages = {"retry": (MORE_STEPS + 1) * known["sing"] * (place[1] - place[0]) + 2.0}
    usual = _stages(before.seconds, alone)
    task.expect(stages | {name: usual[name] for name in ("mix", *USUAL_SHARE) if name in usual})
    task.tell("open", 0.0)
    record = repeat(
        task.places.job(made.id) / RECORD,
        folder / "song.flac",
        open_singer(asked.voice),
        task.stage,
        anew=place,
        stems=None if alone else folder,
    )
    (anew,) = [one for one in record.retakes if one not in before.retakes]
    told = _finish(task, record, task.places.upload(asked.upload), alone)
    return told | {"of": made.id, "anew": anew, "request": asked.model_dump(mode="json")}


def done_before(task: Task, job: str) -> tuple[Entry, dict[str, Any]]:
    """A job that another one needs, and its result.

    Raises:
        ResingError: it has none.
    """
    made = task.store.job(job)
    if made.result is None:
        raise ResingError("what this needs is not done, or was removed; convert the song first")
    return made, made.result


def _finish(task: Task, record: ConversionRecord, source: Path, alone: bool) -> dict[str, Any]:
    """All files beside the song that was sung, and what is told of it."""
    folder, options = task.folder, ConvertOptions(**record.options)
    (folder / "mix.flac").unlink(missing_ok=True)
    _lay_out(folder, source, options, alone, task)
    name = task.store.upload(source.name)["name"]
    told = asdict(record) | {"source": name, "out": "song.flac"}  # without the server's paths
    _save_json(folder / "record.json", told)
    return {"record": told, "a_cappella": alone}


def _stages(seconds: float, alone: bool) -> dict[str, float]:
    """Seconds that each stage of a conversion will take, in order."""
    known = Pace.known().per_second
    names = ("listen", "sing") if alone else ("separate", "listen", "sing", "mix")
    return {name: known[name] * seconds + 0.2 for name in names} | {
        name: share * seconds + 0.2 for name, share in USUAL_SHARE.items()
    }


def _lay_out(folder: Path, source: Path, options: ConvertOptions, alone: bool, task: Task) -> None:
    """The original as long as the song, other formats of the song, and the two melodies."""
    part = options.start_seconds, options.end_seconds
    transcode(source, folder / "original.flac", *part)
    before, after = ("original.flac", "song.flac") if alone else ("lead.flac", "converted.flac")
    task.stage("look", 0, 2)
    _save_json(folder / "curves.json", {"step": FRAME_SECONDS} | _curves(folder / before, folder / after))
    tags = read_tags(folder / "song.flac")
    for number, suffix in enumerate(OUTPUTS[1:]):
        task.stage("finish", number, 2)
        made = folder / f"song.{suffix}"
        try:
            transcode(folder / "song.flac", made)
        except ResingError as error:  # more channels than an mp3 holds
            task.note(str(error).replace(str(folder), ""))
            continue
        write_tags(made, tags)


def transcode(source: Path, out: Path, start_seconds: float = 0.0, end_seconds: float | None = None) -> None:
    """Write a file, or its part between two times, in the format that another name asks for."""
    about = files.probe(source)
    with files.AudioWriter(out, about.sample_rate, about.channels) as writer:
        for block in files.read_blocks(source, about.sample_rate, False, start_seconds, end_seconds):
            writer.write(block)


def _curves(before: Path, after: Path) -> dict[str, list[int | None]]:
    """Pitch of two files per tracker frame, 100 per semitone, 6900 is A4; None where unvoiced."""
    curves: dict[str, list[int | None]] = {}
    for name, path in (("before", before), ("after", after)):
        try:
            f0, confidence = Clip.read(path).swift
        except ResingError:  # too short or silent: there is nothing to draw
            curves[name] = []
            continue
        voiced = (f0 > 0) & (confidence >= FeaturesConfig().f0_confidence)
        cents = np.round(100.0 * pitch.hz_to_semitones(np.where(voiced, f0, 440.0))).astype(int)
        curves[name] = [c if v else None for c, v in zip(cents.tolist(), voiced.tolist(), strict=True)]
    return curves


def score(task: Task) -> dict[str, Any]:
    """What is heard in a conversion: figures, phrases, findings, and the report as a page."""
    request = schema.Score(**task.entry.request)
    made, result = done_before(task, request.job)
    where, record = task.places.job(made.id), result["record"]
    names = ("original.flac", "song.flac") if result["a_cappella"] else ("lead.flac", "converted.flac")
    before, after = Clip.remembered(where / names[0]), Clip.read(where / names[1])
    before.name, after.name = record["source"], f"{record['source']}, sung by {record['voice']}"
    start = record["options"]["start_seconds"]
    moved = tuple(
        note | {edge: note[edge] - start for edge in ("start_seconds", "end_seconds")}
        for note in record["range"]["moved"]
    )
    target = Target.load(Voice.load(record["voice"]), None)
    card = score_pair(Pair(before, after, record["transpose"], moved), target, task.stage)
    write_report(task.clear() / "report.html", card, where / names[1], where / names[0], task.stage)
    return {"card": asdict(card)}


def sample(task: Task) -> dict[str, Any]:
    """A few bars of the bundled song in a voice, kept for everybody who asks."""
    request = schema.Sample(**task.entry.request)
    task.tell("open", 0.0)
    converter, folder = open_singer(request.voice), task.clear()
    out = folder / "sample.flac"
    sing_sample(converter, out, task.stage)
    with whole(sample_path(task, converter.voice.card)) as temporary:
        shutil.copyfile(out, temporary)
    return {"voice": request.voice}


def sing_sample(converter: Converter, out: Path, progress: ProgressCallback | None = None) -> None:
    """Let a voice sing a few bars of the bundled song into a file."""
    converter.convert(DEMO, out, SAMPLE, progress)
    Path(f"{out}.json").unlink()


def sample_path(task: Task, card: VoiceCard) -> Path:
    """Where the sound of a voice is kept, by all that its card says."""
    return task.places.samples / sample_name(card)


def sample_name(card: VoiceCard) -> str:
    """Changes when the voice does."""
    return cache.key(card.model_dump_json()) + ".flac"


def _save_json(path: Path, record: dict[str, Any]) -> None:
    with whole(path) as temporary:
        temporary.write_text(json.dumps(record, allow_nan=False), encoding="utf-8")


WORK: dict[str, Callable[[Task], dict[str, Any]]] = {
    "listen": listen,
    "convert": convert,
    "retake": retake,
    "score": score,
    "sample": sample,
}
