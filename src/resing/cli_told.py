"""What a conversion did, in sentences."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from resing.cli_output import clock, say

if TYPE_CHECKING:
    from resing.conversion_record import ConversionRecord

WEAK_PLACES = 5
STRETCH_GAP_SECONDS = 2.0
DOUBT_SHARE = 0.02
"""Less of a song in doubt than this is not worth a word."""


def describe(record: "ConversionRecord", range_told: bool = False) -> None:
    """What a conversion did, in sentences; the range not again where it was told before singing."""
    if not range_told:
        tell_range(record.transpose, record.range)
    say(f"Wrote {record.out} ({clock(record.seconds)}), sung by {record.voice}.")
    places = weak_places(record.range["moved"], record.options["out_of_range"])
    for place in places[:WEAK_PLACES]:
        say(f"  {place}")
    if len(places) > WEAK_PLACES:
        say(f"  and {len(places) - WEAK_PLACES} more, see {record.out}.json; try another --transpose.")
    tell_doubts(record)
    tell_retakes(record)
    for words in (record.song or {}).get("mix_words", ()):
        say(f"  {words}")
    if record.limited_db >= 0.1:
        say(f"Kept {record.limited_db:.1f} dB below the source's level, so that nothing clips.")
    if record.sung_seconds == 0:
        say("The singing was kept from last time: its melody is the same.")
    elif record.sung_seconds is not None and record.sung_seconds < record.seconds - 1:
        say(f"Sang {clock(record.sung_seconds)} anew, where the melody changed; the rest is as it was.")
    say(f"Took {sum(record.times.values()):.1f} s, {record.real_time_factor:.2f} of real time.")


def tell_range(transpose: float, found: dict[str, Any], tell: Callable[[str], object] = say) -> None:
    """The key, and how the song lies in the voice's range.

    Args:
        transpose: the key in semitones.
        found: a `pitch.RangeReport` as a record keeps it.
        tell: says a line.
    """
    key = f"{transpose:+g} semitones" if transpose else "as it was sung"
    tell(f"Key: {key}. {range_text(found)}")


def tell_doubts(record: "ConversionRecord") -> None:
    """The longest stretches where the note that was heard is not sure, and how to put them right."""
    if record.reverberant and record.options.get("dereverb"):
        say("The vocals still have a long reverb; a drier recording would be sung more clearly.")
    elif record.reverberant:
        say("The vocals have a long reverb; --dereverb, or a drier recording, would be sung more clearly.")
    doubts = sorted(record.doubts, key=lambda d: d["start_seconds"] - d["end_seconds"])
    seconds = sum(doubt["end_seconds"] - doubt["start_seconds"] for doubt in doubts)
    if seconds < DOUBT_SHARE * record.seconds:
        return
    say(f"Not sure of the notes for {seconds:.1f} s; --pitch-out FILE.csv and --pitch-file correct them:")
    for doubt in doubts[:WEAK_PLACES]:
        say(f"  {_place(doubt)}: {doubt['reason']}")


def tell_retakes(record: "ConversionRecord") -> None:
    """The phrases that were sung again, those that gained most first, and what it gained."""
    tried = [retake for retake in record.retakes if retake["tries"]]
    tried.sort(key=lambda retake: retake["left_seconds"] - retake["weak_seconds"])
    for retake in tried[:WEAK_PLACES]:
        say(f"  {retake_text(retake)}")
    if len(tried) > WEAK_PLACES:
        better = sum(retake["replaced"] for retake in tried)
        say(f"  {len(tried)} phrases were tried again, {better} came out better; see {record.out}.json.")
    if left := len(record.retakes) - len(tried):
        phrases = "phrase was" if left == 1 else "phrases were"
        say(f"  {left} more weak {phrases} not tried again; --retry-budget gives time for it.")


def retake_text(retake: dict[str, Any]) -> str:
    """A phrase that was sung again, in a few words.

    Args:
        retake: a `conversion_retakes.Retake` as a record keeps it.
    """
    tries = "once" if retake["tries"] == 1 else f"{retake['tries']} times"
    told = f"{_place(retake)} tried again {tries}: {retake['fault']} for {retake['weak_seconds']:.1f} s"
    if not retake["replaced"]:
        return f"{told}, no better"
    measure = {"breathy": "HNR", "rough": "CPP"}[retake["fault"]]
    return (
        f"{told}, now {retake['left_seconds']:.1f} s; "
        f"{measure} {retake['before_db']:.1f} -> {retake['after_db']:.1f} dB"
    )


def range_text(found: dict[str, Any]) -> str:
    """How the song lies in the voice's range, in a sentence; see `tell_range`."""
    text = f"In the voice's range: {found['inside']:.0%} of the singing"
    if near := found.get("near"):
        text += f" ({near:.0%} on notes that its recordings hardly have)"
    sides = (("below", "below it"), ("above", "above it"))
    shares = {word: f"{found[side]:.0%}" for side, word in sides if found[side]}
    return text + "".join(f", {'hardly any' if n == '0%' else n} {word}" for word, n in shares.items()) + "."


def weak_places(moved: Sequence[dict[str, Any]], policy: str) -> list[str]:
    """Stretches of notes outside the voice's range, longest first, each in a few words.

    Args:
        moved: notes as `pitch.Moved` records them, in order of time.
        policy: what became of them: keep, fold or clamp.
    """
    stretches: list[list[dict[str, Any]]] = []
    for note in moved:
        near = stretches and note["start_seconds"] - stretches[-1][-1]["end_seconds"] < STRETCH_GAP_SECONDS
        if near:
            stretches[-1].append(note)
        else:
            stretches.append([note])
    stretches.sort(key=lambda notes: notes[0]["start_seconds"] - notes[-1]["end_seconds"])
    return [
        f"{_place({**notes[-1], 'start_seconds': notes[0]['start_seconds']})}: "
        + ", ".join(dict.fromkeys(_told(note, policy) for note in notes[:3]))
        + (", ..." if len(notes) > 3 else "")
        for notes in stretches
    ]


def _told(note: dict[str, Any], policy: str) -> str:
    if policy == "keep":
        return f"{note['note']} kept"
    if note["note"] == note["sung"]:
        return f"{note['note']} bent into the range"
    return f"{note['note']} sung as {note['sung']}"


def _place(found: dict[str, Any]) -> str:
    """From when to when, "0:07-0:09", or just when."""
    return "-".join(dict.fromkeys(clock(found[edge]) for edge in ("start_seconds", "end_seconds")))
