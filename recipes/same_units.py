"""Let voices go on with an encoder that was trained to say what the one before it said.

    python recipes/same_units.py --encoder src/resing/weights/content.safetensors src/resing/weights/voices/*

Only for an encoder of `recipes/content.py --again 1`, and only if the scorecard agrees: the voices' cards get
its id and hash, their weights stay.
"""

import argparse
from pathlib import Path

from resing import checkpoint


def main() -> None:
    """Rewrite the cards."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("voices", type=Path, nargs="+")
    parser.add_argument("--encoder", type=Path, required=True)
    options = parser.parse_args()
    encoder_id = checkpoint.read_metadata(options.encoder)["id"]
    for path in options.voices:
        tensors, metadata = checkpoint.load(path)
        known = {"encoder_id": encoder_id, "encoder_hash": checkpoint.file_hash(options.encoder)}
        checkpoint.save(path, tensors, metadata | {"card": metadata["card"] | known})
        print(path.stem, encoder_id)


if __name__ == "__main__":
    main()
