"""The scorecard's arithmetic: means by voice, its reference rows, what counts as worse; its own measures."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="module")
def quality(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("benchmarks/quality.py")


@pytest.fixture(scope="module")
def parallels(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("benchmarks/parallels.py")


@pytest.fixture(scope="module")
def words(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("benchmarks/words.py")


def row(voice: str = "kumi", **figures: Any) -> dict[str, Any]:
    faultless = {"not_finite": 0, "clipped_runs": 0, "over_full_scale": 0, "length_difference": 0}
    return {"voice": voice, "pair": "real singer", **faultless, **figures}


def judged(*rows: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"rows": [*rows], **more}


# ---- means ----


def test_means_leave_out_what_was_not_measured(quality: ModuleType):
    rows = [row(coverage=0.9, output_cer=None), row(coverage=1.0, output_cer=0.3, clipped_runs=2)]
    summary = quality.summarise(judged(*rows))
    assert set(summary) == {"kumi", "kumi, real singer", "kumi: the sources themselves"}
    assert summary["kumi"]["coverage"] == 0.95 and summary["kumi"]["output_cer"] == 0.3
    assert summary["kumi"]["hnr_db_change"] is None
    assert summary["kumi"]["clips"] == 2 and summary["kumi"]["faults"] == 1


def test_sources_and_recordings_stand_beside_the_voice(quality: ModuleType):
    rows = [
        row(target="kumi", hnr_db=12.0, source_hnr_db=15.0, output_cer=0.5, source_cer=0.1),
        row(target="kumi", hnr_db=14.0, source_hnr_db=17.0, source_similarity_of_ceiling=0.7),
    ]
    target = {"ceiling": 0.93, "hnr_db": 20.0, "coverage": 0.97, "clips": 13, "cpp_db": None}
    summary = quality.summarise(judged(*rows, targets={"kumi": target}))
    sources, own = summary["kumi: the sources themselves"], summary["kumi: its own recordings"]
    assert (sources["hnr_db"], sources["output_cer"], sources["similarity_of_ceiling"]) == (16.0, 0.1, 0.7)
    assert sources["leak_margin"] is None
    assert (own["similarity_of_ceiling"], own["hnr_db"], own["coverage"], own["clips"]) == (
        1.0,
        20.0,
        0.97,
        13,
    )
    assert own["similarity_of_ceiling_eres2net"] is None and own["cpp_db"] is None


def test_singers_of_one_sex_have_a_row(quality: ModuleType):
    rows = [
        row(sex="female", source="kokoro_sung/bf_emma/par008_en.opus", coverage=0.9),
        row(sex="female", source="pjs/pjs_singer/pjs010_song.wav", coverage=0.5),
        row(sex="unstated", source="somewhere/unknown/clip.wav", coverage=0.1),
    ]
    summary = quality.summarise(judged(*rows))
    assert summary["kumi, same sex"]["clips"] == 2 and summary["kumi, same sex"]["coverage"] == 0.5
    assert summary["kumi"]["clips"] == 3


def test_phrases_sung_by_the_voice_and_clips_for_words_stay_apart(quality: ModuleType, parallels: ModuleType):
    rows = [
        row(coverage=0.9, output_cer_vosk=0.4),
        {"voice": "kumi", "pair": "real singer", "only": "words", "output_cer_vosk": 0.6},
        row(coverage=0.1) | {"pair": parallels.PARALLEL, "colour_to_own_db": 6.0},
    ]
    summary = quality.summarise(judged(*rows))
    assert summary["kumi"]["clips"] == 1 and summary["kumi"]["coverage"] == 0.9
    assert summary["kumi"]["output_cer_vosk"] == 0.5
    assert summary["kumi"]["colour_to_own_db"] is None
    assert summary["kumi, a phrase it sang itself"]["colour_to_own_db"] == 6.0


def test_opinions_belong_to_the_voice(quality: ModuleType):
    summary = quality.summarise(judged(row(), opinions={"kumi": {"dnsmos_change": -0.31}}))
    assert summary["kumi"]["dnsmos_change"] == -0.31
    assert summary["kumi, real singer"]["dnsmos_change"] is None
    assert "| kumi | 1 | -0.31 |" in quality.table(summary)


# ---- tables ----


def test_what_nobody_measured_is_not_in_the_table(quality: ModuleType):
    text = quality.table(quality.summarise(judged(row(coverage=0.95))))
    assert "| kumi | 1 | 0.950 |" in text
    assert "ERes2Net" not in text and "the sources themselves" not in text


def test_only_what_is_worse_by_more_than_counts_is_told(quality: ModuleType):
    before = quality.summarise(judged(row(coverage=0.95, output_cer=0.30, similarity_of_ceiling=0.90)))
    after = quality.summarise(judged(row(coverage=0.99, output_cer=0.36, similarity_of_ceiling=0.895)))
    assert quality.worse(before, before) == []
    assert quality.worse(before, after) == [
        "kumi: CER 0.36, 0.30 before",
        "kumi, real singer: CER 0.36, 0.30 before",
    ]


def test_figures_that_do_not_count_are_not_told(quality: ModuleType):
    before, after = (quality.summarise(judged(row(hnr_db=value))) for value in (20.0, 2.0))
    assert quality.worse(before, after) == []


def test_what_is_gone_is_worse(quality: ModuleType):
    before = quality.summarise(judged(row(coverage=0.95), row("pjs", coverage=0.9)))
    after = quality.summarise(judged(row(clipped_runs=1)))
    told = quality.worse(before, after)
    assert "pjs: no longer there" in told and "kumi: coverage -, 0.950 before" in told
    assert "kumi: 1 faults, 0 before" in told


def test_the_kept_run_and_its_table_belong_together(quality: ModuleType):
    kept = json.loads(quality.KEPT.read_text(encoding="utf-8"))
    assert quality.page(kept) == quality.TABLE.read_text(encoding="utf-8")
    voices = {name for name in kept if "," not in name and ":" not in name}
    assert len(voices) >= 3 and all(kept[name]["clips"] >= 8 for name in voices)


# ---- the colour of a voice ----


def test_colour_hears_the_throat_and_not_the_note(
    parallels: ModuleType, sung_vowel: Callable[..., np.ndarray]
):
    voice = sung_vowel(196.0, 1.0)
    distance = parallels.envelope_distance
    assert distance(voice, voice) == 0.0
    assert distance(voice, 0.1 * voice) < 0.05
    other_note = distance(voice, sung_vowel(220.0, 1.0))
    other_throat = distance(voice, sung_vowel(196.0, 1.0, formant_shift=1.2))
    assert other_throat > 1.5 * other_note
    assert distance(voice, np.zeros(100, np.float32) + 1e-9) is not None


def test_parallels_are_unheard_singers_in_the_key_of_the_recording(parallels: ModuleType, shared_data: Path):
    found = parallels.find_parallels(shared_data, "am_eric", 100)
    assert {Path(p.source).stem for p in found} == {Path(p.own).stem for p in found}
    for parallel in found:
        assert Path(parallel.source).parent.name in parallels.UNHEARD
        singers = {Path(name).parent.name for name in (parallel.source, *parallel.others)}
        assert "am_eric" not in singers and len(singers) == 1 + len(parallel.others)
    keys = {Path(p.source).stem: p.transpose for p in found}
    assert keys["par000_en"] == pytest.approx(12 * np.log2(116.15 / 179.17), abs=0.01)
    assert len(parallels.find_parallels(shared_data, "am_eric", 4)) <= 4
    assert parallels.find_parallels(shared_data, "am_eric", 0) == []
    assert parallels.find_parallels(shared_data, "kumi", 4) == []


# ---- words ----


def test_each_recogniser_judges_what_it_understands(
    words: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    said = {"lang": "en", "text": "abcd", "source_cer": 0.1, "use": "dev-test", "file": "one/par000_en"}
    (tmp_path / "kokoro_sung").mkdir()
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "par000_en.opus").write_bytes(b"sound")
    monkeypatch.setenv("RESING_HOME", str(tmp_path / "home"))
    (tmp_path / "kokoro_sung" / "alignment.jsonl").write_text(json.dumps(said), encoding="utf-8")
    monkeypatch.setattr(words, "error_rate", lambda reference, heard: 1 - len(heard) / len(reference))
    heard: list[float] = []

    def listen(audio: np.ndarray, language: str) -> str:
        heard.append(float(audio[0]))
        return "abcd"[: int(audio[0])]

    recognisers = {"": listen, "_deaf": lambda audio, language: "a", "_other": lambda audio, language: None}

    def clip(letters: int) -> SimpleNamespace:
        return SimpleNamespace(path=tmp_path / "one" / "par000_en.opus", audio_16k=np.array([letters]))

    judge = words.Words(tmp_path, SimpleNamespace(recognisers=recognisers))
    assert judge.judge(clip(4), clip(2)) == {"source_cer": 0.0, "heard": "ab", "output_cer": 0.5}
    assert judge.judge(clip(4), clip(1))["output_cer"] == 0.75
    assert heard == [4.0, 2.0, 1.0]
    assert judge.judge(clip(4), clip(2), "_deaf") == {}
    again = words.Words(tmp_path, SimpleNamespace(recognisers=recognisers))
    again.judge(clip(4), clip(3))
    assert heard[3:] == [3.0]
    monkeypatch.setattr(words, "Heard", lambda path, ears: clip(4))
    assert judge.rates_of((tmp_path / "one" / "par000_en.opus", Path("two/solo001_en.opus"))) == {
        "output_cer": 0.1,
        "output_cer_deaf": None,
        "output_cer_other": None,
    }


def test_vosk_knows_english_only(script: Callable[[str], ModuleType]):
    ears = script("benchmarks/ears.py")
    assert ears.Vosk(Path("nowhere")).words(np.zeros(16000, np.float32), "es") is None


# ---- targets ----


def test_a_target_is_the_same_when_remembered(
    script: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    targets = script("benchmarks/targets.py")
    monkeypatch.setenv("RESING_HOME", str(tmp_path / "home"))
    (tmp_path / "one.opus").write_bytes(b"sound")
    quality, paths = {"hnr_db": 20.0, "cpp_db": None}, (tmp_path / "one.opus",)
    spectrum = np.arange(3.0), np.arange(3.0) + 1.0
    made = targets.Target(
        70.0,
        {"": np.ones(4)},
        {"": 0.9},
        spectrum,
        12000.0,
        220.0,
        quality,
        {},
        frozenset({"kumi_A3"}),
        paths,
    )
    heard: list[int] = []
    monkeypatch.setattr(targets, "listen_to_target", lambda *_: heard.append(1) or made)
    rows, ears = [{"file": "one.opus"}], SimpleNamespace(embedders={"": None})
    first, again = (targets.remembered_target(rows, tmp_path, ears) for _ in range(2))
    assert heard == [1] and first is made
    assert again.summary() == made.summary() and again.speakers == made.speakers and again.clips == paths
    assert np.array_equal(again.centroids[""], made.centroids[""])
    assert all(np.array_equal(a, b) for a, b in zip(again.spectrum, spectrum, strict=True))
    (tmp_path / "one.opus").write_bytes(b"other sound")
    targets.remembered_target(rows, tmp_path, ears)
    assert heard == [1, 1]


def test_damage_is_counted_by_kind(quality: ModuleType):
    rows = [row(damaged=["click", "timing"], lag_ms=4.0), row(damaged=[], lag_ms=2.0), row()]
    kumi = quality.summarise(judged(*rows))["kumi"]
    assert (kumi["damaged_click"], kumi["damaged_timing"], kumi["damaged_dip"]) == (0.5, 0.5, 0.0)
    assert kumi["lag_ms"] == 3.0
