"""What is said of each evil checkpoint that the tests make: the table of docs/evil-files.md.

    python benchmarks/evil_files.py

Each is made in a temporary folder and given to the reader that `resing voice import` uses; "run" says whether
anything in it was.
"""

import sys
import tempfile
from pathlib import Path

from tables import markdown_table

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from test_checkpoint_foreign import CORPUS

from resing import checkpoint_foreign
from resing.errors import VoiceError


def main() -> None:
    """Print the table."""
    rows = []
    for name, (make, _) in CORPUS.items():
        with tempfile.TemporaryDirectory() as folder:
            canary = Path(folder) / "canary"
            path = make(Path(folder) / "evil.ckpt", canary)
            try:
                checkpoint_foreign.read(path, ("state_dict",))
                told = "not refused"
            except VoiceError as error:
                told = str(error).replace(str(path), "FILE").replace("|", "\\|")
            rows.append([name, told, "yes" if canary.exists() else "no"])
    print(markdown_table(["evil checkpoint", "what is said", "run"], rows))


if __name__ == "__main__":
    main()
