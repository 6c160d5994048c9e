"""`lawvault doctor` on real tables: LanceDB, Parquet and .npy, sound and damaged."""

import json
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

for module in ("sentence_transformers", "lancedb", "pyarrow"):
    pytest.importorskip(module)
import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from exporter.checkpoint.read import read_checkpoint  # noqa: E402
from exporter.cli.main import main  # noqa: E402
from exporter.corpus.beir import read_documents  # noqa: E402
from exporter.runtimes.torch_reference import TorchReference  # noqa: E402
from parity_tests.conftest import LAWVAULT_PROMPTS, MINIATURE  # noqa: E402
from parity_tests.foreign_table import write_table  # noqa: E402
from parity_tests.tiny_corpus import make_tiny_corpus  # noqa: E402

PROMPT = LAWVAULT_PROMPTS.document
COUNT = 24


class Desk:
    """The miniature's vectors of sixty texts, short and long, and what mistakes make of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoint = read_checkpoint(MINIATURE, prompts=LAWVAULT_PROMPTS)
        found = list(
            read_documents(
                make_tiny_corpus(folder / "corpus", documents=COUNT, questions=4)
            ).items()
        )
        # Every other text is long enough for the window and for what is cut at 64 tokens.
        self.rows = [
            (key, title, text if i % 2 else "\n".join([f"第{i}条 {text}"] * 12))
            for i, (key, (title, text)) in enumerate(found)
        ]
        with closing(TorchReference(self.checkpoint, dtype="float32")) as encoder:
            self.encoder = encoder
            self.right = self.embed(PROMPT)
            self.other_prompt = self.embed("title: none | text: {text}")
            tokens = encoder.token_ids(self.texts(PROMPT))
            self.long = [i for i, row in enumerate(tokens) if len(row) > 64]
            self.cut = np.concatenate(
                [
                    encoder.encode_padded(
                        [[*t[:63], t[-1]] if len(t) > 64 else t], width=min(64, len(t))
                    )
                    for t in tokens
                ]
            )
            self.no_end = np.concatenate(
                [encoder.encode_padded([t[:-1]], width=len(t) - 1) for t in tokens]
            )
        used = self.checkpoint.window_used
        assert used is not None
        with closing(TorchReference(self.checkpoint, dtype="float32", reach=used)) as encoder:
            self.wide_window = encoder.encode(self.texts(PROMPT))
        with closing(TorchReference(self.checkpoint, dtype="bfloat16")) as encoder:
            self.bf16 = encoder.encode(self.texts(PROMPT))

    def texts(self, prompt: str) -> list[str]:
        return [prompt.replace("{title}", t).replace("{text}", x) for _, t, x in self.rows]

    def embed(self, prompt: str) -> Any:
        return self.encoder.encode(self.texts(prompt))

    def npy(self, name: str, vectors: Any, rows: Any = None) -> Path:
        path = self.folder / f"{name}.npy"
        np.save(path, vectors)
        lines = [{"_id": i, "title": t, "text": x} for i, t, x in rows or self.rows]
        path.with_suffix(".jsonl").write_text(
            "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), "utf-8"
        )
        return path

    def parquet(self, name: str, vectors: Any, **columns: Any) -> Path:
        path = self.folder / f"{name}.parquet"
        ids, titles, texts = (list(column) for column in zip(*self.rows, strict=True))
        pq.write_table(
            pa.table(
                {"_id": ids, "title": titles, "text": texts, "vector": list(vectors), **columns}
            ),
            path,
        )
        return path


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    return Desk(tmp_path_factory.mktemp("desk"))


def doctor(path: Path, *more: object) -> int:
    arguments = [
        "doctor",
        path,
        "--checkpoint",
        MINIATURE,
        "--recipe",
        "lawvault",
        "--quiet",
        "--sample",
        0,
        *more,
    ]
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def found(path: Path, capsys: pytest.CaptureFixture[str], *more: object) -> tuple[int, Any]:
    code = doctor(path, "--json", *more)
    return code, json.loads(capsys.readouterr().out)


def test_a_sound_table_is_called_sound_wherever_it_lies(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ids, titles, texts = (list(column) for column in zip(*desk.rows, strict=True))
    write_table(
        tmp_path / "db", desk.right, name="laws_vectors", ids=ids, titles=titles, texts=texts
    )
    columns = ("--text-column", "content", "--title-column", "law")
    for path, more in (
        (tmp_path / "db", columns),
        (desk.parquet("sound", desk.right), ()),
        (desk.npy("sound", desk.right), ()),
    ):
        assert doctor(path, *more) == 0
        said = capsys.readouterr().out
        assert f"{COUNT} rows of {desk.checkpoint.dim} dimensions" in said
        assert said.splitlines()[-1].startswith("sound")


def test_tables_of_16_bits_are_sound(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(desk.npy("bf16", desk.bf16)) == 0
    assert doctor(desk.npy("half", desk.right.astype(np.float16))) == 0
    assert "problem" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "said", "least"),
    [
        ("other_prompt", "texts with the prompt 'title: none | text: {text}'", 8),
        ("cut", "texts cut at 64 tokens", 8),
        ("no_end", "texts without their end token", 3),
        ("wide_window", "a model whose sliding window is twice as wide", 4),
    ],
)
def test_rows_that_a_mistake_made_are_counted_and_named(
    desk: Desk, capsys: pytest.CaptureFixture[str], name: str, said: str, least: int
) -> None:
    spoilt = desk.long[:8]
    vectors = desk.right.copy()
    vectors[spoilt] = getattr(desk, name)[spoilt]
    code, report = found(desk.npy(name, vectors), capsys)
    assert code == 1
    (problem,) = report["problems"]
    assert problem["said"] == f"hold the vectors of {said}"
    assert set(problem["ids"]) <= {desk.rows[i][0] for i in spoilt}
    # The rest lies no farther off than torch bf16 may.
    assert (problem["rows"] >= least, problem["asked"]) == (True, COUNT)


def test_another_model_another_rows_text_and_low_precision_are_told_apart(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vectors = desk.right.copy()
    vectors[[2, 4, 6]] = desk.right[[4, 6, 2]]
    noise = np.random.default_rng(0).standard_normal(vectors.shape).astype(np.float32)
    vectors[[1, 3]] = noise[[1, 3]] / np.linalg.norm(noise[[1, 3]], axis=1, keepdims=True)
    code, report = found(desk.npy("mixed", vectors), capsys)
    assert code == 1
    by_kind = {p["said"].split(" (")[0]: p["ids"] for p in report["problems"]}
    assert sorted(by_kind["hold the vectors of the texts of other rows"]) == sorted(
        desk.rows[i][0] for i in (2, 4, 6)
    )
    assert by_kind["do not hold the vector of their text"] == [desk.rows[i][0] for i in (1, 3)]
    coarse = desk.right + noise * (0.12 / np.sqrt(desk.right.shape[1]))
    code, report = found(desk.npy("coarse", coarse), capsys)
    assert code == 1
    assert "made by a model of lower precision" in report["problems"][0]["said"]


def test_rows_that_no_model_is_needed_for(desk: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    vectors: list[Any] = list(desk.right.copy())
    vectors[0], vectors[1] = None, np.zeros_like(vectors[1])
    vectors[2] = np.full_like(vectors[2], np.nan)
    vectors[9] = vectors[7]
    vectors[11] = 2 * vectors[11]
    ids = [key for key, _, _ in desk.rows]
    ids[5] = ids[3]
    code, report = found(desk.parquet("broken", vectors, _id=ids), capsys)
    assert code == 1
    rows = {p["kind"]: (p["rows"], p["severity"]) for p in report["problems"]}
    assert rows["missing"] == (2, "problem")
    assert rows["zero"] == (1, "problem")
    assert rows["repeated-id"] == (2, "problem")
    assert rows["one-vector"] == (2, "problem")
    assert rows["length"] == (1, "note")


def test_a_table_without_texts_is_looked_at_and_says_so(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "bare.parquet"
    pq.write_table(pa.table({"_id": ["a", "b"], "vector": list(desk.right[:2])}), path)
    assert doctor(path) == 0
    assert "not compared with the model: no texts are known" in capsys.readouterr().out


def test_the_terminal_shows_five_ids_and_a_file_gets_all(
    desk: Desk, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = desk.npy("all_other", desk.other_prompt)
    assert doctor(path, "--output", tmp_path / "d.json") == 1
    said = capsys.readouterr().out
    assert f"problem: at least {COUNT} rows hold the vectors of texts with the prompt" in said
    assert ", …)" in said
    assert len(json.loads((tmp_path / "d.json").read_text())["problems"][0]["ids"]) == COUNT


def spoil_width(desk: Desk) -> Path:
    return desk.npy("narrow", desk.right[:, :20])


def spoil_count(desk: Desk) -> Path:
    return desk.npy("short", desk.right[:-1])


def spoil_ids(desk: Desk) -> Path:
    path = desk.folder / "no_ids.parquet"
    pq.write_table(pa.table({"text": ["a"], "vector": list(desk.right[:1])}), path)
    return path


def spoil_texts(desk: Desk) -> Path:
    path = desk.npy("alone", desk.right)
    path.with_suffix(".jsonl").unlink()
    return path


def spoil_file(desk: Desk) -> Path:
    path = desk.folder / "x.parquet"
    path.write_bytes(b"PAR1 is not enough")
    return path


def spoil_matrix(desk: Desk) -> Path:
    return desk.npy("ints", np.ones((COUNT, 4), np.int32))


def spoil_ragged(desk: Desk) -> Path:
    return desk.parquet("ragged", [*desk.right[:-1], desk.right[-1][:10]])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_width, "holds vectors of 20 dimensions"),
        (spoil_count, "has 24 records"),
        (spoil_ids, "unknown column '_id'"),
        (spoil_texts, "pass --texts FILE.jsonl"),
        (spoil_file, "is no Parquet file"),
        (spoil_matrix, "not rows of vectors"),
        (spoil_ragged, "has a vector of 10 dimensions"),
        (lambda desk: desk.folder / "nowhere.npy", "no such file"),
        (lambda desk: desk.folder / "nowhere", "no such index"),
    ],
)
def test_what_is_no_table_is_refused_in_one_line(
    desk: Desk, capsys: pytest.CaptureFixture[str], spoil: Callable[[Desk], Path], said: str
) -> None:
    assert doctor(spoil(desk)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert said in line
