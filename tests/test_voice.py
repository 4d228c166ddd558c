"""Voice files and the folders they lie in: save = load, and every way a file can be wrong."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from resing import checkpoint, voice_file
from resing import voice as library
from resing.config import AudioConfig, ModelConfig
from resing.errors import VoiceError
from resing.features import content
from resing.nets.adapter import adapter_tensors
from resing.synthesis import acoustic, vocoder
from resing.voice import Installed, Voice, VoiceCard, add_voice_adapters

AUDIO = AudioConfig()
MODEL = ModelConfig(n_units=4, hidden=8, decoder_layers=1, denoiser_layers=1, speaker_dim=6, adapter_rank=2)


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Installed:
    """A tiny random installation, and folders of its own."""
    weights = tmp_path / "weights"
    monkeypatch.setattr(acoustic, "EMBEDDED", weights / "base.safetensors")
    monkeypatch.setattr(content, "EMBEDDED", weights / "content.safetensors")
    monkeypatch.setattr(vocoder, "EMBEDDED", weights / "vocoder.safetensors")
    monkeypatch.setattr(library, "SHIPPED", weights / "voices")
    monkeypatch.setenv("RESING_HOME", str(tmp_path / "home"))
    install_base(1)
    small = content.ContentConfig(hidden=8, layers=1, n_units=MODEL.n_units)
    content.save_content(content.EMBEDDED, content.build(small), small)
    thin = vocoder.VocoderConfig(hidden=8, layers=1)
    vocoder.save_vocoder(vocoder.EMBEDDED, vocoder.build(thin, AUDIO), thin, AUDIO)
    return Installed.read()


def install_base(seed: int) -> None:
    torch.manual_seed(seed)
    net = acoustic.build(MODEL, AUDIO)
    torch.nn.init.normal_(net.denoiser.leave.weight, std=0.1)
    acoustic.save_base(acoustic.EMBEDDED, acoustic.AcousticModel(net, MODEL), AUDIO)


def make_card(installed: Installed, **changes: Any) -> VoiceCard:
    known = {
        "name": "anna",
        "whose": "Anna, a soprano",
        "licence": "CC BY 4.0",
        "consent": "asked",
        "languages": ["en", "nl"],
        "sex": "female",
        "minutes": 3.5,
        "range_hz": (196.0, 880.0),
        "f0_histogram": {"60": 1.5, "72": 2.0},
        "encoder_id": installed.encoder_id,
        "base_hash": installed.base_hash,
        "vocoder_id": installed.vocoder_id,
        "training": {"steps": 3, "validation": {"score": 0.5}},
    }
    return VoiceCard(**(known | changes))


def make_voice(installed: Installed, adapters: bool = True, **changes: Any) -> Voice:
    net = acoustic.build(MODEL, AUDIO)
    add_voice_adapters(net, MODEL.adapter_rank)
    random = torch.Generator().manual_seed(5)
    deltas = {n: 0.3 * torch.randn(p.shape, generator=random) for n, p in adapter_tensors(net).items()}
    speaker = torch.randn(MODEL.speaker_dim, generator=random)
    return Voice(make_card(installed, **changes), MODEL, AUDIO, speaker, deltas if adapters else None)


def sing(voice: Voice) -> torch.Tensor:
    random = torch.Generator().manual_seed(7)
    frames = 12
    return voice.acoustic.sample(
        torch.randn(1, MODEL.n_units, frames, generator=random),
        torch.full((1, frames), 220.0),
        torch.ones(1, frames),
        torch.zeros(1, frames),
        voice.speaker,
        noise=torch.randn(1, AUDIO.n_mels, frames, generator=random),
        sampler="euler",
        steps=2,
    )


def rewrite(path: Path, **changes: Any) -> None:
    """Change a voice file's tensors or metadata by callables; its content hash stays true to the tensors."""
    tensors, metadata = checkpoint.load(path)
    changes.get("tensors", lambda _: None)(tensors)
    metadata["content_hash"] = checkpoint.tensors_hash(tensors)
    changes.get("metadata", lambda _: None)(metadata)
    checkpoint.save(path, tensors, metadata)


def refused(path: Path, *texts: str) -> None:
    with pytest.raises(VoiceError) as caught:
        Voice.load(path)
    message = str(caught.value)
    assert "\n" not in message
    assert all(text in message for text in texts), message


@pytest.fixture
def anna(installed: Installed, tmp_path: Path) -> Path:
    path = tmp_path / "anna.safetensors"
    make_voice(installed).save(path)
    return path


# -- save and load


@pytest.mark.parametrize("adapters", [True, False])
def test_a_saved_voice_is_loaded_as_it_was(installed: Installed, tmp_path: Path, adapters: bool):
    voice = make_voice(installed, adapters)
    voice.save(tmp_path / "v.safetensors")
    loaded = Voice.load(tmp_path / "v.safetensors")
    assert loaded.card == voice.card
    assert (loaded.model, loaded.audio, loaded.features) == (voice.model, voice.audio, voice.features)
    assert loaded.speaker.shape == (1, MODEL.speaker_dim) and torch.equal(loaded.speaker, voice.speaker)
    assert loaded.adapters.keys() == voice.adapters.keys() and bool(loaded.adapters) == adapters
    assert torch.equal(sing(loaded), sing(voice))


def test_saving_twice_writes_the_same_bytes(anna: Path, tmp_path: Path):
    Voice.load(anna).save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == anna.read_bytes()


def test_adapters_change_the_song_and_a_bare_vector_sings_the_base(installed: Installed):
    with_changes, bare = make_voice(installed), make_voice(installed, adapters=False)
    assert not torch.allclose(sing(with_changes), sing(bare), atol=1e-3)
    base = acoustic.AcousticModel.load(acoustic.EMBEDDED)
    assert all(torch.equal(t, base.net.state_dict()[n]) for n, t in bare.acoustic.net.state_dict().items())


def test_merged_weights_are_the_base_plus_up_times_down(installed: Installed):
    voice = make_voice(installed)
    base = acoustic.AcousticModel.load(acoustic.EMBEDDED).net.state_dict()["decoder.enter.weight"]
    change = "decoder.enter.parametrizations.weight.0."
    wanted = base + voice.adapters[change + "up"].float() @ voice.adapters[change + "down"].float()
    assert torch.allclose(voice.acoustic.net.state_dict()["decoder.enter.weight"], wanted)
    assert not any(p.requires_grad for p in voice.acoustic.net.parameters())


def test_a_voice_that_is_not_finite_is_not_saved(installed: Installed, tmp_path: Path):
    voice = make_voice(installed)
    voice.speaker[0, 0] = torch.nan
    with pytest.raises(VoiceError, match="speaker holds NaN or infinity"):
        voice.save(tmp_path / "v.safetensors")
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_save_that_fails_says_so_and_leaves_nothing(
    installed: Installed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "fsync", full)
    with pytest.raises(VoiceError, match=r"cannot be written .*No space left"):
        make_voice(installed).save(tmp_path / "out" / "v.safetensors")
    assert os.listdir(tmp_path / "out") == []


# -- files that are wrong


def test_damage_is_refused(anna: Path):
    whole = anna.read_bytes()
    anna.write_bytes(whole[: len(whole) // 2])
    refused(anna, str(anna), "damaged")
    anna.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1, whole[-1]]))
    refused(anna, "its weights are not those it was saved with")
    anna.write_bytes(b"a text that somebody named .safetensors")
    refused(anna, "not a Resing file")
    anna.unlink()
    refused(anna, "does not exist")


def test_a_file_past_the_limit_is_refused_unread(anna: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(voice_file, "MAX_VOICE_BYTES", 100)
    refused(anna, "larger than")


def test_a_wrong_content_hash_is_refused(anna: Path):
    rewrite(anna, metadata=lambda m: m.update(content_hash="0" * 64))
    refused(anna, "its weights are not those it was saved with", "get the file again")
    rewrite(anna, metadata=lambda m: m.pop("content_hash"))
    refused(anna, "its weights are not those it was saved with")


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (
            lambda t: t.update(speaker=torch.zeros(7)),
            ("speaker is torch.float32 [7]", "expected torch.float32 [6]"),
        ),
        (lambda t: t.update(speaker=torch.zeros(6).half()), ("speaker is torch.float16 [6]",)),
        (lambda t: t.update(speaker=torch.full((6,), torch.nan)), ("speaker holds NaN or infinity",)),
        (lambda t: t.pop("speaker"), ("tensor speaker is missing",)),
        (lambda t: t.update(more=torch.zeros(1)), ("unexpected tensor 'more'",)),
        (lambda t: t.pop(max(t.keys() - {"speaker"})), ("is missing",)),
        (
            lambda t: t.update({k: v.T for k, v in t.items() if k.endswith(".up")}),
            ("expected torch.float16",),
        ),
        (
            lambda t: t.update({k: v.float() for k, v in t.items()}),
            ("is torch.float32", "expected torch.float16"),
        ),
        (lambda t: t.update({"net.film.0.weight": torch.zeros(8, 7)}), ("adapter.",)),
        (lambda t: t.update({"adapter.speaker_encoder.x": torch.zeros(1).half()}), ("unexpected tensor",)),
    ],
)
def test_tensors_that_do_not_fit_the_model_are_refused(anna: Path, change: Any, texts: tuple[str, ...]):
    rewrite(anna, tensors=change)
    refused(anna, *texts)


@pytest.mark.parametrize(
    ("change", "texts"),
    [
        (lambda m: m.update(format="diff-svc"), ("is no voice", "'diff-svc'")),
        (lambda m: m.pop("format"), ("is no voice",)),
        (
            lambda m: m.update(version=3),
            ("version 3", "this Resing reads up to 2", "pip install --upgrade resing"),
        ),
        (lambda m: m.pop("card"), ("holds no 'card'",)),
        (lambda m: m.pop("model"), ("holds no 'model'",)),
        (lambda m: m.update(card=[]), ("its card is not valid",)),
        (lambda m: m["card"].update(name="../../etc/x"), ("card is not valid", "name")),
        (lambda m: m["card"].update(name="a\n"), ("card is not valid", "name")),
        (lambda m: m["card"].update(whose="\x1b[2J"), ("card is not valid", "whose", "control characters")),
        (lambda m: m["card"].update(whose="x" * 2000), ("card is not valid", "whose")),
        (lambda m: m["card"].update(licence=""), ("card is not valid", "licence")),
        (lambda m: m["card"].pop("consent"), ("consent is missing",)),
        (lambda m: m["card"].update(lisence="mine"), ("unknown setting lisence", "did you mean licence?")),
        (lambda m: m["card"].update(range_hz=[880.0, 196.0]), ("card is not valid", "lowest < highest")),
        (lambda m: m["card"].update(range_hz=[float("nan"), 196.0]), ("card is not valid", "range_hz")),
        (lambda m: m["card"].update(f0_histogram={"999": 1.0}), ("card is not valid", "f0_histogram")),
        (lambda m: m["card"].update(minutes="many"), ("card is not valid", "minutes")),
        (lambda m: m["model"].update(hiden=8), ("unknown setting hiden", "did you mean hidden?")),
        (lambda m: m["model"].update(decoder_layers=10**9), ("decoder_layers = 1000000000", "1 to 64")),
        (lambda m: m["model"].update(adapter_rank=-1), ("adapter_rank = -1",)),
        (lambda m: m["model"].update(hidden=16), ("other settings than the models installed",)),
        (lambda m: m["audio"].update(hop_length=256), ("other settings than the models installed",)),
    ],
)
def test_settings_that_do_not_hold_are_refused(anna: Path, change: Any, texts: tuple[str, ...]):
    rewrite(anna, metadata=change)
    refused(anna, str(anna), *texts)


def test_another_base_model_is_refused(anna: Path, installed: Installed):
    install_base(2)
    other = Installed.read().base_hash
    assert other != installed.base_hash
    refused(
        anna, f"needs the base model {installed.base_hash[:12]}", f"installed is {other[:12]}", "full export"
    )


def test_another_encoder_is_refused(anna: Path):
    rewrite(anna, metadata=lambda m: m["card"].update(encoder_id="resing-content-0"))
    refused(
        anna, "needs the content encoder resing-content-0", "installed is resing-content-", "voice create"
    )


def test_a_base_that_changes_after_loading_is_noticed(anna: Path):
    voice = Voice.load(anna)
    install_base(2)
    with pytest.raises(VoiceError, match="needs the base model"):
        _ = voice.acoustic


def test_an_installation_without_weights_says_how_to_repair_it(anna: Path):
    acoustic.EMBEDDED.unlink()
    refused(anna, "is missing from this installation", "pip install")


def test_a_file_is_never_unpickled(tmp_path: Path):
    path = tmp_path / "evil.safetensors"

    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "run"),)

    torch.save({"speaker": torch.zeros(6), "x": Evil()}, path)
    refused(path, "not a Resing file")
    assert not (tmp_path / "run").exists()


# -- the card


def test_a_card_is_frozen_and_its_json_is_the_same_card(installed: Installed):
    card = make_card(installed)
    assert VoiceCard(**json.loads(card.model_dump_json())) == card
    with pytest.raises(ValidationError):
        card.name = "other"


@pytest.mark.parametrize("name", ["a b", "", "-rf", "_x", "ü", "a/b", "..", "a.b", "x" * 65])
def test_names_are_plain(name: str):
    with pytest.raises(VoiceError, match="letters, digits, - and _"):
        library.check_name(name)


@pytest.mark.parametrize("name", ["a", "Anna-2_b", "0", "x" * 64])
def test_plain_names_are_taken(name: str):
    assert library.check_name(name) == name


# -- the folders


@pytest.fixture
def shelf(installed: Installed) -> Path:
    """Two shipped voices, kumi and pjs, and one of the user's, anna."""
    for name in ("kumi", "pjs"):
        make_voice(installed, adapters=False, name=name).save(library.SHIPPED / f"{name}.safetensors")
    make_voice(installed).save(library.user_folder() / "anna.safetensors")
    return library.user_folder()


def test_voices_are_found_by_name_and_listed(shelf: Path):
    assert [card.name for card in Voice.list()] == ["anna", "kumi", "pjs"]
    assert Voice.load("kumi").card.name == "kumi"
    assert Voice.load("anna").card.whose == "Anna, a soprano"


def test_nothing_is_listed_where_there_is_nothing():
    assert Voice.list() == []
    with pytest.raises(VoiceError, match="no voice named 'kumi'; here are: none"):
        Voice.load("kumi")


def test_an_unknown_name_gets_the_nearest(shelf: Path):
    with pytest.raises(VoiceError, match=r"no voice named 'kummi'; did you mean kumi\?.*resing voice list"):
        Voice.load("kummi")
    with pytest.raises(VoiceError, match=r"did you mean kumi\?"):
        Voice.load("KUMI")
    with pytest.raises(VoiceError, match="here are: anna, kumi, pjs"):
        Voice.load("zzzzzz")


@pytest.mark.parametrize("name", ["../anna", "voices/anna", "/etc/passwd", "..\\anna", "anna.safetensors"])
def test_a_path_is_never_looked_up_as_a_name(shelf: Path, name: str):
    with pytest.raises(VoiceError, match=r"does not exist|not a Resing file"):
        Voice.load(name)


def test_the_users_own_voice_hides_a_shipped_one(shelf: Path, installed: Installed):
    make_voice(installed, name="kumi", whose="mine").save(shelf / "kumi.safetensors")
    assert Voice.load("kumi").card.whose == "mine"
    assert [card.whose for card in Voice.list() if card.name == "kumi"] == ["mine"]
    Voice.remove("kumi")
    assert Voice.load("kumi").card.whose != "mine"


def test_a_damaged_voice_does_not_stop_the_list(shelf: Path):
    (shelf / "broken.safetensors").write_bytes(b"x" * 100)
    (shelf / "not a voice.safetensors").write_bytes(b"")
    (shelf / ".anna.safetensors.abc.part").write_bytes(b"")
    (shelf / "anna.safetensors").rename(shelf / "renamed.safetensors")
    cards, problems = library.survey()
    assert [card.name for card in cards] == ["kumi", "pjs"]
    assert len(problems) == 2
    assert "broken.safetensors" in problems[0]
    assert "holds the voice anna; rename the file to anna.safetensors" in problems[1]
    with pytest.raises(VoiceError, match="holds the voice anna; rename"):
        Voice.load("renamed")


def test_installing_checks_and_copies(anna: Path):
    voice = Voice.install(anna)
    target = library.user_folder() / "anna.safetensors"
    assert target.read_bytes() == anna.read_bytes()
    assert voice.card.name == "anna" and Voice.load("anna").card == voice.card
    with pytest.raises(VoiceError, match=r"already here.*--replace"):
        Voice.install(anna)
    Voice.install(anna, replace=True)
    assert os.listdir(target.parent) == ["anna.safetensors"]


def test_a_wrong_file_is_not_installed(anna: Path):
    anna.write_bytes(anna.read_bytes()[:-10])
    with pytest.raises(VoiceError, match="damaged"):
        Voice.install(anna)
    assert not library.user_folder().exists()


def test_only_the_users_own_voices_can_be_removed(shelf: Path):
    with pytest.raises(VoiceError, match="kumi ships with Resing"):
        Voice.remove("kumi")
    with pytest.raises(VoiceError, match="no voice named"):
        Voice.remove("../anna")
    assert Voice.remove("anna") == shelf / "anna.safetensors"
    assert [card.name for card in Voice.list()] == ["kumi", "pjs"]


def test_an_export_is_the_same_voice(shelf: Path, tmp_path: Path):
    path = Voice.export("anna", tmp_path / "mine.safetensors")
    assert path.read_bytes() == (shelf / "anna.safetensors").read_bytes()
    (tmp_path / "folder").mkdir()
    assert Voice.export("kumi", tmp_path / "folder") == tmp_path / "folder" / "kumi.safetensors"


def test_an_export_that_cannot_be_written_says_what_to_do(shelf: Path, tmp_path: Path):
    with pytest.raises(VoiceError, match=r"ends in \.safetensors; write to mine\.safetensors"):
        Voice.export("anna", tmp_path / "mine.zip")
    with pytest.raises(VoiceError, match=r"no such folder .*mkdir -p"):
        Voice.export("anna", tmp_path / "none" / "mine.safetensors")


def test_a_full_export_sings_the_same_beside_any_base(shelf: Path, tmp_path: Path):
    song = sing(Voice.load("anna"))
    path = Voice.export("anna", tmp_path / "full.safetensors", full=True)
    install_base(2)
    full = Voice.load(path)
    assert full.full and not full.adapters
    assert torch.equal(sing(full), song)
    Voice.install(path, replace=True)
    assert torch.equal(sing(Voice.load("anna")), song)


def test_a_full_voice_is_checked_like_any_other(shelf: Path, tmp_path: Path):
    path = Voice.export("anna", tmp_path / "full.safetensors", full=True)
    whole = path.read_bytes()
    rewrite(path, tensors=lambda t: t.pop("net.film.0.weight"))
    refused(path, "tensor net.film.0.weight is missing")
    path.write_bytes(whole)
    rewrite(path, tensors=lambda t: t.update({"adapter.x": torch.zeros(1).half()}))
    refused(path, "unexpected tensor 'adapter.x'")
    path.write_bytes(whole)
    rewrite(path, metadata=lambda m: m["model"].update(n_units=5))
    refused(path, "other settings")
    path.write_bytes(whole)
    rewrite(path, metadata=lambda m: m["model"].update(hidden=2048, denoiser_layers=64))
    refused(path, "expected torch.float32")


def test_the_users_folder_can_be_moved(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    assert library.user_folder() == tmp_path / "home" / "voices"
    monkeypatch.delenv("RESING_HOME")
    assert library.home().name == "resing"
