"""Train the bundled miniature on a CPU (a GPU is not needed).

    python -m parity_tests.miniature.train --just-laws just-laws.jsonl.gz --output FOLDER

Data: just-laws (https://github.com/ImCa0/just-laws at 5c000d28, MIT, 24,163 articles of Chinese
national law), and `lexicon.tsv` and `questions.jsonl` beside this file, written for the purpose.
Loss: MatryoshkaLoss (https://arxiv.org/abs/2205.13147) over multiple negatives ranking, both
directions, scale 25, dims 256, 128, 64.
"""

import argparse
import copy
import math
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
import sentencepiece
import torch
import torch.nn.functional as F
from scipy import sparse
from scipy.sparse.linalg import svds
from torch import Tensor

from parity_tests.layout import train_tokenizer, write_layout, write_tokenizer_files
from parity_tests.miniature.data import (
    ALL_CHARACTERS,
    CLAUSE,
    Article,
    LayLanguage,
    make_pair,
    noisy,
    read_articles,
    read_lexicon,
    read_questions,
    render,
    tokenizer_items,
)
from parity_tests.miniature.model import Miniature, Shape, backbone_and_dense

HERE = Path(__file__).parent
DIMS = (256, 128, 64)
SCALE = 25.0
VOCABULARY = 8600


def encode_texts(
    tokenizer: sentencepiece.SentencePieceProcessor, texts: Sequence[str], *, limit: int
) -> list[list[int]]:
    """Return ids with BOS and EOS, cut to `limit`."""
    return [[2, *ids[: limit - 2], 1] for ids in tokenizer.encode(list(texts))]


def embed(model: Callable[[Tensor], Tensor], rows: list[list[int]], *, chunk: int = 32) -> Tensor:
    """Return (n, hidden), computed in chunks of similar length."""
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    parts = []
    for start in range(0, len(order), chunk):
        part = [rows[i] for i in order[start : start + chunk]]
        width = max(map(len, part))
        parts.append(model(torch.tensor([r + [0] * (width - len(r)) for r in part])))
    back = torch.empty(len(order), dtype=torch.long)
    back[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(parts)[back]


def matryoshka_loss(q: Tensor, d: Tensor, same: Tensor) -> Tensor:
    """Mean over dims of the two-way ranking loss. q: (n, h), d: (m, h), the right one of row i is
    row i; `same` (n, m) marks other documents of the same article, which are no negatives."""
    n = len(q)
    total = torch.zeros(())
    for dim in DIMS:
        a, b = F.normalize(q[:, :dim], dim=1), F.normalize(d[:, :dim], dim=1)
        scores = (a @ b.T * SCALE).masked_fill(same, -1e4)
        target = torch.arange(n)
        total = total + F.cross_entropy(scores, target)
        total = total + 0.3 * F.cross_entropy(scores[:, :n].T, target)
    return total / len(DIMS)


def character_tables(texts: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """Return (homophones, traditional) for single characters; needs pypinyin and opencc."""
    from opencc import OpenCC
    from pypinyin import lazy_pinyin

    characters = sorted({c for text in texts for c in text if "\u4e00" <= c <= "\u9fff"})
    by_sound: dict[str, list[str]] = {}
    for c in characters:
        by_sound.setdefault(lazy_pinyin(c)[0], []).append(c)
    homophones = {c: "".join(x for x in same if x != c) for same in by_sound.values() for c in same}
    convert = OpenCC("s2t").convert
    return homophones, {c: convert(c) for c in characters}


def related_characters(
    tokenizer: sentencepiece.SentencePieceProcessor, texts: Sequence[str], *, size: int
) -> npt.NDArray[np.float32]:
    """Return (vocabulary, size) unit rows to start from: pieces that keep company lie together.

    Positive pointwise mutual information within clauses, cut by SVD (Levy and Goldberg, 2014);
    pieces that never occur get a random row.
    """
    count = tokenizer.get_piece_size()
    clauses = [c for text in texts for c in CLAUSE.split(text) if len(c) > 1]
    rows = [np.unique(ids) for ids in tokenizer.encode(clauses)]
    at = np.repeat(np.arange(len(rows)), [len(r) for r in rows])
    incidence = sparse.csr_matrix(
        (np.ones(len(at)), (at, np.concatenate(rows))), (len(rows), count)
    )
    together = (incidence.T @ incidence).tocoo()
    single = np.asarray(incidence.sum(axis=0)).ravel()
    information = np.log(together.data * len(rows) / (single[together.row] * single[together.col]))
    positive = sparse.csr_matrix(
        (np.maximum(information, 0), (together.row, together.col)), (count, count)
    )
    rng = np.random.default_rng(0)
    u, s, _ = svds(positive, k=size, v0=rng.standard_normal(count))
    vectors = u * np.sqrt(s)
    noise = rng.standard_normal(vectors.shape)
    vectors = np.where(single[:, None] > 0, vectors, noise)
    # A little noise keeps look-alikes apart.
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors += 0.3 * noise / np.linalg.norm(noise, axis=1, keepdims=True)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


class Draws:
    """Draws batches of tokenized pairs, ahead of the training step."""

    def __init__(
        self, articles: list[Article], questions: list[tuple[str, str]], lay: LayLanguage,
        chance: random.Random, tokenizer: sentencepiece.SentencePieceProcessor,
        homophones: dict[str, str], traditional: dict[str, str],
    ) -> None:  # fmt: skip
        self.articles, self.questions, self.lay, self.chance = articles, questions, lay, chance
        self.tokenizer, self.homophones, self.traditional = tokenizer, homophones, traditional
        self.by_id = {a.id: a for a in articles}
        self.by_law: dict[str, list[Article]] = {}
        for article in articles:
            self.by_law.setdefault(article.law, []).append(article)
        self.laws = sorted(self.by_law)

    def batch(self, size: int, share: float) -> tuple[list[list[int]], list[list[int]], Tensor]:
        """Return query rows, document rows (the right ones first) and the mask of equal texts.

        `share` is how much of the training is done: hand-written questions grow from 10 to 45 %.
        Of the imitated ones, part comes from six laws: neighbours are the hard negatives.
        """
        chance = self.chance
        queries: list[str] = []
        documents: list[str] = []
        extra: list[str] = []
        picked: set[str] = set()
        laws = chance.sample(self.laws, 6)
        while len(queries) < size:
            draw = chance.random()
            if draw < 0.10 + 0.35 * share:
                identifier, question = chance.choice(self.questions)
                article = self.by_id[identifier]
            else:
                near = draw > 0.65
                pool = self.by_law[chance.choice(laws)] if near else self.articles
                article = chance.choice(pool)
                question = self.lay.question(article)
            if article.id in picked:
                continue
            picked.add(article.id)
            query, right = make_pair(article, question, chance, local_rate=0.25)
            queries.append(
                noisy(query, chance, homophones=self.homophones, traditional=self.traditional)
            )
            documents.append(right[0])
            extra += right[1:]
        texts = documents + extra
        position = {t: i for i, t in enumerate(texts)}
        same = torch.zeros(size, len(texts), dtype=torch.bool)
        for i, text in enumerate(documents):
            if position[text] != i:
                same[i, position[text]] = True
        limit = 224 if chance.random() < 0.05 else 80
        rows_q = encode_texts(self.tokenizer, queries, limit=96)
        return rows_q, encode_texts(self.tokenizer, texts, limit=limit), same


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--just-laws", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=192)
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop the schedule early")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    torch.manual_seed(arguments.seed)

    articles = read_articles(arguments.just_laws)
    by_id = {a.id: a for a in articles}
    language = LayLanguage(read_lexicon(HERE / "lexicon.tsv"), chance)
    questions = [(i, q) for i, q in read_questions(HERE / "questions.jsonl") if i in by_id]
    homophones, traditional = character_tables([a.text for a in articles])
    print(f"{len(articles)} articles, {len(questions)} questions, {len(language.lexicon)} terms")

    output = arguments.output
    output.mkdir(parents=True, exist_ok=True)
    texts = [render(a.law, a.number, a.text) for a in articles] + [q for _, q in questions]
    texts += [lay for row in language.lexicon.values() for lay in row]
    texts += ["".join(traditional.get(c, c) for c in text) for text in texts]
    train_tokenizer(output, tokenizer_items([*texts, ALL_CHARACTERS]), vocab_size=VOCABULARY)
    write_tokenizer_files(output, max_tokens=512)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(output / "tokenizer.model"))

    shape = Shape(vocab=tokenizer.get_piece_size())
    model = Miniature(shape)
    with torch.no_grad():
        start = related_characters(tokenizer, [a.text for a in articles], size=shape.hidden)
        model.embed_tokens.weight.copy_(torch.from_numpy(start))
        for simple, other in traditional.items():
            a, b = tokenizer.piece_to_id(simple), tokenizer.piece_to_id(other)
            if simple != other and min(a, b) > 4:
                model.embed_tokens.weight[b] = model.embed_tokens.weight[a]
    average = copy.deepcopy(model)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, vocabulary {shape.vocab}")
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.dim() != 2 or "embed" in n]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}],
        lr=1.5e-3, betas=(0.9, 0.98), fused=True,
    )  # fmt: skip
    draws = Draws(articles, questions, language, chance, tokenizer, homophones, traditional)
    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(draws.batch, arguments.batch, 0.0)
        began = time.monotonic()
        step, running, share = 0, 0.0, 0.0
        while share < 1:
            minutes = (time.monotonic() - began) / 60
            share = max(step / arguments.steps, minutes / arguments.minutes)
            decay = 0.5 + 0.5 * math.cos(math.pi * min(1, share))
            for group in optimizer.param_groups:
                group["lr"] = max(1.5e-3 * min(1, (step + 1) / 100) * decay, 1e-5)
            rows_q, rows_d, same = pending.result()
            pending = ahead.submit(draws.batch, arguments.batch, share)
            with torch.autocast("cpu", dtype=torch.bfloat16):
                vectors = embed(model, rows_q + rows_d)
            q, d = vectors[: len(rows_q)].float(), vectors[len(rows_q) :].float()
            loss = matryoshka_loss(q, d, same)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            keep = min(0.998, step / (step + 20))
            with torch.no_grad():
                for kept, now in zip(average.parameters(), model.parameters(), strict=True):
                    kept.lerp_(now, 1 - keep)
            running = loss.item() if step == 0 else 0.98 * running + 0.02 * loss.item()
            step += 1
            if step % 50 == 0 or step in (1, 5, 10, 20):
                pace = (time.monotonic() - began) / step
                print(f"step {step} loss {running:.3f} {pace:.2f} s/step", flush=True)
            if step % 200 == 0:
                save(average, output)
    save(average, output)
    print(f"{step} steps of {arguments.batch} pairs, final loss {running:.3f}")


def save(model: Miniature, output: Path) -> None:
    """Write the averaged weights in EmbeddingGemma's layout, with the window as trained."""
    s = model.s
    state = {k: v.detach() for k, v in model.state_dict().items()}
    backbone, dense = backbone_and_dense(state)
    write_layout(
        output, {k: v.numpy() for k, v in backbone.items()}, (dense[0].numpy(), dense[1].numpy()),
        layers=s.layers, hidden=s.hidden, heads=s.heads, head_dim=s.head_dim,
        intermediate=s.intermediate, vocab=s.vocab, window=s.window, max_tokens=s.max_tokens,
        matryoshka_dims=DIMS,
    )  # fmt: skip


if __name__ == "__main__":
    main()
