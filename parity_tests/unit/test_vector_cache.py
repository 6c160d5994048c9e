"""Vectors survive a run, and damage to the files is noticed."""

from pathlib import Path

import numpy as np
import pytest

from exporter.errors import BadInput
from exporter.vectors.cache import RECORD, opened, text_keys

IDENTITY = {"checkpoint": "a", "window": 512}
TEXTS = [f"第{i}条" for i in range(20)]
ROWS = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)


def fill(folder: Path, *, count: int = 20) -> None:
    with opened(folder, identity=IDENTITY, dim=6) as cache:
        cache.append(text_keys(TEXTS[: count // 2]), ROWS[: count // 2])
        cache.append(text_keys(TEXTS[count // 2 : count]), ROWS[count // 2 : count])


def file_of(folder: Path, suffix: str) -> Path:
    return next(folder.glob(f"*.{suffix}"))


def found(folder: Path) -> list[int]:
    """Return which texts are known, having checked that their rows are right."""
    with opened(folder, identity=IDENTITY, dim=6) as cache:
        places = cache.places(text_keys(TEXTS))
        known = np.flatnonzero(places >= 0)
        assert (cache.vectors()[places[known]] == ROWS[known]).all()
        return known.tolist()


def test_rows_come_back_by_their_text_in_any_order(tmp_path: Path) -> None:
    fill(tmp_path)
    with opened(tmp_path, identity=IDENTITY, dim=6) as cache:
        places = cache.places(text_keys([TEXTS[13], "unknown", TEXTS[2]]))
        assert places.tolist() == [13, -1, 2]
        assert len(cache) == 20


def test_another_checkpoint_window_or_width_shares_nothing(tmp_path: Path) -> None:
    fill(tmp_path)
    for identity, dim in (
        ({**IDENTITY, "checkpoint": "b"}, 6),
        ({**IDENTITY, "window": 257}, 6),
        (IDENTITY, 5),
    ):
        with opened(tmp_path, identity=identity, dim=dim) as cache:
            assert (cache.places(text_keys(TEXTS)) == -1).all()


@pytest.mark.parametrize("suffix", ["f32", "keys"])
@pytest.mark.parametrize("lost", [1, 23, 24, 100])
def test_a_file_cut_off_loses_its_tail_and_takes_new_rows(
    tmp_path: Path, suffix: str, lost: int
) -> None:
    fill(tmp_path)
    path = file_of(tmp_path, suffix)
    path.write_bytes(path.read_bytes()[:-lost])
    width = 24 if suffix == "f32" else RECORD.itemsize
    kept = 20 - -(-lost // width)
    assert found(tmp_path) == list(range(kept))
    with opened(tmp_path, identity=IDENTITY, dim=6) as cache:
        cache.append(text_keys(TEXTS[kept:]), ROWS[kept:])
    assert found(tmp_path) == list(range(20))


def test_a_damaged_row_is_not_found_and_can_be_replaced(tmp_path: Path) -> None:
    fill(tmp_path)
    path = file_of(tmp_path, "f32")
    data = bytearray(path.read_bytes())
    data[7 * 24 + 3] ^= 1
    path.write_bytes(data)
    assert found(tmp_path) == [i for i in range(20) if i != 7]
    with opened(tmp_path, identity=IDENTITY, dim=6) as cache:
        cache.append(text_keys(TEXTS[7:8]), ROWS[7:8])
    assert found(tmp_path) == list(range(20))


def test_a_missing_file_of_rows_means_an_empty_cache(tmp_path: Path) -> None:
    fill(tmp_path)
    file_of(tmp_path, "f32").unlink()
    assert found(tmp_path) == []


def test_two_runs_at_once_are_refused(tmp_path: Path) -> None:
    with opened(tmp_path, identity=IDENTITY, dim=6), pytest.raises(BadInput, match="another run"):
        opened(tmp_path, identity=IDENTITY, dim=6).__enter__()
    fill(tmp_path)


def test_rows_of_another_width_are_a_defect(tmp_path: Path) -> None:
    with (
        opened(tmp_path, identity=IDENTITY, dim=6) as cache,
        pytest.raises(ValueError, match=r"\(20, 5\)"),
    ):
        cache.append(text_keys(TEXTS), ROWS[:, :5])
