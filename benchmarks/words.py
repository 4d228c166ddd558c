"""Character error rates by several recognisers, and the phones that a linear probe hears."""

import json
import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ears import Ears, Heard
from torch import Tensor

from resing.scoring import metrics
from resing.scoring.clip import HEARING_RATE
from resing.scoring.pair import UNIT_SECONDS

WORDS_LIMIT = 0.3
"""Source error rate up to which a clip's words are judged, each recogniser by its own."""
SEGMENT_SECONDS = 0.025
PROBE_CLIPS = 40
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

    @cached_property
    def probe(self) -> Callable[[np.ndarray], np.ndarray]:
        """Linear probe of phones on content units, (C, U) to (U, P), fitted to recordings of many voices."""
        train = [row for row in self.texts.values() if row["use"] == "train" and "/par" in row["file"]]
        chosen = train[:: max(1, len(train) // PROBE_CLIPS)]
        units, phones = [], []
        for row in chosen:
            clip = Heard(self.data / "kokoro_sung" / f"{row['file']}.opus", self.ears)
            said = phones_at(row["segments"], clip.units.shape[1])
            units.append(clip.units.T.astype(np.float32)[said != ""])
            phones.append(said[said != ""])
        return fit_probe(np.concatenate(units), np.concatenate(phones))

    def phone_distance(self, source: Heard, output: Heard) -> float | None:
        """Total variation, 0 to 1, of the phones that the probe hears in both where the source sounds."""
        n = min(source.units.shape[1], output.units.shape[1])
        at = np.round(np.arange(n) * UNIT_SECONDS * HEARING_RATE).astype(int)
        sounding = source.active[np.minimum(at, len(source.active) - 1)]
        if not sounding.any():
            return None
        before, after = (self.probe(clip.units[:, :n].astype(np.float32)) for clip in (source, output))
        return float(0.5 * np.abs(before - after).sum(axis=1)[sounding].mean())


def phones_at(segments: list[list[Any]], count: int) -> np.ndarray:
    """Phone commanded at each unit, "" at edges and word gaps, (count,)."""
    ends = np.cumsum([frames for _, _, frames in segments]) * SEGMENT_SECONDS
    inside = np.searchsorted(ends - 1e-6, np.arange(count) * UNIT_SECONDS, side="right")
    return np.array([*(phone for phone, _, _ in segments), ""])[np.minimum(inside, len(segments))]


def fit_probe(units: np.ndarray, phones: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Multinomial logistic regression with a little weight decay, (N, C) and (N,): units to probabilities."""
    names, labels = np.unique(phones, return_inverse=True)
    x, y = torch.from_numpy(units), torch.from_numpy(labels)
    weight = torch.zeros(x.shape[1], len(names), requires_grad=True)
    bias = torch.zeros(len(names), requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=30, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        found = torch.nn.functional.cross_entropy(x @ weight + bias, y) + 1e-4 * (weight**2).sum()
        found.backward()
        return found

    optimiser.step(loss)
    fitted = weight.detach(), bias.detach()
    return lambda heard: torch.softmax(torch.from_numpy(heard.T) @ fitted[0] + fitted[1], dim=1).numpy()


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
