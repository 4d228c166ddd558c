"""Audio files: every format there and back, streaming = whole, and each refusal with its message."""

import errno
import os
import resource
import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from resing.audio import files
from resing.audio.files import (
    AudioWriter,
    check_output,
    downmix,
    downmix_weights,
    probe,
    read,
    read_blocks,
    write,
)
from resing.audio.resampling import Resampler, resample, resampled_length
from resing.errors import AudioError

RATE = 44100


def band_noise(samples: int, channels: int = 2, rate: int = RATE, seed: int = 0) -> np.ndarray:
    """Noise between 100 and 3,000 Hz, peak 0.5, (channels, samples): every lossy codec keeps it."""
    rng = np.random.default_rng(seed)
    spectrum = np.fft.rfft(rng.standard_normal((channels, samples)))
    hz = np.fft.rfftfreq(samples, 1 / rate)
    spectrum[:, (hz < 100) | (hz > 3000)] = 0
    audio = np.fft.irfft(spectrum, samples)
    return (0.5 * audio / np.abs(audio).max()).astype(np.float32)


def lag(audio: np.ndarray, reference: np.ndarray) -> int:
    """Samples by which `audio` comes later than `reference`, by cross-correlation."""
    size = 2 * max(len(audio), len(reference))
    cross = np.fft.irfft(np.fft.rfft(audio, size) * np.conj(np.fft.rfft(reference, size)), size)
    peak = int(np.argmax(cross))
    return peak if peak < size // 2 else peak - size


def encode(
    path: Path, audio: np.ndarray, rate: int, container: str, codec: str, fmt: str, video: bool = False
):
    """Encode with PyAV, independently of our writer."""
    with av.open(str(path), "w", format=container) as out:
        if video:
            picture = out.add_stream("mpeg4", rate=10)
            picture.width = picture.height = 32
        stream = out.add_stream(codec, rate=rate, layout={1: "mono", 2: "stereo"}[len(audio)])
        stream.codec_context.format = fmt
        stream.bit_rate = 192000
        if video:
            frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
            out.mux(picture.encode(frame))
            out.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(audio, format="fltp", layout=stream.layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        convert = av.AudioResampler(
            fmt, stream.layout, rate, frame_size=stream.codec_context.frame_size or None
        )
        for part in convert.resample(frame) + convert.resample(None):
            out.mux(stream.encode(part))
        out.mux(stream.encode(None))


def relative_error(audio: np.ndarray, reference: np.ndarray) -> float:
    return float(np.sqrt(np.mean((audio - reference) ** 2) / np.mean(reference**2)))


# --- what others encoded, read by us


@pytest.mark.parametrize(
    ("name", "container", "codec", "fmt", "rate", "slack", "error"),
    [
        ("a.mp3", "mp3", "libmp3lame", "fltp", 44100, 0, 0.05),
        ("a.m4a", "ipod", "aac", "fltp", 44100, 1024, 0.1),
        ("alac.m4a", "ipod", "alac", "s16p", 44100, 0, 1e-3),
        ("a.opus", "ogg", "libopus", "flt", 48000, 0, 0.1),
        ("a.webm", "webm", "libopus", "flt", 48000, 960, 0.1),
        ("a.mkv", "matroska", "flac", "s16", 44100, 0, 1e-3),
        ("a.aiff", "aiff", "pcm_s16be", "s16", 44100, 0, 1e-3),
        ("a.caf", "caf", "pcm_s16be", "s16", 44100, 0, 1e-3),
    ],
)
def test_foreign_file_is_read_in_time_and_level(tmp_path, name, container, codec, fmt, rate, slack, error):
    audio = band_noise(50_001, rate=rate)
    path = tmp_path / name
    encode(path, audio, rate, container, codec, fmt)
    back, back_rate = read(path)
    assert back_rate == rate and back.dtype == np.float32 and back.shape[0] == 2
    assert 0 <= back.shape[1] - audio.shape[1] <= slack  # AAC and webm pad the end to whole packets
    assert lag(back[0], audio[0]) == 0
    assert relative_error(back[:, : audio.shape[1]], audio) < error


@pytest.mark.parametrize(
    ("name", "container", "codec"),
    [("v.mp4", "mp4", "aac"), ("v.mkv", "matroska", "aac"), ("v.mov", "mov", "aac")],
)
def test_video_with_sound_is_read(tmp_path, name, container, codec):
    audio = band_noise(30_000)
    encode(tmp_path / name, audio, RATE, container, codec, "fltp", video=True)
    back, _ = read(tmp_path / name)
    assert lag(back[0], audio[0]) == 0 and relative_error(back[:, :30_000], audio) < 0.1
    assert probe(tmp_path / name).codec == "aac"


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_wav_encoding_has_its_level(tmp_path, subtype):
    audio = band_noise(20_000)
    soundfile.write(tmp_path / "a.wav", audio.T, RATE, subtype=subtype)
    expected = soundfile.read(tmp_path / "a.wav", dtype="float32")[0].T
    assert np.abs(read(tmp_path / "a.wav")[0] - expected).max() < 1e-6


def test_eight_channels_at_8_khz(tmp_path):
    audio = band_noise(8000, channels=8, rate=8000)
    soundfile.write(tmp_path / "a.wav", audio.T, 8000, subtype="FLOAT")
    back, rate = read(tmp_path / "a.wav")
    assert rate == 8000 and np.array_equal(back, audio)
    assert read(tmp_path / "a.wav", RATE, mono=True)[0].shape == (1, RATE)


@pytest.mark.parametrize("channels", [8, 9])
def test_planar_frames_of_many_channels(tmp_path, channels):
    """PyAV's own conversion of 8 or more planes ends the process."""
    audio = band_noise(20_000, channels=channels)
    soundfile.write(tmp_path / "a.ogg", audio.T, RATE, format="OGG", subtype="VORBIS")
    back, _ = read(tmp_path / "a.ogg")
    assert back.shape == audio.shape  # in FFmpeg's order of loudspeakers
    matches = np.abs(np.corrcoef(np.concatenate([back, audio]))[:channels, channels:]) > 0.9
    assert (matches.sum(axis=0) == 1).all() and (matches.sum(axis=1) == 1).all()


def test_tags_that_are_not_utf8_do_not_matter(tmp_path):
    soundfile.write(tmp_path / "a.wav", band_noise(1000).T, RATE)
    data = (tmp_path / "a.wav").read_bytes()
    info = b"INFOINAM" + struct.pack("<I", 4) + b"caf\xe9"
    cut = data.index(b"data")
    data = data[:cut] + b"LIST" + struct.pack("<I", len(info)) + info + data[cut:]
    (tmp_path / "a.wav").write_bytes(data[:4] + struct.pack("<I", len(data) - 8) + data[8:])
    assert read(tmp_path / "a.wav")[0].shape == (2, 1000)


def test_silence_and_very_short_files_are_no_errors(tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros((500, 2)), RATE)
    soundfile.write(tmp_path / "one.wav", np.ones((1, 1)) * 0.5, RATE)
    assert not read(tmp_path / "silence.wav")[0].any()
    assert read(tmp_path / "one.wav")[0].shape == (1, 1)
    assert read(tmp_path / "one.wav", 16000)[0].shape == (1, resampled_length(1, RATE, 16000))


def test_probe(tmp_path):
    soundfile.write(tmp_path / "a.flac", band_noise(22_050).T, RATE)
    assert probe(tmp_path / "a.flac") == files.AudioInfo(tmp_path / "a.flac", RATE, 2, 0.5, "flac", "flac")


# --- streaming, resampling, parts


@pytest.mark.parametrize("rate", [16000, 44100, 48000, 22050])
@pytest.mark.parametrize("block_seconds", [0.037, 0.5, 10.0])
def test_blocks_joined_are_the_whole(tmp_path, rate, block_seconds):
    audio = band_noise(150_001)
    soundfile.write(tmp_path / "a.wav", audio.T, RATE, subtype="FLOAT")
    whole, _ = read(tmp_path / "a.wav", rate)
    blocks = list(read_blocks(tmp_path / "a.wav", rate, mono=False, block_seconds=block_seconds))
    assert {block.shape[1] for block in blocks[:-1]} <= {round(block_seconds * rate)}
    assert 0 < blocks[-1].shape[1] <= round(block_seconds * rate)
    assert np.array_equal(np.concatenate(blocks, axis=1), whole)
    assert whole.shape == (2, round(150_001 * rate / RATE))
    at_once = resample(audio, RATE, rate)
    assert np.abs(at_once - whole).max() < 1e-6


@pytest.mark.parametrize("rate", [16000, 44100, 48000])
def test_a_part_is_that_part_of_the_whole(tmp_path, rate):
    write(tmp_path / "a.mp3", band_noise(200_000), RATE)
    whole, _ = read(tmp_path / "a.mp3", rate, mono=True)
    part, _ = read(tmp_path / "a.mp3", rate, mono=True, start_seconds=1.2345, end_seconds=3.21)
    assert np.array_equal(part, whole[:, round(1.2345 * rate) : round(3.21 * rate)])
    to_the_end, _ = read(tmp_path / "a.mp3", rate, mono=True, start_seconds=4.0, end_seconds=99.0)
    assert np.array_equal(to_the_end, whole[:, 4 * rate :])


def test_resampled_sine_keeps_time_level_and_frequency():
    seconds = np.arange(RATE) / RATE
    there = resample(np.sin(2 * np.pi * 440 * seconds)[None].astype(np.float32), RATE, 16000)[0]
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert np.abs(there - expected)[500:-500].max() < 1e-4


@pytest.mark.parametrize("samples", [1, 2, 100, 4411, 65_537])
@pytest.mark.parametrize("rates", [(44100, 16000), (8000, 44100), (48000, 44100), (44100, 44100)])
def test_resampler_gives_the_exact_length_whatever_the_blocks(samples, rates):
    audio = band_noise(max(samples, 400))[:, :samples]
    resampler = Resampler(*rates, 2)
    parts = [resampler.push(audio[:, at : at + 97]) for at in range(0, samples, 97)] + [resampler.finish()]
    joined = np.concatenate(parts, axis=1)
    assert joined.shape == (2, resampled_length(samples, *rates))
    assert np.abs(joined - resample(audio, *rates)).max() < 1e-6


# --- mono


def test_downmix_is_the_mean_unless_it_cancels():
    voice = band_noise(5000)
    assert np.allclose(downmix(voice), voice.mean(axis=0))
    assert np.array_equal(downmix(np.stack([0.8 * voice[0], -voice[0]])), -voice[0])  # the louder of two
    assert np.array_equal(downmix(voice[:1]), voice[0])
    assert np.allclose(downmix(np.zeros((2, 10), np.float32)), 0)


def test_mono_is_decided_once_for_the_file(tmp_path):
    audio = band_noise(300_000)
    audio[1, 100_000:] = -audio[0, 100_000:]  # in phase opposition from 2.3 s on: the mean would vanish
    audio[1] *= 0.9
    soundfile.write(tmp_path / "a.wav", audio.T, RATE, subtype="FLOAT")
    whole, _ = read(tmp_path / "a.wav", 16000, mono=True)
    joined = np.concatenate(list(read_blocks(tmp_path / "a.wav", 16000, block_seconds=0.3)), axis=1)
    early, _ = read(tmp_path / "a.wav", 16000, mono=True, end_seconds=1.0)
    assert np.array_equal(downmix_weights(tmp_path / "a.wav"), [1.0, 0.0])
    assert np.array_equal(joined, whole) and np.array_equal(early, whole[:, :16000])
    assert np.abs(whole[0] - downmix(read(tmp_path / "a.wav", 16000)[0])).max() < 1e-6


# --- what we encode


@pytest.mark.parametrize("extension", [".wav", ".flac", ".mp3", ".ogg", ".opus"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [4410, 150_001])
def test_written_file_comes_back(tmp_path, extension, channels, samples):
    audio = band_noise(samples, channels)
    assert write(tmp_path / f"a{extension}", audio, RATE) == 0
    back, _ = read(tmp_path / f"a{extension}", RATE)
    assert back.shape == audio.shape
    assert all(lag(back[c], audio[c]) == 0 for c in range(channels))
    assert relative_error(back, audio) < (1e-5 if extension in {".wav", ".flac"} else 0.12)
    assert os.listdir(tmp_path) == [f"a{extension}"]
    assert probe(tmp_path / f"a{extension}").sample_rate == (48000 if extension == ".opus" else RATE)


@pytest.mark.parametrize("samples", [1, 100, 441])
@pytest.mark.parametrize("extension", [".wav", ".flac", ".mp3", ".ogg", ".opus"])
def test_shortest_files_keep_their_length(tmp_path, extension, samples):
    write(tmp_path / f"a{extension}", np.full((2, samples), 0.1, np.float32), RATE)
    assert read(tmp_path / f"a{extension}", RATE)[0].shape == (2, samples)


def test_a_minute_of_stereo_vorbis(tmp_path):
    """In one call libsndfile would crash the process."""
    audio = np.tile(band_noise(RATE * 5), 12)
    write(tmp_path / "a.ogg", audio, RATE)
    assert read(tmp_path / "a.ogg")[0].shape == audio.shape


@pytest.mark.parametrize("extension", [".wav", ".flac"])
def test_written_in_blocks_is_written_at_once(tmp_path, extension):
    audio = band_noise(100_000)
    write(tmp_path / f"once{extension}", audio, RATE)
    with AudioWriter(tmp_path / f"blocks{extension}", RATE, 2) as writer:
        for at in range(0, audio.shape[1], 777):
            writer.write(audio[:, at : at + 777])
    assert writer.samples == 100_000
    once, blocks = ((tmp_path / f"{name}{extension}").read_bytes() for name in ("once", "blocks"))
    assert once == blocks


def test_96_khz_in_mp3_keeps_its_duration(tmp_path):
    audio = band_noise(96_001, rate=96000)
    write(tmp_path / "a.mp3", audio, 96000)
    back, rate = read(tmp_path / "a.mp3")
    assert rate == 48000 and back.shape == (2, resampled_length(96_001, 96000, 48000))


def test_samples_beyond_full_scale_are_clipped_and_counted(tmp_path):
    audio = np.array([[0.0, 1.0, 1.5, -3.0, -1.0, 0.25]], np.float32)
    assert write(tmp_path / "a.wav", audio, RATE) == 2
    assert np.allclose(read(tmp_path / "a.wav")[0], np.clip(audio, -1, 1), atol=1e-6)


def test_eight_channels_out(tmp_path):
    audio = band_noise(5000, channels=8)
    for extension in (".wav", ".flac"):
        write(tmp_path / f"a{extension}", audio, RATE)
        assert np.abs(read(tmp_path / f"a{extension}", RATE)[0] - audio).max() < 1e-6


# --- refusals: reading


def refuse_reading(path: Path, *expected: str) -> None:
    """`read`, `read_blocks` and `downmix_weights` all say the same one line about `path`."""
    for attempt in (read, downmix_weights, lambda path: list(read_blocks(path, 16000))):
        with pytest.raises(AudioError) as caught:
            attempt(path)
        message = str(caught.value)
        assert "\n" not in message and message.startswith(f"{path}: ")
        assert all(part in message for part in expected), message


def test_refuses_what_is_not_there(tmp_path):
    refuse_reading(tmp_path / "none.wav", "no such file", "check the name")
    refuse_reading(tmp_path / "no" / "folder.wav", "no such file")
    refuse_reading(tmp_path, "is a folder", "name one of the files")
    refuse_reading(tmp_path / ("x" * 300 + ".wav"), "cannot be opened", "too long")


def test_refuses_an_empty_file(tmp_path):
    (tmp_path / "a.wav").touch()
    refuse_reading(tmp_path / "a.wav", "is empty (0 bytes)", "expected wav, flac")


@pytest.mark.parametrize("extension", ["wav", "mp3", "m4a", "ogg", "opus", "aiff", "mkv", "aac", "flac"])
def test_refuses_text_by_any_name(tmp_path, extension):
    (tmp_path / f"a.{extension}").write_text("This is no song but a poem.\n" * 500)
    refuse_reading(tmp_path / f"a.{extension}", "expected wav, flac")


def test_refuses_playlists_and_scripts(tmp_path):
    write(tmp_path / "secret.wav", band_noise(5000), RATE)
    target = tmp_path / "secret.wav"
    lists = {
        "list.m3u8": f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
        "list.wav": f"ffconcat version 1.0\nfile {target}\n",
        "list.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n",
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        refuse_reading(tmp_path / name, "is not audio")
    refuse_reading(Path("http://127.0.0.1/song.mp3"), "no such file")
    refuse_reading(Path(f"concat:{target}"), "no such file")


def test_refuses_a_video_without_sound(tmp_path):
    with av.open(str(tmp_path / "v.mp4"), "w") as out:
        stream = out.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        out.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        out.mux(stream.encode(None))
    refuse_reading(tmp_path / "v.mp4", "holds no sound")
    with pytest.raises(AudioError, match="holds no sound"):
        probe(tmp_path / "v.mp4")


def test_refuses_zero_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 2)), RATE)
    refuse_reading(tmp_path / "a.wav", "holds no samples")


def test_refuses_nan_and_counts(tmp_path):
    audio = band_noise(200_000)
    audio[0, 22_050] = np.nan
    audio[:, 150_000] = np.inf
    soundfile.write(tmp_path / "a.wav", audio.T, RATE, subtype="FLOAT")
    refuse_reading(tmp_path / "a.wav", "2 of 200000 samples are not finite", "0.500 s", "export it again")


def test_refuses_nothing_between_start_and_end(tmp_path):
    write(tmp_path / "a.wav", band_noise(RATE), RATE)
    for start, end, words in [
        (2.0, None, "the file is 1.00 s long"),
        (1.0, 3.0, "nothing after 1 s"),
        (0.5, 0.5, "nothing between 0.5 s and 0.5 s"),
        (0.5, 0.2, "0 <= start < end"),
        (-1.0, None, "cannot start at -1 s"),
    ]:
        with pytest.raises(AudioError, match=words):
            read(tmp_path / "a.wav", RATE, start_seconds=start, end_seconds=end)


def test_refuses_a_truncated_container(tmp_path):
    encode(tmp_path / "a.m4a", band_noise(50_000), RATE, "ipod", "aac", "fltp")
    data = (tmp_path / "a.m4a").read_bytes()
    (tmp_path / "a.m4a").write_bytes(data[: len(data) // 2])
    refuse_reading(tmp_path / "a.m4a", "is not audio", "export it again")


def damaged(path: Path, packets: list[int]) -> None:
    """Overwrite the middle of some AAC packets of an m4a with ones."""
    with av.open(str(path)) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(audio=0) if packet.size]
    data = bytearray(path.read_bytes())
    for place, size in (places[number] for number in packets):
        data[place : place + size] = b"\xff" * size
    path.write_bytes(data)


def test_one_damaged_packet_becomes_silence_and_the_rest_keeps_its_time(tmp_path):
    audio = band_noise(100_000)
    encode(tmp_path / "a.m4a", audio, RATE, "ipod", "aac", "fltp")
    length = read(tmp_path / "a.m4a")[0].shape[1]
    damaged(tmp_path / "a.m4a", [40])
    back, _ = read(tmp_path / "a.m4a")
    assert back.shape[1] == length
    assert lag(back[0, 50_000:100_000], audio[0, 50_000:]) == 0
    assert relative_error(back[:, 50_000:100_000], audio[:, 50_000:]) < 0.1


def test_refuses_much_damage(tmp_path):
    encode(tmp_path / "a.m4a", band_noise(100_000), RATE, "ipod", "aac", "fltp")
    damaged(tmp_path / "a.m4a", list(range(20, 60)))
    refuse_reading(tmp_path / "a.m4a", "is damaged", "packets cannot be decoded", "get it again")


# --- refusals: writing


def refuse_writing(folder: Path, path: Path, words: str, channels: int = 2) -> None:
    before = sorted(os.listdir(folder))
    with pytest.raises(AudioError, match=words):
        write(path, band_noise(5000, channels), RATE)
    assert sorted(os.listdir(folder)) == before


def test_refuses_what_cannot_be_written(tmp_path, monkeypatch):
    refuse_writing(tmp_path, tmp_path / "a.m4a", r"cannot write \.m4a; expected one of \.wav, \.flac")
    refuse_writing(tmp_path, tmp_path / "a", "a name without extension")
    refuse_writing(tmp_path, tmp_path / "no" / "a.wav", "no such folder .*; create it: mkdir -p")
    refuse_writing(tmp_path, tmp_path / ("x" * 300 + ".wav"), "too long")
    refuse_writing(tmp_path, tmp_path / "a.mp3", "holds 1 or 2 channels, got 3; write .wav", channels=3)
    refuse_writing(
        tmp_path, tmp_path / "a.flac", "cannot hold 9 channels at 44100 Hz; write .wav", channels=9
    )
    (tmp_path / "folder.wav").mkdir()
    refuse_writing(tmp_path, tmp_path / "folder.wav", "is a folder")
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    refuse_writing(tmp_path, tmp_path / "a.wav", "you may not write in the folder")


def test_refuses_output_equal_to_input(tmp_path):
    source = tmp_path / "song.wav"
    write(source, band_noise(1000), RATE)
    (tmp_path / "soft.wav").symlink_to(source)
    (tmp_path / "hard.wav").hardlink_to(source)
    for out in (source, tmp_path / "soft.wav", tmp_path / "hard.wav", tmp_path / "." / "song.wav"):
        with pytest.raises(AudioError, match="is the input itself and would be lost; choose another"):
            check_output(source, out)
    assert check_output(source, str(tmp_path / "other.flac")) == tmp_path / "other.flac"
    assert check_output(tmp_path / "missing.wav", source) == source


def test_input_is_untouched(tmp_path):
    write(tmp_path / "a.flac", band_noise(50_000), RATE)
    before = (tmp_path / "a.flac").read_bytes(), os.stat(tmp_path / "a.flac").st_mtime_ns
    read(tmp_path / "a.flac", 16000, mono=True)
    assert before == ((tmp_path / "a.flac").read_bytes(), os.stat(tmp_path / "a.flac").st_mtime_ns)


@pytest.mark.parametrize("extension", [".wav", ".flac", ".mp3", ".ogg", ".opus"])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    path.write_bytes(b"the old one")
    with pytest.raises(KeyboardInterrupt), AudioWriter(path, RATE, 2) as writer:
        writer.write(band_noise(100_000))
        raise KeyboardInterrupt
    with pytest.raises(ValueError, match="nothing was written"), AudioWriter(path, RATE, 2):
        pass
    assert os.listdir(tmp_path) == [path.name] and path.read_bytes() == b"the old one"


@pytest.mark.parametrize("extension", [".wav", ".flac", ".mp3", ".ogg", ".opus"])
def test_a_file_that_does_not_fit_is_one_clear_error(tmp_path, extension):
    path = tmp_path / f"a{extension}"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # the system refuses to write more than this
    try:
        with pytest.raises(AudioError, match=r"cannot be written .*File too large.*; free some space"):
            write(path, band_noise(RATE * 20), RATE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_named(tmp_path, monkeypatch):
    class FullDisk:
        format, frames = "WAV", 0

        def write(self, block):
            raise soundfile.LibsndfileError(2)

        def close(self):
            pass

    def no_space(path, mode):
        raise OSError(errno.ENOSPC, "No space left on device")

    with (
        pytest.raises(AudioError, match=r"cannot be written \(the disk is full\); free some space"),
        AudioWriter(tmp_path / "a.wav", RATE, 1) as writer,
    ):
        writer._file.close()
        writer._file = FullDisk()
        monkeypatch.setattr("builtins.open", no_space)
        writer.write(band_noise(1000, 1))
    monkeypatch.undo()
    assert os.listdir(tmp_path) == []


def test_wav_beyond_4_gb_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "WAV_BYTES", 100_000)
    refuse_writing(tmp_path, tmp_path / "a.wav", "holds at most 4 GB; write .flac", channels=8)


def test_programmers_mistakes_are_value_errors(tmp_path):
    with AudioWriter(tmp_path / "a.wav", RATE, 2) as writer:
        with pytest.raises(ValueError, match="expected \\(2, n\\)"):
            writer.write(np.zeros((1, 5), np.float32))
        with pytest.raises(ValueError, match="not all finite"):
            writer.write(np.full((2, 5), np.nan, np.float32))
        writer.write(np.zeros((2, 5), np.float32))
    with pytest.raises(ValueError, match="inside its `with` block"):
        AudioWriter(tmp_path / "b.wav", RATE, 2).write(np.zeros((2, 5), np.float32))
