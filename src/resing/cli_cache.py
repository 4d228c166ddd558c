"""`resing cache`: how much is kept for the next time, and a way to be rid of it."""

from cyclopts import App

from resing.cli_output import Json, say, show_json, show_table

app = App(name="cache", help="What is kept so that it need not be worked out again: its size, or clear it.")
KINDS = {
    "heard": "notes and words of songs",
    "stems": "songs taken apart",
    "scoring": "measures of scored files",
    "takes": "songs as they were sung, for --pitch-file",
}


@app.default
def show(*, json: Json = False) -> None:
    """Show how much is kept, by kind."""
    from resing import cache

    held = cache.size()
    if json:
        show_json({"folder": str(cache.folder()), "kinds": {k: vars(v) for k, v in held.items()}})
        return
    if held:
        rows = [[k, str(v.files), megabytes(v.bytes), KINDS.get(k, "")] for k, v in held.items()]
        show_table(["kind", "files", "size", ""], rows)
    total = megabytes(sum(v.bytes for v in held.values()))
    say(f"{cache.folder()} holds {total}; at most {megabytes(cache.LARGEST_BYTES)} are kept.")


@app.command
def clear(*, json: Json = False) -> None:
    """Delete everything kept; your voices and outputs stay."""
    from resing import cache

    before = sum(v.bytes for v in cache.size().values())
    cache.clear()
    left = sum(v.bytes for v in cache.size().values())
    if json:
        show_json({"folder": str(cache.folder()), "freed_bytes": before - left, "left_bytes": left})
    say(f"Freed {megabytes(before - left)} in {cache.folder()}.")


def megabytes(count: int) -> str:
    """Bytes in words: "12.3 MB"."""
    return f"{count / 1e6:,.1f} MB"
