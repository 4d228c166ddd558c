"""A file is there whole, or as it was before."""

from pathlib import Path

import pytest

from resing.whole import whole


def test_a_clean_exit_replaces_the_file(tmp_path: Path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with whole(path) as place:
        place.write_text("new")
        assert path.read_text() == "old" and place.parent == tmp_path
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_any_other_exit_leaves_everything_as_it_was(tmp_path: Path, error: type[BaseException]):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), whole(path) as place:
        place.write_text("half")
        raise error
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_missing_is_the_callers_business(tmp_path: Path):
    with pytest.raises(FileNotFoundError), whole(tmp_path / "none" / "a.txt") as place:
        place.write_text("x")
