"""Tables of vectors that exist already: opened, read at one version, searched exactly."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("lancedb")
import lancedb
import pyarrow as pa

from exporter.errors import BadInput
from exporter.tables import lance_table
from exporter.tables.columns import METADATA_KEY, Columns, parse_origin
from exporter.tables.lance_table import LanceTable
from exporter.tables.open_table import open_table
from exporter.tables.search import METRICS, scan_table, search_table
from parity_tests.foreign_table import DIM, random_rows, write_table


def ignore(done: int) -> None:
    del done


def opened(folder: Path, **columns: Any) -> LanceTable:
    return open_table(folder, table="laws_vectors", columns=Columns(**columns))


def search(table: LanceTable, queries: Any) -> Any:
    scan = scan_table(table, progress=ignore)
    found = search_table(table, scan, {"": queries}, progress=ignore)
    return {m: [[scan.ids[int(i)] for i in row] for row in found["", m]] for m in METRICS}


@pytest.mark.parametrize("unit", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float16", "float64"])
def test_exact_search_finds_what_lancedbs_own_exact_search_finds(
    tmp_path: Path, unit: bool, dtype: str
) -> None:
    rows, queries = random_rows(500, unit=unit), random_rows(40, seed=1)
    table = opened(write_table(tmp_path / "db", rows, dtype=dtype))
    found = search(table, queries)
    for metric in METRICS:
        assert found[metric] == table.search(queries, metric=metric, exact=True)
    if dtype != "float16":  # whose lengths are 1 only to a few digits
        assert (found["l2"] == found["cosine"]) == unit


def test_exact_search_by_l2_and_cosine_is_that_of_float64(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Several blocks, so that lists are carried from one to the next.
    monkeypatch.setattr(lance_table, "BLOCK_ROWS", 64)
    rows, queries = random_rows(300, unit=False), random_rows(20, seed=1)
    found = search(opened(write_table(tmp_path / "db", rows)), queries)
    x, q = rows.astype(np.float64), queries.astype(np.float64)
    l2 = ((q[:, None, :] - x[None, :, :]) ** 2).sum(axis=2)
    cosine = -(q @ (x / np.linalg.norm(x, axis=1, keepdims=True)).T)
    for metric, distance in (("l2", l2), ("cosine", cosine)):
        expected = [[f"d{i:03}" for i in np.argsort(row)[:10]] for row in distance]
        assert found[metric] == expected


def test_equal_vectors_tie_and_go_to_the_smaller_id_wherever_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lance_table, "BLOCK_ROWS", 16)
    rows = np.repeat(random_rows(3) * np.float32(1.7), 30, axis=0)
    ids = [f"d{(i * 37) % 90:03}" for i in range(90)]
    found = search(opened(write_table(tmp_path / "db", rows, ids=ids)), random_rows(1) * 1.0)
    for metric in METRICS:
        assert found[metric][0] == sorted(ids[:30])[:10]


def test_deleted_rows_are_not_found_and_ids_may_be_numbers(tmp_path: Path) -> None:
    rows = random_rows(50)
    folder = write_table(tmp_path / "db", rows, ids=list(range(50)))
    lancedb.connect(folder).open_table("laws_vectors").delete("chunk_id in (3, 4, 30)")
    table = opened(folder)
    assert table.rows == 47
    found = search(table, rows[[3, 5, 30]])
    assert found["l2"][1][0] == "5"
    assert not {"3", "4", "30"} & {i for metric in METRICS for row in found[metric] for i in row}


def test_a_table_smaller_than_ten_gives_all_it_has(tmp_path: Path) -> None:
    found = search(opened(write_table(tmp_path / "db", random_rows(3))), random_rows(2, seed=5))
    assert [len(row) for row in found["l2"]] == [3, 3]


def test_what_a_writer_adds_is_not_seen_and_is_noticed(tmp_path: Path) -> None:
    rows = random_rows(30)
    folder = write_table(tmp_path / "db", rows)
    table = opened(folder)
    before = search(table, rows[:5])
    other = lancedb.connect(folder).open_table("laws_vectors")
    other.delete("chunk_id = 'd000'")
    other.add(
        pa.table(
            {
                "chunk_id": ["new"],
                "vector": pa.FixedSizeListArray.from_arrays(pa.array(rows[0]), DIM),
            }
        )
    )
    assert table.latest_version() > table.version
    assert search(table, rows[:5]) == before
    assert search(opened(folder), rows[:1])["l2"][0][0] == "new"


@pytest.mark.parametrize(("value", "said"), [(np.nan, "NaN or infinite"), (0.0, "zero")])
def test_vectors_that_cannot_be_searched_are_refused_by_id_and_number(
    tmp_path: Path, value: float, said: str
) -> None:
    rows = random_rows(30)
    rows[[7, 9]] = value
    table = opened(write_table(tmp_path / "db", rows))
    with pytest.raises(BadInput, match=f"2 of 30 vectors cannot be searched.*'d007'.*{said}"):
        scan_table(table, progress=ignore)


def test_ids_that_repeat_or_are_missing_are_refused(tmp_path: Path) -> None:
    ids: list[str | None] = [f"d{i}" for i in range(8)]
    ids[5] = "d2"
    table = opened(write_table(tmp_path / "twice", random_rows(8), ids=ids))
    with pytest.raises(BadInput, match="1 ids in 'chunk_id' stand in several rows, first 'd2'"):
        scan_table(table, progress=ignore)
    ids[5] = None
    table = opened(write_table(tmp_path / "none", random_rows(8), ids=ids))
    with pytest.raises(BadInput, match="a row has no id in 'chunk_id'"):
        scan_table(table, progress=ignore)


def test_rows_without_a_vector_are_refused(tmp_path: Path) -> None:
    vectors = pa.array([[1.0] * DIM, None], pa.list_(pa.float32(), DIM))
    table = pa.table({"chunk_id": ["a", "b"], "vector": vectors})
    lancedb.connect(tmp_path / "db").create_table("laws_vectors", table, on_bad_vectors="null")
    with pytest.raises(BadInput, match="rows without a vector in 'vector'"):
        scan_table(opened(tmp_path / "db"), progress=ignore)


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"vector": "vectors"}, "unknown column 'vectors'; did you mean 'vector'"),
        ({"vector": "content"}, "'content' holds string, not vectors.*--vector-column vector"),
        ({"id": "chunkid"}, "unknown column 'chunkid'; did you mean 'chunk_id'"),
        ({"id": "vector"}, "'vector' holds fixed_size_list.*not ids"),
        ({"text": "contents"}, "unknown column 'contents'; did you mean 'content'"),
        ({"text": "chunk_no"}, "'chunk_no' holds int64, not text"),
    ],
)
def test_columns_that_are_not_there_or_hold_something_else_are_refused(
    tmp_path: Path, columns: dict[str, str], said: str
) -> None:
    folder = write_table(tmp_path / "db", random_rows(4), texts=["文"] * 4)
    lancedb.connect(folder).open_table("laws_vectors").add_columns(
        {"chunk_no": "cast(1 as bigint)"}
    )
    with pytest.raises(BadInput, match=said):
        opened(folder, **columns)


def test_a_table_that_is_not_there_or_is_empty_is_refused(tmp_path: Path) -> None:
    folder = write_table(tmp_path / "db", random_rows(4))
    with pytest.raises(BadInput, match="unknown table 'law_vectors'; did you mean 'laws_vectors'"):
        open_table(folder, table="law_vectors", columns=Columns())
    lancedb.connect(folder).open_table("laws_vectors").delete("true")
    with pytest.raises(BadInput, match="is empty"):
        opened(folder)


def test_a_path_that_is_no_database_is_refused_and_nothing_is_made_of_it(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none", "no such index"),
        (tmp_path, "is no LanceDB database"),
        (Path("s3://bucket/db"), "not a local folder"),
    ):
        with pytest.raises(BadInput, match=said):
            opened(path)
    (tmp_path / "x.lance").mkdir()
    with pytest.raises(BadInput, match="LanceDB cannot read"):
        open_table(tmp_path, table="x", columns=Columns())
    assert [p.name for p in tmp_path.iterdir()] == ["x.lance"]


def test_a_table_folder_itself_may_be_named(tmp_path: Path) -> None:
    folder = write_table(tmp_path / "db", random_rows(4), name="other")
    assert open_table(folder / "other.lance", table="laws_vectors", columns=Columns()).rows == 4


def test_metadata_that_cannot_be_read_is_taken_for_none() -> None:
    for written in (b"{", json.dumps({"schema_version": 9}).encode()):
        assert parse_origin({METADATA_KEY: written}) is None
    assert parse_origin(None) is None
