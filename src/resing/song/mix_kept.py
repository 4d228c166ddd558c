"""How a lead was placed in a song, kept so that after a change of its melody the rest of the mix stays."""

import contextlib
import json
from dataclasses import asdict

from resing import cache
from resing.config import MixOptions
from resing.conversion import MELODIC
from resing.conversion_record import ConversionRecord
from resing.song.mix import MixReport
from resing.whole import whole


def name_of(record: ConversionRecord, options: MixOptions) -> str:
    """Hash of all that decides a mix except the melody.

    Args:
        record: of the lead, as it was sung from the separated one.
        options: of the mix.
    """
    models = record.voice_hash, record.encoder_id, record.base_hash, record.vocoder_id, record.rendering
    how = {key: value for key, value in record.options.items() if key not in MELODIC}
    return cache.key("mix", record.source_sha256, models, sorted(how.items()), options.model_dump_json())


def keep(name: str, report: MixReport) -> None:
    """Keep what was done; where that cannot be written nothing is kept."""
    with contextlib.suppress(OSError), whole(cache.entry("takes", f"{name}.json")) as temporary:
        temporary.write_text(json.dumps(asdict(report)), encoding="utf-8")


def find(name: str) -> MixReport | None:
    """What was done under that name before."""
    path = cache.entry("takes", f"{name}.json")
    try:
        found = MixReport.of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    cache.used(path)
    return found
