"""Character error rates by several recognisers."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from ears import Ears, Heard

from resing import cache, checkpoint
from resing.scoring import metrics

WORDS_LIMIT = 0.3
"""Source error rate up to which a clip's words are judged, each recogniser by its own."""
Row = dict[str, Any]


class Words:
    """What recognisers make of outputs and of recordings; what is heard in recordings is kept."""

    def __init__(self, data: Path, ears: Ears) -> None:
        self.data, self.ears = data, ears
        with open(data / "kokoro_sung" / "alignment.jsonl", encoding="utf-8") as file:
            self.texts: dict[str, Row] = {row["file"]: row for row in map(json.loads, file)}

    def judge(self, source: Heard, output: Heard, only: str | None = None) -> Row:
        """source_cer and output_cer by each recogniser, or one, that understands the source."""
        known, figures = self.known(source.path), Row()
        for suffix, listen in self.ears.recognisers.items() if known else ():
            rate = self.rate(source, suffix) if only in (None, suffix) else None
            if rate is None or rate > WORDS_LIMIT:
                continue
            heard = listen(output.audio_16k, known["lang"]) or ""
            figures |= {f"source_cer{suffix}": rate, f"heard{suffix}": heard}
            figures[f"output_cer{suffix}"] = error_rate(known["text"], heard)
        return figures

    def rate(self, clip: Heard, suffix: str) -> float | None:
        """Error rate of a recording whose text is known; None in a language that is not the recogniser's."""
        known = self.known(clip.path)
        if known is None:
            return None
        if suffix == "" and (known["source_cer"] is None or known["source_cer"] > WORDS_LIMIT):
            return None  # the manifest has Whisper's own rate already
        kept = cache.entry("judge", cache.key(suffix, checkpoint.file_hash(clip.path)) + ".txt")
        if kept.exists():
            return error_rate(known["text"], kept.read_text(encoding="utf-8"))
        heard = self.ears.recognisers[suffix](clip.audio_16k, known["lang"])
        if heard is None:
            return None
        write_text(kept, heard)
        return error_rate(known["text"], heard)

    def rates_of(self, paths: tuple[Path, ...]) -> Row:
        """Mean output_cer of a voice's own recordings by each recogniser, of those that it understands.

        Whisper's rates come with the data.
        """
        means = Row()
        for suffix in self.ears.recognisers:
            texts = {path: known for path in paths if (known := self.known(path))}
            if suffix:
                rates = [self.rate(Heard(path, self.ears), suffix) for path in texts]
            else:
                rates = [known["source_cer"] for known in texts.values()]
            understood = [rate for rate in rates if rate is not None and rate <= WORDS_LIMIT]
            means[f"output_cer{suffix}"] = float(np.mean(understood)) if understood else None
        return means

    def known(self, path: Path) -> Row | None:
        """Text, language and phones of a recording."""
        return self.texts.get(_name(path))


def error_rate(reference: str, heard: str) -> float:
    """Character error rate on letters alone."""
    import jiwer

    return float(jiwer.cer(metrics.letters(reference), metrics.letters(heard)))


def write_text(path: Path, text: str) -> None:
    """Write beside the target, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _name(path: Path) -> str:
    return "/".join(path.with_suffix("").parts[-2:])
