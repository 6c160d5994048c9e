import numpy as np
import pytest

from exporter.corpus.beir import Corpus, read_corpus
from exporter.manifest import Manifest, TensorRecord
from exporter.parity.changed import SHOWN, Answers, changed_answers
from exporter.parity.parts import part_sizes
from exporter.vectors.rows import Vectors, as_rows
from exporter.vectors.search import measure, search
from parity_tests.conftest import write_corpus


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    return read_corpus(
        write_corpus(
            tmp_path_factory.mktemp("c") / "c",
            documents=[(f"d{i:02}", "", f"text {i}") for i in range(12)],
            queries=[(f"q{i:02}", f"asked {i}") for i in range(12)],
            qrels=[(f"q{i:02}", f"d{i:02}", "1") for i in range(12)],
        )
    )


def answers(corpus: Corpus, queries: Vectors, documents: Vectors) -> Answers:
    found = search(queries, documents)
    values = measure(found, doc_ids=corpus.doc_ids, query_ids=corpus.query_ids, qrels=corpus.qrels)[
        "mrr_at_10"
    ]
    return Answers(as_rows(queries), as_rows(documents), found, values)


def unit(vectors: np.ndarray) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def test_lost_answers_come_first_with_both_documents_and_their_gaps(corpus: Corpus) -> None:
    documents = np.eye(12, dtype=np.float32)
    right = unit(np.eye(12) + 0.1)
    wrong = right.copy()
    wrong[[3, 4]] = right[[4, 3]]  # each finds the other's article
    wrong[7] = unit((np.eye(12)[7] * 0.999 + np.eye(12)[8])[None])[0]
    found = changed_answers(
        answers(corpus, wrong, documents), answers(corpus, right, documents), corpus=corpus
    )
    assert [c.question for c in found] == ["q03", "q04", "q07"]
    first, near = found[0], found[-1]
    assert (first.reference_first, first.our_first) == ("d03", "d04")
    # Behind its own first it ties with all others, and three of these have smaller ids.
    assert (first.reference_rank, first.our_rank) == (1, 5)
    assert first.our_gap == pytest.approx(first.reference_gap, abs=1e-6)
    assert near.our_gap == pytest.approx(0.001 / np.sqrt(1 + 0.999**2), abs=1e-6)
    back = changed_answers(
        answers(corpus, right, documents), answers(corpus, wrong, documents), corpus=corpus
    )
    assert {c.our_rank for c in back} == {1}


def test_a_report_names_only_so_many_changes(corpus: Corpus) -> None:
    documents = np.eye(12, dtype=np.float32)
    right = unit(np.eye(12) + 0.1)
    ours, theirs = answers(corpus, right[::-1].copy(), documents), answers(corpus, right, documents)
    assert len(changed_answers(ours, theirs, corpus=corpus)) == SHOWN
    assert changed_answers(theirs, theirs, corpus=corpus) == ()


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("embed_tokens", "embedding table"),
        ("token_embd.weight", "embedding table"),
        ("layers.0.self_attn.q_norm.gain", "norms"),
        ("blk.0.attn_k_norm.weight", "norms"),
        ("layers.0.self_attn.qkv_proj_scale", "attention"),
        ("blk.3.attn_output.weight", "attention"),
        ("layers.0.mlp.down_proj", "MLP"),
        ("blk.3.ffn_up.weight", "MLP"),
        ("dense_folded", "head"),
        ("dense_2.weight", "head"),
        ("rotary_cos_full_attention", "attention"),
        ("onnx::MatMul_12", "other tensors"),
    ],
)
def test_a_tensor_belongs_to_the_part_its_name_says(name: str, part: str) -> None:
    tensor = TensorRecord(name=name, dtype="Q8_0", shape=(4, 32), bits_per_weight=8.5)
    manifest = Manifest.model_construct(
        format="onnx", tensors=(tensor,), files=(), entry="model.onnx"
    )  # no file: the tensor alone
    assert [(p.part, p.size_bytes) for p in part_sizes(manifest)] == [(part, 136)]
