"""evaluation.json: what a checkpoint finds, beside what another finds."""

from typing import Literal

from exporter.parity.measured import Differences, Interval, McNemar
from exporter.records import Record
from exporter.tables.judgement import OriginCheck


class EvaluatedModel(Record):
    """A checkpoint in torch bf16, with its prompts. Means over the questions."""

    name: str
    checkpoint_files: dict[str, str]
    query_prompt: str
    document_prompt: str
    window_used: int | None
    hit_at_10: Interval
    top_1: Interval
    mrr_at_10: Interval
    ndcg_at_10: Interval


class QuestionRanks(Record):
    """A question, the place of its first right answer among the ten, None where it is not there.

    `first`: the document that the checkpoint puts first.
    """

    id: str
    question: str
    answers: tuple[str, ...]
    first: str
    rank: int | None
    base_rank: int | None


class Evaluation(Record):
    """The whole of it. `differences`: the checkpoint's minus the base's, question by question.

    `dim`: of the checkpoint's vectors. `table`: where the documents' vectors came from, None for
    embedded here; `origin` then says whether it was made with this checkpoint.
    """

    schema_version: Literal[2] = 2
    tool_version: str
    libraries: dict[str, str]
    corpus: str
    corpus_sha256: str
    documents: int
    questions: int
    dim: int
    table: str | None
    origin: OriginCheck | None
    model: EvaluatedModel
    base: EvaluatedModel | None
    differences: Differences | None
    mcnemar: McNemar | None
    """On Top-1."""
    ranks: tuple[QuestionRanks, ...]
