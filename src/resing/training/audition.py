"""Auditions: a voice in training sings a few passages of other singers; what is heard makes one number.

Who sings what: a low and a high passage of the demo song's lead, both in the key that suits the voice, and
the lowest and the highest held-out piece of the recordings as a stranger, one of the voices that the base
brings along, sings it. The passages are heard once; an audition converts some twenty seconds and scores them.

What is measured: what `resing score` measures, against the recordings as they come through the vocoder.
Likeness is heard by the base's own speaker encoder, which flatters, and whose vectors all point one way: the
cosine of two singers is 0.93. So the strangers' mean is taken off before vectors are compared.

The number, `audition`, lower is better: for each passage four faults, as RULE says, each 0 where nothing is
lacking and 1 where scoring would call for a look; of the two figures of a fault the worse one counts; the
number is the mean of the four over the passages. They are added and not weighed against each other: however
little likeness a voice has, a hoarse or mistuned tone costs it as much. A tenth of likeness weighs as much as
2.5 dB of hoarseness. Nothing is earned beyond what is good: a tone clearer than the recordings' is no merit.
Kinds of damage are noted and do not count: the same vocoder sings every time, and a detector says yes or no,
which is noise between two neighbours.
"""

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from resing import pitch
from resing.audio import files
from resing.config import ConvertOptions, TrainingConfig
from resing.conversion_melody import Score, arrange
from resing.conversion_windows import Renderer
from resing.features import content
from resing.features.extract import Features, extract_array
from resing.scoring import damage, figures, metrics
from resing.scoring.clip import Clip
from resing.scoring.figures import Voices
from resing.scoring.pair import Moved, Pair
from resing.scoring.target import Recordings, Target
from resing.synthesis import acoustic, vocoder
from resing.synthesis.acoustic import AcousticModel
from resing.synthesis.vocoder import Vocoder, phase_at_frames
from resing.training.dataset import Piece, VoiceData
from resing.training.strangers import Line, Strangers
from resing.voice import Voice

SONG = Path(__file__).parents[1] / "assets" / "demo_lead.ogg"
PARTS = (20.5, 25.5), (12.4, 17.4)
"""Seconds of the song: from G2 to C3, and about G3."""
PASSAGE_SECONDS, SHORTEST_SECONDS = 5.0, 1.0
COST_FRAMES = 7000
"""Frames of training that take as long as an audition."""
OWN_SECONDS = 60.0
"""Of the recordings, to know by what the voice sounds like at best."""
RULE = {
    "voice": {"margin_of_ceiling": (1.0, 0.9)},
    "words": {"units_distance": (0.0, 0.15)},
    "melody": {"f0_rmse_cents": (0.0, 40.0), "coverage": (1.0, 0.75)},
    "tone": {"hnr_db_change": (0.0, -2.5), "cpp_ratio": (1.0, 0.8)},
}
"""Faults and the figures they are read off: where nothing is lacking, and where it is worth a look."""
LEAST_APART = 0.1
"""A source that is as like the voice as its own recordings tells nothing of likeness."""
HEARD = ("similarity", "leak_margin", *(name for read_off in RULE.values() for name in read_off))

Row = dict[str, float | None]


@dataclass(frozen=True, eq=False)
class Passage:
    """A source, its score in the voice's key, semitones between the two, and notes moved besides."""

    source: Clip
    score: Score
    transpose: float
    moved: Moved


class Audition:
    """Sings and judges; the same weights get the same figures every time, and no generator is touched.

    Args:
        voice: as it is before it learns; its card knows the range.
        data: its recordings.
    """

    def __init__(self, voice: Voice, data: VoiceData) -> None:
        self.data, self.audio = data, data.audio
        self.encoder, self.vocoder = content.embedded(), Vocoder.load(vocoder.EMBEDDED)
        base = AcousticModel.load(acoustic.EMBEDDED)
        recordings = self._recordings()
        self.target = Target(voice, Recordings.of([recordings], base))
        self.middle = metrics.unit(base.strangers.numpy()).mean(axis=0) if len(base.strangers) else 0.0
        own = self._vectors(recordings, recordings.active)
        self.centroid = metrics.unit(own.mean(axis=0))
        self.ceiling = metrics.leave_one_out(own) if len(own) > 1 else 1.0
        self.limits = pitch.voice_range(voice.card.range_hz, voice.card.f0_histogram)
        strangers = Strangers(base, self.vocoder, self.encoder, self.audio)
        self.passages = [*self._song(), *self._sung_by(strangers)]

    def __call__(self, voice: Voice) -> dict[str, float]:
        """The number, `audition`, and the means of the figures over the passages that a voice sings."""
        renderer, options = Renderer(voice, self.vocoder), ConvertOptions()
        options = options.model_copy(update={"sampler": renderer.acoustic.default_sampler()})
        rows = []
        for passage in self.passages:
            samples = renderer.window(passage.score, 0, len(passage.score.f0), options)
            output = Clip("the audition", samples, self.audio.sample_rate)
            rows.append(self._judge(Pair(passage.source, output, passage.transpose, passage.moved)))
        return summary(rows)

    def _judge(self, pair: Pair) -> Row:
        """What scoring says of one passage."""
        found = figures.whole(pair, self.target, Voices())
        known: Row = {figure.name: figure.value for figure in found}
        known |= self._likeness(pair)
        kinds = {kind for kind, figure, _ in damage.detected(pair) if figure.flagged}
        return {name: known[name] for name in HEARD} | {"damage": float(len(kinds))}

    def _likeness(self, pair: Pair) -> Row:
        """Similarity to the voice, its margin over that to the source's singer, and how much it could be."""
        active = pair.singing[: len(pair.output.audio_16k)]
        before, after = (self._vectors(clip, active) for clip in (pair.source, pair.output))
        if not len(before) or len(before) != len(after):
            return dict.fromkeys(("similarity", "leak_margin", "margin_of_ceiling"))
        similarity, source = (float(np.mean(vectors @ self.centroid)) for vectors in (after, before))
        margin = similarity - float(np.mean(np.sum(after * before, axis=1)))
        share = margin / max(self.ceiling - source, LEAST_APART)
        return {"similarity": similarity, "leak_margin": margin, "margin_of_ceiling": share}

    def _vectors(self, clip: Clip, active: np.ndarray) -> np.ndarray:
        """Who is heard in windows of a clip, apart from what all have in common, of length one, (W, S)."""
        return metrics.unit(self.target.vectors(clip, active) - self.middle)

    def _recordings(self) -> Clip:
        """The recordings as they come through the vocoder, as many as it takes to know the voice."""
        sounds, left = [], OWN_SECONDS * self.audio.frame_rate
        for piece in (*self.data.held, *self.data.train):
            phase = torch.from_numpy(phase_at_frames(piece.f0.numpy(), self.audio)[:-1]).float()
            heard = self.vocoder(piece.mel[None], piece.f0[None], piece.voiced[None], phase=phase[None])
            sounds.append(heard[0].numpy())
            left -= piece.frames
            if left <= 0:
                break
        return Clip("the recordings", np.concatenate(sounds), self.audio.sample_rate)

    def _song(self) -> list[Passage]:
        """The passages of the demo song, in one key."""
        rate = self.audio.sample_rate
        clips = [Clip(SONG.name, files.read(SONG, rate, True, *part)[0][0], rate) for part in PARTS]
        heard = [self._hear(clip) for clip in clips]
        notes = [note for one in heard for note in pitch.find_notes(one.f0, self.audio.frame_rate)]
        options = ConvertOptions(transpose=float(pitch.auto_transpose(notes, self.limits)))
        return [self._passage(*one, options) for one in zip(clips, heard, strict=True)]

    def _sung_by(self, strangers: Strangers) -> list[Passage]:
        """Held-out pieces as strangers sing them, each brought back to where the voice is at home."""
        passages, longest = [], round(PASSAGE_SECONDS * self.audio.frame_rate)
        for number, piece in enumerate(self._lowest_and_highest() if len(strangers) else ()):
            part, random = slice(longest), np.random.default_rng(number)
            units, f0, loudness = piece.units[0, :, part].float(), piece.f0 * piece.voiced, piece.loudness
            line = Line(units.numpy(), f0[part].numpy(), loudness[part].numpy())
            who = int(random.integers(len(strangers)))
            vector, usual_f0 = strangers.acoustic.strangers[who], float(strangers.acoustic.strangers_f0[who])
            sound = strangers.sing(line, vector[None], usual_f0, random)
            clip = Clip(f"{piece.recording}, sung by a stranger", sound, content.SAMPLE_RATE)
            passages.append(self._passage(clip, self._hear(clip), ConvertOptions()))
        return passages

    def _lowest_and_highest(self) -> list[Piece]:
        """The held-out pieces, long enough and with a note in them, whose middle notes are furthest apart."""
        shortest = SHORTEST_SECONDS * self.audio.frame_rate
        fit = [piece for piece in self.data.held if piece.frames >= shortest and piece.voiced.any()]
        by_note = sorted(fit, key=lambda piece: float(piece.f0[piece.voiced > 0].median()))
        return by_note if len(by_note) < 2 else [by_note[0], by_note[-1]]

    def _hear(self, clip: Clip) -> Features:
        return extract_array(
            clip.audio, clip.sample_rate, self.audio, self.data.features, self.encoder, clip.name
        )

    def _passage(self, source: Clip, heard: Features, options: ConvertOptions) -> Passage:
        score, arranged, report = arrange(heard, self.limits, options)
        return Passage(source, score, float(arranged.transpose), tuple(map(asdict, report.moved)))


def why_none(config: TrainingConfig, steps: int, device: str) -> str:
    """Why a training has no auditions, in a sentence; empty: it has.

    An audition takes as long as training on COST_FRAMES frames. That is a count and no measured time, so that
    the same training is judged the same way everywhere.
    """
    if device != "cpu":
        return "Auditions are for trainings on the processor: the held-out error decides."
    between = min(config.validate_every, steps) * config.rows * config.segment_frames
    if config.audition_share * between >= COST_FRAMES:
        return ""
    return (
        f"Auditions would take {100 * COST_FRAMES / between:.0f} % of the training, more than "
        f"{100 * config.audition_share:.0f} %: the held-out error decides."
    )


def summary(rows: list[Row]) -> dict[str, float]:
    """The number, `audition`, and the means of the passages' figures; what could not be had is left out."""
    means: dict[str, float] = {}
    for name in rows[0]:
        known = [value for row in rows if (value := row[name]) is not None]
        means |= {name: float(np.mean(known))} if known else {}
    faults = [_fault(row, read_off) for row in rows for read_off in RULE.values()]
    return {"audition": float(np.mean(faults))} | means


def _fault(row: Row, read_off: dict[str, tuple[float, float]]) -> float:
    """The worst of a fault's figures, 0: nothing lacks, 1: worth a look."""
    shares = [
        (value - good) / (bad - good)
        for name, (good, bad) in read_off.items()
        if (value := row[name]) is not None
    ]
    return max(0.0, *shares) if shares else 0.0
