"""A song, what came of it, and the report of the two: what the tests of the report look at."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resing.audio import files
from resing.scoring.card import Figure, Finding, Phrase, Scorecard
from resing.scoring.report import write_report

RATE = 44100
NASTY = '<script>document.title=1</script> & "O\'Brien" {{data}}'
MELODY = [(220.0, 1.2), (0.0, 0.4), (277.18, 1.2), (0.0, 0.3), (329.63, 1.4)]
SECONDS = 4.5
TRANSPOSE = 12.0
QUIETER_DB = -6.0
FINDINGS = (
    Finding(2.0, 2.6, "pitch", "pitch breaks: note above this voice's range", 0.9),
    Finding(0.6, 0.62, "click", "a click", 0.2),
    Finding(3.5, 4.0, "breathy", NASTY, 0.5),
)
FIGURES = (
    Figure("f0_median_cents", "pitch error, median", 4.13, "cents", limit="<= 10"),
    Figure("hnr_db_change", "tone over noise, change", -3.1, "dB", 18.2, 19.0, ">= -2.5", True, NASTY),
    Figure("words_cer", "letters misheard", None, "%", note="needs a recogniser"),
)
PHRASES = (Phrase(0.0, 2.8, 0.7, {"f0_median_cents": 6.0}), Phrase(3.1, 4.5, 0.1, {"f0_median_cents": None}))
MOVED = ({"start_seconds": 1.6, "end_seconds": 2.8, "note": "C#5", "sung": "C#4"},)


@dataclass(frozen=True)
class Made:
    """A report and what it was made from."""

    page: Path
    card: Scorecard
    output: Path
    source: Path


def make_report(folder: Path, sung_phrase: Callable[..., np.ndarray]) -> Made:
    """A report of a synthetic song and the same an octave higher and quieter; names as bad as they get."""
    source, output = folder / "song & <b>.wav", folder / "out 'x'.wav"
    louder = sung_phrase(MELODY, vibrato_cents=0.0)
    quieter = sung_phrase([(2 * f0, seconds) for f0, seconds in MELODY], vibrato_cents=0.0)
    files.write(source, louder[None], RATE)
    files.write(output, quieter[None] * 10 ** (QUIETER_DB / 20), RATE)
    card = Scorecard(str(output), str(source), NASTY, SECONDS, TRANSPOSE, MOVED, FIGURES, PHRASES, FINDINGS)
    return Made(write_report(folder / "report.html", card, output, source), card, output, source)
