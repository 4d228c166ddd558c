"""A converted lead in the place of the original one: as loud, as bright, as far away and as wide.

The files are read in blocks, several times: to hear both leads, to measure the placed lead, and to mix. What
stays in memory is a few numbers per frame of 12 ms.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from resing.audio import files
from resing.config import MixOptions
from resing.conversion import ProgressCallback
from resing.errors import AudioError
from resing.scoring.metrics import EMPTY_DB
from resing.song import placement, reverb, sibilance, tone
from resing.song.filtering import Filter, filtered, regrouped
from resing.song.hearing import SHARP_BAND_HZ, Envelope, LongTerm, bins_hz, hop_size
from resing.song.levels import LoudnessMeter, PeakMeter
from resing.song.limiter import Limiter
from resing.song.placement import Placement
from resing.song.reverb import Reverb

BLOCK_SECONDS = 5.0
PASSES = 6
LENGTH_TOLERANCE_FRAMES = 4


@dataclass(frozen=True)
class MixReport:
    """What was measured and what was done to the lead.

    Attributes:
        original_lufs: loudness of the original lead; EMPTY_DB if silent.
        gain_db: overall gain of the converted lead, after everything else.
        tone_db: (Hz, dB) of the tone curve.
        original_reverb: what was heard in the original lead; None: dry.
        added_reverb: what the converted lead lacked of it; None: nothing.
        placement: gain of each channel and width in three bands.
        de_essed_db: the most that a sibilant was softened.
        limited_db: the most that a peak was held back.
        mix_lufs: loudness of the mix.
        true_peak_dbtp: its highest peak.
        samples: its length.
    """

    original_lufs: float
    gain_db: float
    tone_db: tuple[tuple[float, float], ...]
    original_reverb: Reverb | None
    added_reverb: Reverb | None
    placement: Placement
    de_essed_db: float
    limited_db: float
    mix_lufs: float
    true_peak_dbtp: float
    samples: int

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """A report that was kept as plain values."""
        rooms = {name: kept[name] and Reverb(**kept[name]) for name in ("original_reverb", "added_reverb")}
        return cls(**{**kept, **rooms, "placement": Placement(**kept["placement"])})

    def words(self) -> list[str]:
        """What was done, one short sentence each."""
        low, high = (
            float(np.mean([db for hz, db in self.tone_db if a <= hz < b]))
            for a, b in ((100, 500), (4000, 12000))
        )
        said = [
            f"lead at {self.original_lufs:.1f} LUFS like the original's ({self.gain_db:+.1f} dB)",
            f"tone: {low:+.1f} dB below 500 Hz, {high:+.1f} dB above 4 kHz",
        ]
        if self.original_reverb is None:
            said.append("the original lead is dry: no reverb added")
        elif self.added_reverb is None:
            said.append("the converted lead rings on like the original: no reverb added")
        else:
            level_db, t60 = max(zip(self.added_reverb.level_db, self.added_reverb.t60, strict=True))
            said.append(f"reverb of {t60:.1f} s added, {level_db:+.0f} dB")
        said.append(f"width: side {10 * np.log10(self.placement.width[1] + 1e-6):.0f} dB under the middle")
        if self.de_essed_db:
            said.append(f"sibilants softened by up to {self.de_essed_db:.1f} dB")
        if self.limited_db:
            said.append(f"peaks held back by up to {self.limited_db:.1f} dB")
        return [*said, f"mix at {self.mix_lufs:.1f} LUFS, true peak {self.true_peak_dbtp:.1f} dBTP"]


@dataclass(frozen=True, eq=False)
class Sources:
    """The files of a mix, all read at the rate and in the channels of the one that sets the length.

    Attributes:
        lead: the converted lead.
        original: the lead it replaces.
        accompaniment: everything else, if there is anything; sets the length.
        sample_rate: Hz.
        channels: of the mix.
        weights: of the converted lead's channels in mono.
    """

    lead: Path
    original: Path
    accompaniment: Path | None
    sample_rate: int
    channels: int
    weights: np.ndarray

    @classmethod
    def of(cls, lead: Path, original: Path, accompaniment: Path | None) -> Self:
        """Check that the files fit each other.

        Raises:
            AudioError: other channels, or another rate, than the accompaniment's.
        """
        master, own = files.probe(accompaniment or original), files.probe(original)
        if own.sample_rate != master.sample_rate or own.channels not in (1, master.channels):
            raise AudioError(
                f"{original}: {own.channels} channels at {own.sample_rate} Hz; expected {master.channels} at "
                f"{master.sample_rate} Hz as in {master.path}; separate both from one song"
            )
        weights = files.downmix_weights(lead)
        return cls(lead, original, accompaniment, master.sample_rate, master.channels, weights)

    def master_blocks(self) -> Iterator[np.ndarray]:
        """The accompaniment, or silence as long as the original lead, (channels, n) per block."""
        path = self.accompaniment or self.original
        for block in files.read_blocks(path, self.sample_rate, False, block_seconds=BLOCK_SECONDS):
            yield block if self.accompaniment else np.zeros((self.channels, block.shape[1]), np.float32)

    def original_blocks(self) -> Iterator[np.ndarray]:
        """The original lead in all channels."""
        for block in files.read_blocks(self.original, self.sample_rate, False, block_seconds=BLOCK_SECONDS):
            yield np.broadcast_to(block, (self.channels, block.shape[1]))

    def lead_blocks(self) -> Iterator[np.ndarray]:
        """The converted lead in one channel, (1, n) per block."""
        for block in files.read_blocks(self.lead, self.sample_rate, False, block_seconds=BLOCK_SECONDS):
            yield self.weights[None] @ block


@dataclass(frozen=True, eq=False)
class Plan:
    """All that is done to the converted lead but its gain.

    Attributes:
        curve_db: tone at `tone.CENTRES_HZ`.
        de_ess_db: gain of the sibilant band per frame, (T,).
        heard: reverberation of the original.
        added: reverberation to add.
        place: where the lead goes.
    """

    curve_db: np.ndarray
    de_ess_db: np.ndarray
    heard: Reverb | None
    added: Reverb | None
    place: Placement

    def rendered(self, sources: Sources) -> Iterator[np.ndarray]:
        """The converted lead with everything done to it, (channels, n) per block, as long as its file."""
        rate = sources.sample_rate
        space = placement.space_response(self.place, self.added, rate)
        return filtered(self._voiced(sources.lead_blocks(), rate), Filter(space))

    def _voiced(self, blocks: Iterator[np.ndarray], rate: int) -> Iterator[np.ndarray]:
        """Tone and sibilants, (1, n) per block."""
        tilt = tone.tone_filter(self.curve_db, rate)
        sharp = tone.tone_filter(self.curve_db, rate, sibilance.high_band(rate))
        start, hop = 0, hop_size(rate)
        for both in filtered(blocks, Filter(np.stack([tilt, sharp]), early=tone.TAPS // 2)):
            place = (start + np.arange(both.shape[1]) + 0.5) / hop - 0.5
            gain_db = np.interp(place, np.arange(len(self.de_ess_db)), self.de_ess_db)
            yield both[:1] + (10 ** (gain_db / 20) - 1).astype(np.float32) * both[1:]
            start += both.shape[1]


def listen(sources: Sources, options: MixOptions, like: MixReport | None = None) -> Plan:
    """Hear both leads and decide what to do, or do as with another take of the lead."""
    rate = sources.sample_rate
    own, other = Envelope.of(sources.original_blocks(), rate), Envelope.of(sources.lead_blocks(), rate)
    _check_lengths(sources, len(own.sharp), len(other.sharp))
    if like:
        curve = np.array([db for _, db in like.tone_db])
        softened = _softened(own, other, curve, options)
        return Plan(curve, softened, like.original_reverb, like.added_reverb, like.placement)
    frames = min(len(own.sharp), len(other.sharp))
    both = np.pad(own.active[:frames] & other.active[:frames], (0, LENGTH_TOLERANCE_FRAMES))
    original = LongTerm.of(sources.original_blocks(), rate, both)
    converted = LongTerm.of(sources.lead_blocks(), rate, both)
    heard = reverb.hear_reverb(own, rate) if options.match_reverb else None
    added = reverb.missing_reverb(own, other, heard, rate, options.match_reverb) if heard else None
    expected = converted.power * reverb.reverb_gain(added, bins_hz(rate))
    curve = options.match_tone * tone.tone_curve(original.power, expected, rate)
    place = placement.towards(placement.hear_placement(original, rate), options.match_width)
    return Plan(curve, _softened(own, other, curve, options), heard, added, place)


def _softened(own: Envelope, other: Envelope, curve: np.ndarray, options: MixOptions) -> np.ndarray:
    """Gain in dB of the sibilants of the converted lead, which gets a tone curve, per frame, (T,)."""
    if not options.de_ess:
        return np.zeros(len(other.sharp))
    tilt_db = float(20 * np.log10(tone.gain_at(curve, np.sqrt(np.prod(SHARP_BAND_HZ)))))
    return sibilance.de_ess_curve(own, other, tilt_db)


def _check_lengths(sources: Sources, own: int, other: int) -> None:
    if abs(own - other) > LENGTH_TOLERANCE_FRAMES:
        frame = hop_size(sources.sample_rate) / sources.sample_rate
        raise AudioError(
            f"{sources.lead}: {other * frame:.1f} s long, expected {own * frame:.1f} s like "
            f"{sources.original}; convert the whole lead"
        )


def mix(
    lead: Path,
    original_lead: Path,
    accompaniment: Path | None,
    writer: files.AudioWriter,
    options: MixOptions | None = None,
    progress: ProgressCallback | None = None,
    placed: files.AudioWriter | None = None,
    *,
    like: MixReport | None = None,
) -> MixReport:
    """Mix a converted lead in the place of the original one; the length is the accompaniment's.

    Where the lead is silent and no peak is held back the mix is the accompaniment, bit for bit.

    Args:
        lead: the converted lead, mono or in the original's channels.
        original_lead: the lead as it was separated; its rate and channels are the mix's.
        accompaniment: everything else; None: the lead alone.
        writer: where the mix goes, not yet open.
        options: what is matched.
        progress: told of the stage "mix".
        placed: where the lead goes as it is in the mix, its own peaks held back, not yet open; None: nowhere.
        like: of a mix with another take of the lead, whose gain, tone, reverb and place are kept.

    Raises:
        AudioError: the files do not fit each other, or the mix cannot be written.
    """
    options = options or MixOptions()
    tell = progress or (lambda stage, done, total: None)
    sources = Sources.of(Path(lead), Path(original_lead), accompaniment and Path(accompaniment))
    tell("mix", 0, PASSES)
    plan = listen(sources, options, like)
    tell("mix", PASSES - 2, PASSES)
    original_lufs, gain_db = (like.original_lufs, like.gain_db) if like else _gain(sources, plan, options)
    tell("mix", PASSES - 1, PASSES)
    limiter = Limiter(sources.sample_rate, sources.channels) if options.limit else None
    own = Limiter(sources.sample_rate, sources.channels)
    with placed or contextlib.nullcontext():
        keep = (lambda block: placed.write(own.push(block))) if placed else None
        blocks = _mixed(sources, plan, gain_db, limiter, keep)
        mix_lufs, true_peak_dbtp = _write(writer, blocks, sources)
        if placed:
            placed.write(own.finish())
    tell("mix", PASSES, PASSES)
    return MixReport(
        original_lufs=original_lufs,
        gain_db=gain_db,
        tone_db=tuple(zip(tone.CENTRES_HZ.tolist(), plan.curve_db.tolist(), strict=True)),
        original_reverb=plan.heard,
        added_reverb=plan.added,
        placement=plan.place,
        de_essed_db=float(-plan.de_ess_db.min(initial=0.0)),
        limited_db=limiter.deepest_db if limiter else 0.0,
        mix_lufs=mix_lufs,
        true_peak_dbtp=true_peak_dbtp,
        samples=writer.samples,
    )


def _gain(sources: Sources, plan: Plan, options: MixOptions) -> tuple[float, float]:
    """Loudness of the original lead in LUFS, and gain in dB of the placed one."""
    original_lufs = _loudness(sources.original_blocks(), sources)
    wanted = original_lufs if options.match_loudness else _loudness(sources.lead_blocks(), sources)
    placed = _loudness(plan.rendered(sources), sources)
    matching = wanted - placed if min(wanted, placed) > EMPTY_DB else 0.0
    return original_lufs, matching + options.lead_gain_db


def _write(writer: files.AudioWriter, blocks: Iterator[np.ndarray], sources: Sources) -> tuple[float, float]:
    """Loudness in LUFS and true peak in dBTP of the blocks that were written."""
    loudness = LoudnessMeter(sources.sample_rate, sources.channels)
    peak = PeakMeter(sources.sample_rate, sources.channels)
    with writer:
        for block in blocks:
            writer.write(block)
            loudness.push(block)
            peak.push(block)
    return loudness.finish(), peak.finish()


def _mixed(
    sources: Sources,
    plan: Plan,
    gain_db: float,
    limiter: Limiter | None,
    keep: Callable[[np.ndarray], object] | None,
) -> Iterator[np.ndarray]:
    """The sum of accompaniment and placed lead, its peaks held back, (channels, n) per block."""
    gain, masters = np.float32(10 ** (gain_db / 20)), sources.master_blocks()
    waiting: list[np.ndarray] = []

    def sizes() -> Iterator[int]:
        for master in masters:
            waiting.append(master)
            yield master.shape[1]

    for placed in regrouped(plan.rendered(sources), sizes(), sources.channels):
        lead = gain * placed
        if keep:
            keep(lead)
        block = waiting.pop() + lead
        yield limiter.push(block) if limiter else block
    if limiter:
        yield limiter.finish()


def _loudness(blocks: Iterator[np.ndarray], sources: Sources) -> float:
    """LUFS of blocks, each in all channels of the mix."""
    meter = LoudnessMeter(sources.sample_rate, sources.channels)
    for block in blocks:
        meter.push(np.broadcast_to(block, (sources.channels, block.shape[1])))
    return meter.finish()
