"""How much memory a whole song takes, at any length: separated, sung, mixed, in one cold command.

    python benchmarks/memory.py --song SONG [--minutes 3 10 30 120] [--voice kumi] [--folder TMP]

The song is repeated to each length in a temporary folder, which needs about 60 MB a minute. Prints a Markdown
table: peak resident memory up to the end of each stage, and seconds of computing per second of song.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from tables import markdown_table

from resing.audio import files

BLOCK_SECONDS = 10
STAGES = ("separate", "listen", "sing", "mix")
CHILD = """
import json, resource, sys, torch
torch.set_num_threads({threads})
import resing
peak = {{}}
def told(stage, done, total):
    peak[stage] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
resing.convert({source!r}, {out!r}, {voice!r}, song=resing.SongOptions(a_cappella=False), progress=told)
peak["all"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
print(json.dumps(peak))
"""


def repeated(song: Path, minutes: float, out: Path) -> None:
    """Write a song again and again up to a length."""
    about = files.probe(song)
    left = round(60 * minutes * about.sample_rate)
    with files.AudioWriter(out, about.sample_rate, about.channels) as writer:
        while left > 0:
            for block in files.read_blocks(song, about.sample_rate, False, 0.0, None, BLOCK_SECONDS):
                writer.write(block[:, :left].astype(np.float32))
                left -= min(left, block.shape[1])
                if not left:
                    break


def measure(song: Path, minutes: float, asked: argparse.Namespace) -> list[str]:
    """A length's row: peaks in MB by stage, and the real-time factor."""
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        source, out = Path(folder) / "song.flac", Path(folder) / "out.flac"
        repeated(song, minutes, source)
        code = CHILD.format(threads=asked.threads, source=str(source), out=str(out), voice=asked.voice)
        home = os.environ | {"RESING_HOME": folder}
        began = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, env=home)
        factor = (time.perf_counter() - began) / (60 * minutes)
        peak = json.loads(done.stdout)
        return [f"{minutes:g}", *(str(peak[stage]) for stage in (*STAGES, "all")), f"{factor:.3f}"]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--song", type=Path, required=True)
    parser.add_argument("--minutes", type=float, nargs="+", default=[3, 10, 30, 120])
    parser.add_argument("--voice", default="kumi")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    asked = parser.parse_args()
    rows = [measure(asked.song, minutes, asked) for minutes in asked.minutes]
    headings = ["minutes", *(f"{stage}, MB" for stage in STAGES), "in all, MB", "real-time factor"]
    print(markdown_table(headings, rows))


if __name__ == "__main__":
    main()
