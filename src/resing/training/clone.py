"""A voice from one short clip, without training: a preview of what `create_voice` would make of more.

The base model's speaker encoder hears the clip, and the base sings with that vector alone. What a singer
does beyond the colour of the voice is not in it, and the card says so.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from resing import checkpoint
from resing.audio.mel import log_mel
from resing.config import FeaturesConfig, settings_hash
from resing.errors import AudioError, DatasetError
from resing.features import content
from resing.synthesis import acoustic
from resing.synthesis.acoustic import AcousticModel, mean_speaker
from resing.training import doctor
from resing.training.create import card_of, refuse_taken
from resing.training.dataset import stretches_of
from resing.training.prepare import measure
from resing.training.request import facts_of
from resing.training.task import speaker_vectors
from resing.voice import Installed, Voice, check_name, user_folder

LEAST_SECONDS, VOICED_SECONDS = 8.0, 3.0
MOST_STRETCHES = 60
REACH_SEMITONES = 9.0
"""How far from the middle of what was heard the voice is believed to sing: a clip tells little of that."""
PREVIEW = (
    "A preview from {seconds:.0f} s of one recording, without training: the colour of the voice, not yet its "
    "manner. With a minute or more of recordings: resing voice create NAME RECORDINGS."
)


def clone_voice(name: str, clip: Path | str, licence: str, consent: str, **about: Any) -> Voice:
    """Make a preview of a voice from a clip of 10 to 30 seconds.

    Args:
        name: of the voice: letters, digits, - and _.
        clip: a recording of the voice alone.
        licence: terms of the voice's use.
        consent: how the person agreed, or why nobody has to.
        about: the other fields of `VoiceFacts`.

    Returns:
        The voice, saved among the user's voices.

    Raises:
        AudioError: the clip cannot be read.
        DatasetError: too little singing or speech is in it.
        ConfigError: a fact is missing or wrong.
        VoiceError: the name is taken or cannot be one.
    """
    facts = facts_of({"name": check_name(name), "licence": licence, "consent": consent, **about})
    refuse_taken(name)
    clip, installed, features = Path(clip), Installed.read(), FeaturesConfig()
    if not clip.is_file():
        raise AudioError(f"{clip} is no file; give one recording of the voice, 10 to 30 seconds long")
    encoder, audio = content.ContentEncoder.load(content.EMBEDDED), installed.audio
    found = measure(clip, checkpoint.file_hash(clip), clip.name, audio, features, encoder)
    stamp = settings_hash(audio, features), encoder.encoder_id
    report = doctor.summarise("", *stamp, [found.recording], [], {}, {})
    _require_enough(clip, found.recording)
    notes = found.heard.f0[found.heard.f0 > 0]
    report = replace(report, range_hz=_widened(report.range_hz, float(np.median(notes))))
    used = torch.from_numpy(found.used(audio.hop_length).astype(np.float32))
    base = AcousticModel.load(acoustic.EMBEDDED)
    vectors = speaker_vectors(base, stretches_of(log_mel(used[None], audio)[0], MOST_STRETCHES))
    told = PREVIEW.format(seconds=found.recording.usable_seconds)
    figures = {"steps": 0, "preview": True, "summary": told}
    card = card_of(facts, report, features, installed, figures)
    voice = Voice(card, installed.model, audio, mean_speaker(vectors), features=features)
    voice.save(user_folder() / f"{name}.safetensors")
    return voice


def preview_of(clip: Path | str, consent: str) -> Voice:
    """The preview of the voice in a clip, made when first asked for; it is kept among the user's voices.

    Raises:
        ResingError: as `clone_voice`.
    """
    clip = Path(clip)
    if not clip.is_file():
        raise AudioError(f"{clip} is no file; give one recording of the voice, 10 to 30 seconds long")
    name = f"preview-{checkpoint.file_hash(clip)[:12]}"
    path = user_folder() / f"{name}.safetensors"
    if path.exists():
        voice = Voice.load(path)
        if voice.card.consent == consent:
            return voice
        path.unlink()
    return clone_voice(
        name, clip, "private: a preview, not to be shared", consent, whose=f"heard in {clip.name}"
    )


def _widened(range_hz: list[float], middle_hz: float) -> list[float]:
    """The range heard in a clip, made to reach at least so far from its middle."""
    reach = 2 ** (REACH_SEMITONES / 12)
    low, high = range_hz
    return [round(min(low, middle_hz / reach), 1), round(max(high, middle_hz * reach), 1)]


def _require_enough(clip: Path, recording: doctor.Recording) -> None:
    voiced = sum(recording.notes.values()) * 60
    if recording.usable_seconds < LEAST_SECONDS or voiced < VOICED_SECONDS:
        raise DatasetError(
            f"{clip} holds {recording.usable_seconds:.1f} s of singing or speech, {voiced:.1f} s of it with "
            f"a pitch; at least {LEAST_SECONDS:.0f} s and {VOICED_SECONDS:.0f} s are needed, 10 to 30 s are "
            "good. Give a longer clip."
        )
