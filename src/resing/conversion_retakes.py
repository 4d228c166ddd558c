"""Weak phrases are sung again, with more steps of the sampler, the weakest first, until a budget is spent.

What is better replaces the phrase, its ends cross-faded: both takes have the same phase, so a note that
goes on does not change hands audibly. A phrase can also be sung anew because somebody wants another take of
it. The choices are recorded, and rendering by them gives the same samples again, bit for bit.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO, Self

import numpy as np

from resing.config import ConvertOptions
from resing.conversion_melody import Score
from resing.conversion_output import Levels
from resing.conversion_phrases import Judgement, Phrase, phrases_in
from resing.errors import AudioError
from resing.features.extract import Features, Recording

MORE_STEPS = 4
"""Times as many steps in another try; the first has the seed of the rendering, each further one its own."""
SEED_STEP = 1000
WEAK_SECONDS = 0.1
"""A phrase that is weak for less is not tried again."""
BETTER_SECONDS, BETTER_SHARE = 0.1, 0.25
"""How much of a phrase's weakness, in seconds and as a share, a take must take away to replace the first."""
FADE_FRAMES = 4
LEAST_SECONDS = 60.0
"""A shorter song has the budget of this much."""


@dataclass(frozen=True)
class Retake:
    """A weak phrase, and what trying again came to.

    Attributes:
        start_frame, stop_frame: its frames.
        start_seconds, end_seconds: the same in the song.
        fault: "breathy" (by HNR), or no more than "rough" (by CPP).
        weak_seconds: how long; left_seconds: how long it still is in the take that is kept.
        before_db: HNR or CPP where it was weak, or all along; after_db: there in the take that is kept.
        tries: how often it was sung again.
        seed, steps: of the take that is kept.
        replaced: that take is not the first.
    """

    start_frame: int
    stop_frame: int
    start_seconds: float
    end_seconds: float
    fault: str
    weak_seconds: float
    left_seconds: float
    before_db: float
    after_db: float
    tries: int
    seed: int
    steps: int
    replaced: bool

    def sung(self, options: ConvertOptions) -> ConvertOptions:
        """How the take that is kept is sung."""
        return options.model_copy(update={"seed": self.seed, "steps": self.steps})


@dataclass(frozen=True)
class Settled:
    """What a rendering settled that its options leave open.

    Attributes:
        levels: of its gain.
        retakes: phrases tried again.
        anew: from where to where in the song, in seconds, a phrase is wanted that shall be sung once more.
        mix: how the lead was placed in a song, as the record keeps it.
    """

    levels: Levels | None = None
    retakes: tuple[Retake, ...] = ()
    anew: tuple[float, float] | None = None
    mix: dict[str, Any] | None = None

    @classmethod
    def of(cls, kept: Mapping[str, Any]) -> Self:
        """What was kept as plain values; KeyError or TypeError where that is something else."""
        retakes = tuple(Retake(**retake) for retake in kept["retakes"])
        return cls(Levels(**kept["levels"]) if kept["levels"] else None, retakes)

    def unchanged(self, changed: np.ndarray) -> Self:
        """The same without the phrases in which something changed, bool (T,)."""
        kept = tuple(r for r in self.retakes if not changed[r.start_frame : r.stop_frame].any())
        return replace(self, retakes=kept)


@dataclass(frozen=True, eq=False)
class Rendering:
    """A rendering and what it was made from.

    Attributes:
        samples: mono float32 at the house rate; phrases are replaced in it.
        score: what is sung.
        heard: the source, with its own melody.
        source: its sound.
        options: how it was sung, key and sampler filled in.
        render: samples of some frames, see `Renderer.window`.
        work: what it costs to render so many frames in one go.
    """

    samples: BinaryIO
    score: Score
    heard: Features
    source: Recording
    options: ConvertOptions
    render: Callable[[Score, int, int, ConvertOptions], np.ndarray]
    work: Callable[[int, ConvertOptions], float]

    def sing_again(
        self, known: Sequence[Retake] = (), progress: Callable[[float], object] | None = None
    ) -> tuple[Retake, ...]:
        """The weak phrases, in order of time; those that came out better are replaced.

        Args:
            known: phrases tried before, which are neither judged nor tried again.
            progress: told the share of the phrases that is done.
        """
        least = round(LEAST_SECONDS * self.heard.audio.frame_rate)
        budget = self.options.retry_budget * self.work(max(least, len(self.score.f0)), self.options)
        self.lay(known)
        found, weakest = list(known), self._weakest(known) if budget > 0 else []
        for number, (phrase, first) in enumerate(weakest, 1):
            retake = self._try(phrase, first, budget)
            budget -= retake.tries * self._cost(phrase)
            found.append(retake)
            if progress is not None:
                progress(number / len(weakest))
        return tuple(sorted(found, key=lambda retake: retake.start_frame))

    def sing_anew(self, place: tuple[float, float], known: Sequence[Retake]) -> tuple[Retake, ...]:
        """The retakes with that of one more phrase, which is put in whether it is better or not.

        Args:
            place: from where to where in the song, in seconds; the phrase that covers most of it is sung.
            known: phrases tried before; if this one is among them, its next try takes their place.

        Raises:
            AudioError: nothing is sung there.
        """
        phrase = self._phrase_at(place)
        start, stop = phrase.start, phrase.stop
        same = [retake for retake in known if (retake.start_frame, retake.stop_frame) == (start, stop)]
        first_take = self.read(start, stop)
        self.lay(known)
        first = self._judge(phrase, self.read(start, stop))
        other = 1 if self.options.steps else 2  # without a sampler only another seed is another take
        number = max(other, 1 + sum(retake.tries for retake in same))
        self._write(start, first_take)
        take = self.render(self.score, start, stop, self.again(number))
        self._replace(start, stop, take)
        retake = self._told(phrase, first, self._judge(phrase, take), number, number)
        others = [retake for retake in known if retake not in same]
        return tuple(sorted([*others, retake], key=lambda retake: retake.start_frame))

    def _phrase_at(self, place: tuple[float, float]) -> Phrase:
        """The phrase that covers most of a place in the song, in seconds."""
        rate, best, most = self.heard.audio.frame_rate, None, 0.0
        start, stop = (round((second - self.options.start_seconds) * rate) for second in place)
        for phrase in phrases_in(self.score, self.heard, self.source):
            if phrase.start >= stop:
                break
            covers = min(stop, phrase.stop) - max(start, phrase.start)
            if covers > most and phrase.sure.any():
                best, most = phrase, covers
        if best is None:
            raise AudioError(
                f"nothing is sung from {place[0]:.1f} to {place[1]:.1f} s that could be sung anew; "
                "choose a place with singing"
            )
        return best

    def again(self, number: int) -> ConvertOptions:
        """How a phrase is sung at a try, from 1 on; 0: as all was sung."""
        seed = self.options.seed + SEED_STEP * max(0, number - 1)
        steps = self.options.steps * (MORE_STEPS if number else 1)
        return self.options.model_copy(update={"seed": seed, "steps": steps})

    def lay(self, retakes: Sequence[Retake]) -> None:
        """Sing the takes that replace phrases, and put them into the samples."""
        for retake in retakes:
            if retake.replaced:
                start, stop = retake.start_frame, retake.stop_frame
                self._replace(start, stop, self.render(self.score, start, stop, retake.sung(self.options)))

    def _replace(self, start: int, stop: int, take: np.ndarray) -> None:
        """Put a take of some frames into the samples, its ends faded in and out."""
        hop = self.heard.audio.hop_length
        place = (np.arange(len(take)) + 0.5) / (FADE_FRAMES * hop)
        share = np.minimum(1.0, np.minimum(place, place[::-1]))
        self._write(start, (share * take + (1.0 - share) * self.read(start, stop)).astype(np.float32))

    def _write(self, start: int, samples: np.ndarray) -> None:
        """Put samples, (n,) float32, in from a frame on."""
        self.samples.seek(4 * start * self.heard.audio.hop_length)
        self.samples.write(samples.tobytes())

    def read(self, start: int, stop: int) -> np.ndarray:
        """Samples of the frames start..stop, (n,) float32."""
        hop = self.heard.audio.hop_length
        self.samples.seek(4 * start * hop)
        return np.frombuffer(self.samples.read(4 * (stop - start) * hop), np.float32)

    def _weakest(self, known: Sequence[Retake]) -> list[tuple[Phrase, Judgement]]:
        """The weak phrases that are not known and what was heard in them, the weakest first."""
        if not self.options.retries or not self.options.steps:
            return []
        done = {(retake.start_frame, retake.stop_frame) for retake in known}
        weak = []
        for phrase in phrases_in(self.score, self.heard, self.source):
            if (phrase.start, phrase.stop) not in done:
                heard = self._judge(phrase, self.read(phrase.start, phrase.stop))
                if heard.weak_seconds >= WEAK_SECONDS:
                    weak.append((phrase, heard))
        return sorted(weak, key=lambda found: -found[1].weak_seconds)

    def _judge(self, phrase: Phrase, take: np.ndarray) -> Judgement:
        return phrase.judge(take, self.heard.audio.sample_rate)

    def _cost(self, phrase: Phrase) -> float:
        """Work of a try."""
        return self.work(phrase.stop - phrase.start, self.again(1))

    def _try(self, phrase: Phrase, first: Judgement, budget: float) -> Retake:
        """What a phrase comes to within a budget of work; a better take is put in."""
        start, stop = phrase.start, phrase.stop
        good = first.weak_seconds - max(BETTER_SECONDS, BETTER_SHARE * first.weak_seconds)
        kept, best, tries = 0, first, 0
        while tries < self.options.retries and (tries + 1) * self._cost(phrase) <= budget:
            tries += 1
            take = self.render(self.score, start, stop, self.again(tries))
            heard = self._judge(phrase, take)
            if heard.weak_seconds <= good and heard.weak_seconds < best.weak_seconds:
                kept, best, better = tries, heard, take
            if not heard.weak_seconds:
                break
        if kept:
            self._replace(start, stop, better)
        return self._told(phrase, first, best, tries, kept)

    def _told(self, phrase: Phrase, first: Judgement, best: Judgement, tries: int, kept: int) -> Retake:
        """What tries came to, of which the one of the number `kept` is kept."""
        fault, sung, rate = first.fault, self.again(kept), self.heard.audio.frame_rate
        where = first.weak[fault] if first.weak[fault].any() else phrase.sure
        return Retake(
            start_frame=phrase.start,
            stop_frame=phrase.stop,
            start_seconds=round(self.options.start_seconds + phrase.start / rate, 3),
            end_seconds=round(self.options.start_seconds + phrase.stop / rate, 3),
            fault=fault,
            weak_seconds=round(first.weak_seconds, 3),
            left_seconds=round(best.weak_seconds, 3),
            before_db=round(first.figure_db(fault, where), 2),
            after_db=round(best.figure_db(fault, where), 2),
            tries=tries,
            seed=sung.seed,
            steps=sung.steps,
            replaced=kept > 0,
        )
