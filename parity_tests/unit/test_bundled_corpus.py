import collections
import json
import re

import numpy as np
import pytest

from exporter.corpus.beir import read_corpus
from exporter.corpus.bm25 import rank_by_bm25
from exporter.vectors.search import means, measure
from parity_tests.conftest import BUNDLED_CORPUS, REPOSITORY

NUMERALS = re.compile(r"[0-9０-９一二三四五六七八九十百千万两零〇]+")
TRAINING = REPOSITORY / "parity_tests" / "miniature"


def rows(name: str) -> list[dict[str, object]]:
    lines = (BUNDLED_CORPUS / name).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def grams(text: str, size: int) -> set[str]:
    bare = "".join(c for c in text if c.isalnum())
    return {bare[i : i + size] for i in range(len(bare) - size + 1)}


def test_it_has_the_promised_size_and_one_answer_a_question() -> None:
    corpus = read_corpus(BUNDLED_CORPUS)
    assert len(corpus.doc_ids) >= 600
    assert len(corpus.query_ids) == 600
    assert all(len(answers) == 1 for answers in corpus.qrels.values())
    assert {next(iter(answers)) for answers in corpus.qrels.values()} == set(corpus.doc_ids)
    assert len(set(corpus.titles)) == len(corpus.titles)


def test_every_answer_has_two_look_alikes_at_another_level() -> None:
    documents = {d["_id"]: d["metadata"] for d in rows("corpus.jsonl")}
    for answers in read_corpus(BUNDLED_CORPUS).qrels.values():
        own = documents[next(iter(answers))]
        others = [
            m
            for m in documents.values()
            if m["family"] == own["family"] and m["level"] != own["level"]  # type: ignore[index]
        ]
        assert len(others) >= 2, own


def test_questions_come_in_all_styles() -> None:
    styles = collections.Counter(q["metadata"]["style"] for q in rows("queries.jsonl"))  # type: ignore[index]
    assert set(styles) == {
        "colloquial",
        "long",
        "numbers",
        "typo",
        "fullwidth",
        "traditional",
        "latin",
    }
    assert min(styles.values()) >= 5


def test_no_sentence_frame_is_in_more_than_2_percent_of_the_articles() -> None:
    documents = rows("corpus.jsonl")
    seen: dict[tuple[str, str], set[int]] = collections.defaultdict(set)
    for i, document in enumerate(documents):
        body = re.sub(r"^第\S*条 ?", "", str(document["text"]))
        for sentence in re.split(r"[。；\n]", body):
            masked = NUMERALS.sub("#", sentence.strip())
            if len(masked) < 6:
                continue
            seen["opening", masked[:5]].add(i)
            seen["ending", masked[-6:]].add(i)
            for start in range(len(masked) - 7):
                seen["frame", masked[start : start + 8]].add(i)
    worst = max(seen.items(), key=lambda item: len(item[1]))
    assert len(worst[1]) <= 0.02 * len(documents), worst[0]


def test_bm25_is_neither_helpless_nor_enough() -> None:
    corpus = read_corpus(BUNDLED_CORPUS)
    values = measure(
        rank_by_bm25(corpus), doc_ids=corpus.doc_ids, query_ids=corpus.query_ids, qrels=corpus.qrels
    )
    assert 0.35 <= means(values).mrr_at_10 <= 0.75


def test_lengths_spread_as_statutes_do() -> None:
    lengths = np.array([len(str(d["text"])) for d in rows("corpus.jsonl")])
    assert 25 <= np.percentile(lengths, 5) <= 60
    assert 60 <= np.median(lengths) <= 120
    assert 200 <= np.percentile(lengths, 95) <= 350
    assert lengths.max() > 400


@pytest.mark.parametrize("name", ["questions.jsonl", "lexicon.tsv"])
def test_no_question_was_trained_on(name: str) -> None:
    trained: set[str] = set()
    for line in (TRAINING / name).read_text(encoding="utf-8").splitlines():
        trained |= grams(json.loads(line)["question"] if name.endswith("l") else line, 8)
    for question in rows("queries.jsonl"):
        assert not grams(str(question["text"]), 8) & trained, question["text"]
