"""`resing voice ...`: make voices, look at them, share them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from resing.cli_output import Json, say, show_json, show_table

if TYPE_CHECKING:
    from resing.voice import Voice, VoiceCard

app = App(name="voice", help="Make voices, look at them, share them.")
Flag = Parameter(negative="", show_default=False)


@app.command(name="list")
def list_voices(*, json: Json = False) -> None:
    """List all voices: your own and those that ship."""
    from resing.voice import survey

    cards, problems = survey()
    if json:
        show_json(cards)
    else:
        rows = [
            [c.name, c.kind, c.sex, _range(c), _languages(c), f"{c.minutes:.1f}", c.licence] for c in cards
        ]
        show_table(["voice", "kind", "sex", "range", "languages", "minutes", "licence"], rows)
    for problem in problems:
        say(f"resing: {problem}")


@app.command
def show(name: str, /, *, json: Json = False) -> None:
    """Show a voice's card.

    Args:
        name: of the voice, or a voice file.
    """
    from resing.voice import Voice

    voice = Voice.load(name)
    card = voice.card
    if json:
        show_json(card)
        return
    facts = [
        ("voice", card.name),
        ("whose", card.whose),
        ("licence", card.licence),
        ("consent", card.consent),
        ("source", card.source),
        ("credit", card.credit),
        ("kind", f"{card.kind}, {card.sex}"),
        ("languages", _languages(card)),
        ("sings", _range(card)),
        (
            "heard",
            f"{card.minutes:.1f} minutes in {card.recordings} recordings, up to {card.bandwidth_hz:.0f} Hz",
        ),
        ("encoder", card.encoder_id),
        ("base", card.base_hash[:12]),
        ("vocoder", card.vocoder_id),
        ("needs", _needs(voice)),
        ("imported", _origin(card)),
        ("created", card.created),
    ]
    show_table(["", ""], [[key, value] for key, value in facts if value])


@app.command
def remove(
    name: str, /, *, yes: Annotated[bool, Parameter(["--yes", "-y"], negative="", show_default=False)] = False
) -> None:
    """Delete one of your own voices.

    Args:
        name: of the voice.
        yes: do not ask.
    """
    from resing.voice import Voice, find

    path = find(name)
    if not yes and sys.stdin.isatty():
        say(f"Delete the voice {name} ({path})? It cannot be brought back. [y/N]")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            say(f"Kept {name}.")
            return
    Voice.remove(name)
    say(f"Removed {name}.")


@app.command
def export(
    name: str,
    /,
    *,
    out: Annotated[Path, Parameter(["--out", "-o"])],
    full: Annotated[bool, Flag] = False,
) -> None:
    """Write a voice to one file, to keep or to share.

    Args:
        name: of the voice.
        out: file to write, ending in .safetensors, or a folder.
        full: put the base model inside, so that the file opens beside any other base model.
    """
    from resing.voice import Voice

    path = Voice.export(name, out, full)
    say(f"Wrote {path} ({path.stat().st_size / 1e6:.1f} MB).")


@app.command
def install(file: Path, /, *, replace: Annotated[bool, Flag] = False) -> None:
    """Check a voice file and add it to your voices.

    Args:
        file: the .safetensors file.
        replace: take the place of a voice of the same name.
    """
    from resing.voice import Voice

    card = Voice.install(file, replace).card
    say(f"Installed {card.name} ({card.licence}). Try it: resing demo --voice {card.name}")


@app.command(name="import")
def import_voice(
    file: Path,
    /,
    *,
    config: Path,
    consent: str,
    licence: str,
    name: str = "",
    whose: str = "",
    source: str = "",
    credit: str = "",
    replace: Annotated[bool, Flag] = False,
    json: Json = False,
) -> None:
    """Take over a Diff-SVC voice; nothing in its files is run.

    Args:
        file: model_ckpt_steps_N.ckpt.
        config: the config.yaml beside it.
        consent: how the person agreed to the voice, or why nobody has to.
        licence: terms of the voice's use.
        name: of the voice; by default the speaker that the config names.
        whose: the person, character or synthesiser heard.
        source: where the voice comes from.
        credit: the line to print where the voice is used.
        replace: take the place of a voice of the same name.
    """
    from resing import hub
    from resing.features import hubert
    from resing.importers import diff_svc
    from resing.synthesis import vocoder_nsf

    facts = diff_svc.Facts(consent, licence, name, whose, source, credit)
    voice = diff_svc.read(file, config, facts)
    path = diff_svc.install(voice, replace)
    card = voice.card
    if json:
        show_json(card)
    say(f"Imported {card.name}: {path}. {card.training['summary']}")
    say(f"Not known: {card.training['unknown']}.")
    encoder = hubert.MODELS[card.encoder_id]
    if not hub.look(encoder).here:
        say(f"It sings with the encoder {encoder}; get it: {hub.command(encoder)}")
    if vocoder_nsf.missing(card.vocoder_id):
        say(vocoder_nsf.advice())


def _range(card: "VoiceCard") -> str:
    from resing.pitch import hz_to_semitones, note_name

    low, high = card.range_hz
    names = (note_name(float(hz_to_semitones(hz))) for hz in (low, high))
    return f"{'-'.join(names)} ({low:.0f}-{high:.0f} Hz)"


def _languages(card: "VoiceCard") -> str:
    return ", ".join(card.languages) or "unstated"


def _needs(voice: "Voice") -> str:
    """The community's models that the voice sings with, and the commands for those that are missing."""
    from resing import hub
    from resing.features import ears
    from resing.synthesis import vocoder_nsf

    sound = voice.card.vocoder_id
    names = ears.needed(voice.features) + [vocoder_nsf.NAME] * (sound == vocoder_nsf.NAME)
    told = (name if hub.look(name).here else f"{name} (get it: {hub.command(name)})" for name in names)
    return ", ".join(told)


def _origin(card: "VoiceCard") -> str:
    """Where an imported voice comes from, and what is not known of it."""
    if not card.imported:
        return ""
    told = {key: card.training.get(key) for key in ("system", "file", "sha256", "unknown")}
    return "from {system}, {file}, SHA-256 {sha256}; not known: {unknown}".format(**told)
