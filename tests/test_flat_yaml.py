"""The reader of flat YAML files: what it takes, what it leaves out, what it refuses."""

from pathlib import Path

import pytest

from resing.errors import VoiceError
from resing.importers import flat_yaml

PLAIN = """\
# settings
audio_sample_rate: 44100
f0_max: 1100.0
lr: 8e-4
use_vec: false
no_fs2: true   # always
ds: ''
vocoder: network.vocoders.nsf_hifigan.NsfHifiGAN
quoted: "a # b"
mel_loss: ssim:0.5|l1:0.5
binarization_args:
  shuffle: false
  with_f0: true
content_cond_steps: []
inline: [1, -2.5, x]
spec_max:
- 0.0
- -0.5
kernels:
- 0,2,3
spec_min:
  - -5.0
nothing:
"""


def write(tmp_path: Path, text: str | bytes) -> Path:
    path = tmp_path / "config.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_flat_file(tmp_path: Path):
    found = flat_yaml.read(write(tmp_path, PLAIN))
    assert found == {
        "audio_sample_rate": 44100,
        "f0_max": 1100.0,
        "lr": 8e-4,
        "use_vec": False,
        "no_fs2": True,
        "ds": "",
        "vocoder": "network.vocoders.nsf_hifigan.NsfHifiGAN",
        "quoted": "a # b",
        "mel_loss": "ssim:0.5|l1:0.5",
        "binarization_args": None,
        "content_cond_steps": [],
        "inline": [1, -2.5, "x"],
        "spec_max": [0.0, -0.5],
        "kernels": ["0,2,3"],
        "spec_min": [-5.0],
        "nothing": None,
    }


LAUGHS = "a: &a [x, x]\n" + "".join(f"b{i}: &b{i} [*a, *a, *a]\n" for i in range(20))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x: !!python/object/apply:os.system ['touch canary']", 'line 1: got "!!python/object/apply'),
        ("x:\n- !!python/name:os.system", "line 2"),
        ("deep:\n  x: !!python/object/new:os.system [a]", "line 2"),
        ("deep:\n  - !!python/object/new:os.system [a]", "line 2"),
        (LAUGHS, "line 1: got '&a"),
        ("x: *a", "tags, anchors and aliases"),
        ("x: [1, *a]", "tags, anchors and aliases"),
        ("<<: *a", "expected 'key: value'"),
        ("x: |\n  text", "tags, anchors"),
        ("a: 1\na: 2", "a is there twice"),
        ("x: [[[[[[1]]]]]]", "no plain list"),
        ("x: [1, 2", "no plain list"),
        ("x: [" + "1," * 5000 + "]", "no plain list"),
        ("x:\n" + "- 1\n" * 5000, "more than 4096"),
        ("just words", "expected 'key: value'"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        ("\n" * 30_000, "30000 lines"),
        ("x" * (2 << 20), "larger than 1024 KB"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str | bytes, told: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(VoiceError) as caught:
        flat_yaml.read(write(tmp_path, text))
    assert told in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 400
    assert not (tmp_path / "canary").exists()


def test_a_missing_file(tmp_path: Path):
    with pytest.raises(VoiceError, match="does not exist"):
        flat_yaml.read(tmp_path / "none.yaml")
