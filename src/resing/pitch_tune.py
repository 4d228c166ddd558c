"""Notes pulled onto the tones of a scale: a note is moved as a whole, its vibrato and glides stay as sung."""

import re
from collections.abc import Sequence

import numpy as np

from resing.errors import ConfigError
from resing.pitch import NAMES, Note, hz_to_semitones

MODES = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "harmonic minor": (0, 2, 3, 5, 7, 8, 11),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "major pentatonic": (0, 2, 4, 7, 9),
    "minor pentatonic": (0, 3, 5, 7, 10),
    "blues": (0, 3, 5, 6, 7, 10),
}
FLATS = {
    "Db": "C#",
    "Eb": "D#",
    "Gb": "F#",
    "Ab": "G#",
    "Bb": "A#",
    "Cb": "B",
    "Fb": "E",
    "E#": "F",
    "B#": "C",
}
SCALE = re.compile(r"\s*([A-Ga-g])([#b♯♭]?)\s+([a-z ]+?)\s*", re.IGNORECASE)
HELD_SECONDS = 0.12
"""A shorter piece between others is a glide: it follows its neighbours and is not pulled anywhere."""


def scale_tones(scale: str) -> tuple[int, ...]:
    """The tones of a scale as semitones above C, 0 to 11, rising.

    Args:
        scale: "chromatic", or a tonic and a mode: "C major", "f# minor", "Bb blues".

    Raises:
        ConfigError: it is none; names what there is.
    """
    if scale.strip().lower() == "chromatic":
        return tuple(range(12))
    found = SCALE.fullmatch(scale)
    mode = " ".join(found[3].lower().split()) if found else ""
    if found is None or mode not in MODES:
        raise ConfigError(
            f"tune: got {scale!r:.60}, expected chromatic, or a tonic and one of {', '.join(MODES)}, "
            'such as --tune "A minor" or --tune "Bb major"'
        )
    name = found[1].upper() + found[2].replace("♯", "#").replace("♭", "b")
    tonic = NAMES.index(FLATS.get(name, name))
    return tuple(sorted((tonic + step) % 12 for step in MODES[mode]))


def tune(f0: np.ndarray, notes: Sequence[Note], scale: str, strength: float, frame_rate: float) -> np.ndarray:
    """The melody with each held note's median moved towards the nearest tone of a scale, (T,) float32.

    Between notes that are sung into each other the shift goes in a straight line, so a glide stays a glide.

    Args:
        f0: Hz, 0 where unvoiced, (T,).
        notes: `find_notes` of it.
        scale: see `scale_tones`; A4 is 440 Hz.
        strength: 0 leaves the melody as it is, 1 moves notes all the way.
        frame_rate: frames per second.
    """
    tones = np.array([tone + 12 * octave for octave in range(-1, 12) for tone in scale_tones(scale)])
    shift = np.zeros(len(f0))
    for run in _legato(notes):
        held = [note for note in run if (note.stop - note.start) / frame_rate >= HELD_SECONDS] or run
        pulls = [_pull(f0[note.start : note.stop], tones) for note in held]
        edges = np.array([edge for note in held for edge in _inner(note)])
        frames = np.arange(run[0].start, run[-1].stop)
        shift[frames] = strength * np.interp(frames, edges, np.repeat(pulls, 2))
    return (f0 * 2.0 ** (shift / 12.0)).astype(np.float32)


def _legato(notes: Sequence[Note]) -> list[list[Note]]:
    """Notes in runs that follow each other without a rest."""
    runs: list[list[Note]] = []
    for note in notes:
        if runs and runs[-1][-1].stop == note.start:
            runs[-1].append(note)
        else:
            runs.append([note])
    return runs


def _inner(note: Note) -> tuple[int, int]:
    """First and last frame of the middle half of a note: what is held for sure."""
    quarter = (note.stop - note.start) // 4
    return note.start + quarter, note.stop - 1 - quarter


def _pull(f0: np.ndarray, tones: np.ndarray) -> float:
    """Semitones from the median of a note's held middle to the nearest tone."""
    quarter = len(f0) // 4
    pitch = float(np.median(hz_to_semitones(f0[quarter : len(f0) - quarter])))
    return float(tones[np.abs(tones - pitch).argmin()] - pitch)
