"""Character error rates by several recognisers."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from ears import Ears, Heard

from resing.scoring import metrics

WORDS_LIMIT = 0.3
"""Source error rate up to which a clip's words are judged, each recogniser by its own."""
Row = dict[str, Any]


class Words:
    """What recognisers make of outputs and of their sources; what is heard in sources is kept in a file."""

    def __init__(self, data: Path, ears: Ears, kept: Path) -> None:
        self.data, self.ears, self.kept = data, ears, kept
        with open(data / "kokoro_sung" / "alignment.jsonl", encoding="utf-8") as file:
            self.texts: dict[str, Row] = {row["file"]: row for row in map(json.loads, file)}
        self.heard: dict[str, str] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}

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
        known, name = self.known(clip.path), f"{_name(clip.path)}{suffix}"
        if known is None:
            return None
        if suffix == "" and (known["source_cer"] is None or known["source_cer"] > WORDS_LIMIT):
            return None  # the manifest has Whisper's own rate already
        if name not in self.heard:
            heard = self.ears.recognisers[suffix](clip.audio_16k, known["lang"])
            if heard is None:
                return None
            self.heard[name] = heard
            write_text(self.kept, json.dumps(self.heard, ensure_ascii=False, indent=1))
        return error_rate(known["text"], self.heard[name])

    def rates_of(self, paths: tuple[Path, ...]) -> Row:
        """Mean output_cer of a voice's own recordings by each recogniser, of those that it understands.

        Nothing is heard for this: Whisper's rates come with the data, Vosk's are of those that were sources.
        """
        means = Row()
        for suffix in self.ears.recognisers:
            texts = {_name(path): known for path in paths if (known := self.known(path))}
            rates = [known["source_cer"] for known in texts.values()]
            if suffix:
                heard = {name: self.heard.get(name + suffix) for name in texts}
                rates = [error_rate(texts[n]["text"], h) for n, h in heard.items() if h is not None]
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
