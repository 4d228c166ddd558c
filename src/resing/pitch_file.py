"""The melody as a table that people can edit: PITCH.csv with time, hz, voiced, confidence.

`time` is in seconds of the song at the middle of a frame, `hz` its pitch before any transposition,
0 where unvoiced; `voiced` is 1 or 0, `confidence` lies in [0, 1]. What a spreadsheet makes of it is read
too: semicolons, decimal commas, TRUE and FALSE, columns of one's own.
"""

import csv
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resing.errors import ConfigError
from resing.whole import whole

COLUMNS = ("time", "hz", "voiced", "confidence")
LOWEST_HZ, HIGHEST_HZ = 20.0, 5000.0
SAME_SECONDS = 2e-5
"""Times this near are the same frame: the file has six decimals, and a part of a song starts at a sample."""
LONGEST_STEP_SECONDS = 0.1
"""No note is drawn through a longer stretch without rows, unless the whole table is that coarse."""
TRUE, FALSE = {"1", "1.0", "true", "yes"}, {"0", "0.0", "false", "no", ""}


@dataclass(frozen=True, eq=False)
class PitchTable:
    """A melody at rising times.

    Attributes:
        name: what messages call it.
        times: seconds, (R,).
        f0: Hz, 0 where unvoiced, (R,) float32.
        confidence: [0, 1], (R,) float32.
    """

    name: str
    times: np.ndarray
    f0: np.ndarray
    confidence: np.ndarray

    def at(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """f0 and confidence at other times, (T,) float32 each.

        Between two voiced rows log f0 goes in a straight line; nothing is drawn through an unvoiced row, a
        jump of half an octave, or a stretch without rows: there the nearest row decides.

        Args:
            times: seconds, rising, (T,).

        Raises:
            ConfigError: the table does not cover them.
        """
        step = max(LONGEST_STEP_SECONDS, 1.5 * float(np.median(np.diff(self.times))))
        if times[0] < self.times[0] - step or times[-1] > self.times[-1] + step:
            raise ConfigError(
                f"{self.name}: goes from {self.times[0]:.2f} to {self.times[-1]:.2f} s, expected at least "
                f"{times[0]:.2f} to {times[-1]:.2f} s; give rows for the whole song, with voiced 0 where "
                "nothing is sung"
            )
        high = np.clip(np.searchsorted(self.times, times), 1, len(self.times) - 1)
        low = high - 1
        gap = self.times[high] - self.times[low]
        weight = np.clip((times - self.times[low]) / gap, 0.0, 1.0)
        nearest = np.where(weight < 0.5, low, high)
        first, second = np.maximum(self.f0[low], 1e-3), np.maximum(self.f0[high], 1e-3)
        line = (self.f0[low] > 0) & (self.f0[high] > 0) & (np.abs(np.log2(second / first)) < 0.5)
        line &= (gap <= step) & (np.abs(times - self.times[nearest]) > SAME_SECONDS)
        drawn = first ** (1 - weight) * second**weight
        f0 = np.where(line, drawn, self.f0[nearest])
        f0[np.abs(times - self.times[nearest]) > step] = 0.0
        return f0.astype(np.float32), self.confidence[nearest]


def save_pitch(path: Path | str, times: np.ndarray, f0: np.ndarray, confidence: np.ndarray) -> None:
    """Write a melody, whole or not at all; read again, it is the same bit for bit on the same frames.

    Args:
        path: the .csv file.
        times: seconds of the song at frame centres, (T,).
        f0: Hz, 0 where unvoiced, (T,) float32.
        confidence: [0, 1], (T,).

    Raises:
        ConfigError: it cannot be written.
    """
    path = Path(path)
    try:
        with whole(path) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            rows.writerow(COLUMNS)
            for time, hz, sure in zip(times.tolist(), f0.astype(np.float32), confidence, strict=True):
                shown = np.format_float_positional(hz, trim="-")
                rows.writerow((f"{time:.6f}", shown, int(hz > 0), f"{sure:.3f}"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror}); choose another place for --pitch-out"
        ) from error


def read_pitch(path: Path | str) -> PitchTable:
    """The melody in a file.

    Raises:
        ConfigError: it cannot be read, or a line is not as it should be; says which, got and expected.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        why = os.strerror(error.errno or 0) if isinstance(error, OSError) else "it is no text in UTF-8"
        raise ConfigError(f"{path}: cannot be read ({why}); give a file written by --pitch-out") from error
    rows = list(_rows(str(path), text))
    if len(rows) < 2:
        raise ConfigError(
            f"{path}: holds {len(rows)} rows, expected one for each frame; write it with --pitch-out"
        )
    table = np.array(rows)
    f0 = np.where(table[:, 2] > 0, table[:, 1], 0.0)
    return PitchTable(str(path), table[:, 0], f0.astype(np.float32), table[:, 3].astype(np.float32))


def _rows(name: str, text: str) -> Iterator[tuple[float, float, float, float]]:
    """Time, Hz, voiced and confidence of each line, checked."""
    comma = ";" not in text.split("\n", 1)[0]
    reader = csv.reader(text.splitlines(), delimiter="," if comma else ";")
    header = [title.strip().lower() for title in next(reader, [])]
    missing = [column for column in COLUMNS[:3] if column not in header]
    if missing:
        raise ConfigError(
            f"{name}: line 1: no column {', '.join(missing)}; got {', '.join(header)[:80] or 'nothing'}, "
            f"expected {','.join(COLUMNS)}"
        )
    places = [header.index(column) if column in header else -1 for column in COLUMNS]
    before = -np.inf
    for cells in reader:
        if not any(cell.strip() for cell in cells):
            continue
        texts = [cells[at].strip() if 0 <= at < len(cells) else "" for at in places]
        row = _row(
            f"{name}: line {reader.line_num}", texts if comma else [t.replace(",", ".") for t in texts]
        )
        if row[0] <= before:
            raise ConfigError(
                f"{name}: line {reader.line_num}: time {row[0]:.6f}, expected over {before:.6f}, that of the "
                "line before; put the lines in order of time"
            )
        before = row[0]
        yield row


def _row(where: str, texts: list[str]) -> tuple[float, float, float, float]:
    voiced = texts[2].lower()
    if voiced not in TRUE | FALSE:
        raise ConfigError(f"{where}: voiced: got {texts[2]!r:.40}, expected 1 or 0")
    time = _number(where, "time", texts[0], "seconds, from 0", 0.0, np.inf)
    hz = _number(where, "hz", texts[1] or "0", "0 or a pitch from 20 to 5000", 0.0, HIGHEST_HZ)
    if 0 < hz < LOWEST_HZ:
        raise ConfigError(f"{where}: hz: got {texts[1]}, expected 0 or a pitch from 20 to 5000")
    return time, hz, float(voiced in TRUE), _number(where, "confidence", texts[3] or "1", "0 to 1", 0.0, 1.0)


def _number(where: str, column: str, text: str, expected: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not (low <= value <= high and np.isfinite(value)):
        raise ConfigError(f"{where}: {column}: got {text!r:.40}, expected {expected}")
    return value
