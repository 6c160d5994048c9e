"""golden.json: texts with their ids and vectors, by which any copy of an artifact is checked."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from exporter import __version__
from exporter.checkpoint.records import Prompts
from exporter.recipe import CLASS_OF_SCHEME
from exporter.records import Record
from exporter.runtimes.encoder import Encoder, Vectors

# Written for this file: short, long, Chinese legal, and the odd ones where runtimes differ.
GOLDEN_QUERIES = (
    "押金",
    "房东一直拖着不退押金怎么办",
    "老板拖欠三个月工资，去哪里投诉？",
    "The landlord kept my deposit. What can I do?",
    "１２３　全角与 half-width 混排",
    "網上買的東西壞了，商家不給退",
    "第一行\n第二行",
    "emoji 😀 与生僻字 𠮷",
)
GOLDEN_DOCUMENTS = (
    (
        "住房租赁示例条例 第三条",
        "第三条 押金应当在租赁关系终止后七日内退还；逾期的，按日支付利息。",
    ),
    (
        "示例办法 第九条",
        "第九条 经营者应当如实记录下列事项，保存不少于三年：\n（一）商品名称、数量和来源；\n"
        "（二）交易时间和对方名称；\n（三）售后处理的过程和结果。"
        + "前款记录可以采用电子形式，但应当能够随时调取查用，并保证内容完整、未被改动。"
        * 8,
    ),
)
PARAGRAPH = (
    "出租人收取押金的，应当在合同中写明数额、用途和退还期限；租赁期满，房屋及设施无损坏的，"
    "出租人应当自承租人交还房屋之日起七日内全额退还。逾期不退的，按日支付利息。"
)
SIGNIFICANT_DIGITS = 7
Floats = Sequence[float]
OWN_MIN = 0.9999  # fp32, fp16 and GGUF in any build of their runtime
# Integer kernels differ from processor to processor and between onnxruntime and a browser's.
OWN_MIN_LOW_BITS = 0.999


class GoldenText(Record):
    """One text as it is encoded, prompt applied; vectors have unit length."""

    kind: str
    text: str
    token_ids: tuple[int, ...]
    vector: tuple[float, ...]
    reference: tuple[float, ...]
    cosine_to_reference: float


class Golden(Record):
    """All golden texts of one artifact, and what a copy must reach on them."""

    schema_version: Literal[1] = 1
    tool_version: str = __version__
    artifact: str
    query_prompt: str
    document_prompt: str
    cosine_to_own_min: float
    cosine_to_reference_min: float
    texts: tuple[GoldenText, ...]


def own_minimum(kind: str, scheme: str) -> float:
    """Return the least cosine between an artifact's vector at home and in a copy."""
    low = CLASS_OF_SCHEME.get(scheme) in ("8bit", "6bit", "4bit")
    return OWN_MIN_LOW_BITS if low and kind != "gguf" else OWN_MIN


def build_golden(
    encoder: Encoder, reference: Encoder, prompts: Prompts, *, own_min: float = OWN_MIN
) -> Golden:
    """Encode the golden texts with the artifact and with the fp32 reference.

    One text more is made to measure, so long that the reference cuts it: there a runtime that
    loses EOS by truncation shows.
    """
    rendered = [("query", prompts.render_query(q)) for q in GOLDEN_QUERIES]
    rendered += [
        ("document", prompts.render_document(text, title=title)) for title, text in GOLDEN_DOCUMENTS
    ]
    rendered.append(("document", _cut_text(reference, prompts)))
    texts = [text for _, text in rendered]
    vectors, truth = encoder.encode(texts), reference.encode(texts)
    cosines = (vectors.astype(np.float64) * truth).sum(axis=1)
    ids = encoder.token_ids(texts)
    entries = tuple(
        GoldenText(
            kind=kind,
            text=text,
            token_ids=tuple(ids[i]),
            vector=_rounded(vectors[i]),
            reference=_rounded(truth[i]),
            cosine_to_reference=round(float(cosines[i]), SIGNIFICANT_DIGITS),
        )
        for i, (kind, text) in enumerate(rendered)
    )
    return Golden(
        artifact=encoder.name,
        query_prompt=prompts.query,
        document_prompt=prompts.document,
        cosine_to_own_min=own_min,
        cosine_to_reference_min=_reached_by_copies(float(cosines.min()), own_min),
        texts=entries,
    )


def _cut_text(reference: Encoder, prompts: Prompts) -> str:
    """Return a document, no paragraph like another, that gives no more tokens when doubled."""
    count, before, tokens = 1, 0, 1
    text = ""
    while tokens > before:
        parts = [f"第{i}款　{PARAGRAPH}" for i in range(1, count + 1)]
        text = prompts.render_document("\n".join(parts), title="示例办法 第十一条")
        before, tokens = tokens, len(reference.token_ids([text])[0])
        count *= 2
    return text


def _reached_by_copies(cosine: float, own_min: float) -> float:
    """Return what a vector within `own_min` of the artifact's own still reaches: angles add."""
    angle = math.acos(max(-1.0, min(1.0, cosine))) + math.acos(own_min)
    return math.floor(math.cos(min(math.pi, angle)) * 1e6) / 1e6


def _rounded(vector: Sequence[float] | np.ndarray[tuple[int], np.dtype[np.float32]]) -> tuple[
    float, ...
]:  # fmt: skip
    return tuple(float(f"{float(v):.{SIGNIFICANT_DIGITS}g}") for v in vector)


def check_golden(golden: Golden, encoder: Encoder) -> list[str]:
    """Return one line for each thing in which `encoder` is not the artifact that was packaged.

    Token ids must be equal, the cosine to the artifact's own vectors and to the reference must
    reach the recorded minima. An empty list means the copy is good.
    """
    texts = [entry.text for entry in golden.texts]
    return check_answers(golden, encoder.token_ids(texts), encoder.encode(texts))


def check_answers(
    golden: Golden, ids: Sequence[Sequence[int]] | None, vectors: Sequence[Floats] | Vectors
) -> list[str]:
    """The same for answers that are there already. vectors: (n, dim), unit rows; ids None where
    the consumer does not show them."""
    failures = []
    if len(vectors) != len(golden.texts):
        return [f"{len(vectors)} vectors for {len(golden.texts)} texts"]
    for i, (entry, vector) in enumerate(zip(golden.texts, vectors, strict=True)):
        shown = entry.text if len(entry.text) <= 40 else entry.text[:39] + "…"
        if ids is not None and tuple(ids[i]) != entry.token_ids:
            failures.append(f"other token ids for {shown!r}")
        if len(vector) != len(entry.vector):
            failures.append(f"{len(vector)} dimensions instead of {len(entry.vector)}")
            break
        for label, expected, least in (
            ("its own vector", entry.vector, golden.cosine_to_own_min),
            ("the reference", entry.reference, golden.cosine_to_reference_min),
        ):
            other = np.asarray(expected, np.float64)
            cosine = float(np.asarray(vector, np.float64) @ other / np.linalg.norm(other))
            # Written so that NaN fails.
            if not cosine >= least:
                failures.append(f"cosine {cosine:.6f} to {label} is under {least} for {shown!r}")
    return failures
