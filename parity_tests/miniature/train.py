"""Train the bundled miniature on a CPU (a GPU is not needed).

    python -m parity_tests.miniature.train --just-laws just-laws.jsonl.gz --output FOLDER

Data: just-laws (https://github.com/ImCa0/just-laws at 5c000d28, MIT, 24,163 articles of Chinese
national law); `lexicon.tsv` and `questions.jsonl` beside this file, written for the purpose; and
the articles, never the questions, of the corpus that the model is to serve, as LawVault was trained
on the statutes that its index holds.
Loss: MatryoshkaLoss (https://arxiv.org/abs/2205.13147) over multiple negatives ranking, both
directions, scale 25, dims 256, 128, 64.
"""

import argparse
import copy
import json
import math
import random
import re
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
from torch import Tensor, nn

from parity_tests.conftest import BUNDLED_CORPUS
from parity_tests.layout import train_tokenizer, write_layout, write_tokenizer_files
from parity_tests.miniature.data import (
    ALL_CHARACTERS,
    BY_PLACE,
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
INDEXED_COPIES = 36.0  # of each article of the corpus to serve: as many rows as just-laws has
PLACE = re.compile(r"^([^市县区州省]{2,4})(省|市|自治州|县|自治区|区)")


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


def name_place(question: str, article: Article, chance: random.Random) -> str:
    """Return the question with the place whose regulation `article` is, half of the time."""
    place = PLACE.match(article.law)
    if place is None or chance.random() < 0.4:
        return question
    return chance.choice(BY_PLACE).format(p=chance.choice((place[0], place[1])), q=question)


def read_families(folder: Path) -> list[list[Article]]:
    """Read the articles of the bundled corpus, by family; never its questions."""
    families: dict[str, list[Article]] = {}
    for line in (folder / "corpus.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        law, _, number = row["title"].rpartition(" ")
        article = Article(row["_id"], law, number, row["text"])
        families.setdefault(row["metadata"]["family"], []).append(article)
    return [families[name] for name in sorted(families)]


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


def latent_semantic_rows(
    documents: Sequence[list[int]], weights: npt.NDArray[np.float64], *, count: int, size: int
) -> npt.NDArray[np.float64]:
    """Return (count, size) rows: the bag of a text's rows keeps what tells documents apart.

    Latent semantic analysis (Deerwester et al., 1990): the right singular vectors of the documents'
    rarity-weighted counts, strongest first so that truncated dims keep most. `weights` (documents)
    says how many copies each document counts for. Pieces in no document get a short random row.
    """
    rows, pieces, counts = [], [], []
    for at, ids in enumerate(documents):
        unique, times = np.unique(ids, return_counts=True)
        rows.append(np.full(len(unique), at))
        pieces.append(unique)
        counts.append(np.log1p(times))
    shape = (len(documents), count)
    tf = sparse.csr_matrix(
        (np.concatenate(counts), (np.concatenate(rows), np.concatenate(pieces))), shape
    )
    holding = (tf > 0).T @ weights
    rarity = np.log(1 + (weights.sum() - holding + 0.5) / (holding + 0.5)) ** 0.75
    rarity[:4] = 0  # padding, EOS, BOS, unknown
    table = tf @ sparse.diags(rarity)
    length = np.sqrt(np.asarray(table.multiply(table).sum(axis=1)).ravel())
    table = sparse.diags(np.sqrt(weights) / np.maximum(length, 1e-9)) @ table
    rng = np.random.default_rng(0)
    _, _, basis = svds(table, k=size, v0=rng.standard_normal(min(table.shape)))
    vectors = basis[::-1].T * rarity[:, None]
    norms = np.linalg.norm(vectors, axis=1)
    noise = rng.standard_normal(vectors.shape)
    noise *= np.median(norms[norms > 1e-6]) / np.linalg.norm(noise, axis=1, keepdims=True)
    vectors = np.where(norms[:, None] > 1e-6, vectors, noise)
    return np.asarray(vectors / np.average(norms, weights=holding))


def start_as_bag_of_pieces(model: Miniature, rows: npt.NDArray[np.float64]) -> None:
    """Set the weights so that, before any step, a text's vector is the mean of its pieces' `rows`.

    One coordinate of each embedding is the same for all pieces, so that the final norm leaves those
    that say nothing short; the head drops it. A larger one would drown the others in rounding, for
    bf16 too. All is rotated at random, and back in the head, so that it is no outlier channel. The
    layers start with little to say.
    """
    hidden = model.s.hidden
    start = np.concatenate((rows, np.full((len(rows), 1), 0.25)), axis=1)
    turn = nn.init.orthogonal_(torch.empty(hidden, hidden))
    head = turn.clone()
    head[-1] = 0
    with torch.no_grad():
        model.embed_tokens.weight.copy_(torch.from_numpy(start).float() @ turn)
        nn.init.orthogonal_(model.dense_2.weight)
        model.dense_3.weight.copy_(head @ model.dense_2.weight.T)
        for layer in model.layers:
            nn.init.constant_(layer.post_attention_layernorm.weight, -0.95)
            nn.init.constant_(layer.post_feedforward_layernorm.weight, -0.95)


class Draws:
    """Draws batches of tokenized pairs, ahead of the training step."""

    def __init__(
        self,
        articles: list[Article],
        questions: list[tuple[str, str]],
        lay: LayLanguage,
        chance: random.Random,
        tokenizer: sentencepiece.SentencePieceProcessor,
        homophones: dict[str, str],
        traditional: dict[str, str],
        families: list[list[Article]],
    ) -> None:
        self.articles, self.questions, self.lay, self.chance = articles, questions, lay, chance
        self.tokenizer, self.homophones, self.traditional = tokenizer, homophones, traditional
        self.by_id = {a.id: a for a in articles}
        self.by_law: dict[str, list[Article]] = {}
        for article in articles:
            self.by_law.setdefault(article.law, []).append(article)
        self.laws = sorted(self.by_law)
        self.families = families

    def batch(self, size: int, share: float) -> tuple[list[list[int]], list[list[int]], Tensor]:
        """Return query rows, document rows (the right ones first) and the mask of equal texts.

        `share` is how much of the training is done: hand-written questions grow from 9 to 18 %.
        The others are imitated: 40 % of all on families of look-alikes of the corpus to serve, and
        of the rest a part on six laws, since neighbours are the hard negatives.
        """
        chance = self.chance
        queries: list[str] = []
        documents: list[str] = []
        extra: list[str] = []
        picked: set[str] = set()
        laws = chance.sample(self.laws, 6)
        near_by = [a for family in chance.sample(self.families, size // 10) for a in family]
        chance.shuffle(near_by)
        while len(queries) < size:
            if near_by and len(queries) < 0.4 * size:
                article = near_by.pop()
                query = name_place(self.lay.question(article), article, chance)
                right = [render(article.law, article.number, article.text)]
                queries.append(
                    noisy(query, chance, homophones=self.homophones, traditional=self.traditional)
                )
                documents += right
                continue
            draw = chance.random()
            if draw < 0.15 + 0.15 * share:
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
    parser.add_argument("--indexed", type=Path, default=BUNDLED_CORPUS, help="corpus to serve")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=112)
    parser.add_argument("--seed", type=int, default=20261123)
    parser.add_argument("--minutes", type=float, default=1e9, help="stop the schedule early")
    parser.add_argument("--rate", type=float, default=5e-4, help="peak learning rate")
    parser.add_argument("--table-rate", type=float, default=5e-5, help="that of the embeddings")
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    torch.manual_seed(arguments.seed)

    articles = read_articles(arguments.just_laws)
    by_id = {a.id: a for a in articles}
    families = read_families(arguments.indexed)
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
    indexed = [a for family in families for a in family]
    rows = latent_semantic_rows(
        tokenizer.encode([render(a.law, a.number, a.text) for a in [*articles, *indexed]]),
        np.array([1.0] * len(articles) + [INDEXED_COPIES] * len(indexed)),
        count=shape.vocab,
        size=shape.hidden - 1,
    )
    start_as_bag_of_pieces(model, rows)
    with torch.no_grad():
        for simple, other in traditional.items():
            a, b = tokenizer.piece_to_id(simple), tokenizer.piece_to_id(other)
            if simple != other and min(a, b) > 4:
                model.embed_tokens.weight[b] = model.embed_tokens.weight[a]
    average = copy.deepcopy(model)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, vocabulary {shape.vocab}")
    table = [model.embed_tokens.weight]
    matrices = [p for n, p in model.named_parameters() if p.dim() == 2 and "embed" not in n]
    gains = [p for p in model.parameters() if p.dim() != 2]
    groups = [
        {"params": matrices, "weight_decay": 0.05, "peak": arguments.rate},
        {"params": gains, "weight_decay": 0.0, "peak": arguments.rate},
        # The start of the table is worth keeping: ten times the rate undoes it within 200 steps.
        {"params": table, "weight_decay": 0.0, "peak": arguments.table_rate},
    ]
    optimizer = torch.optim.AdamW(groups, lr=1.5e-3, betas=(0.9, 0.98), fused=True)
    draws = Draws(
        articles, questions, language, chance, tokenizer, homophones, traditional, families
    )
    with ThreadPoolExecutor(1) as ahead:
        pending = ahead.submit(draws.batch, arguments.batch, 0.0)
        began = time.monotonic()
        step, running, share = 0, 0.0, 0.0
        while share < 1:
            minutes = (time.monotonic() - began) / 60
            share = max(step / arguments.steps, minutes / arguments.minutes)
            decay = 0.5 + 0.5 * math.cos(math.pi * min(1, share))
            for group in optimizer.param_groups:
                group["lr"] = max(group["peak"] * min(1, (step + 1) / 100) * decay, 1e-5)
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
            if step % 50 == 0 and step:
                save(average, output)
    save(average, output)
    print(f"{step} steps of {arguments.batch} pairs, final loss {running:.3f}")


def save(model: Miniature, output: Path) -> None:
    """Write the averaged weights in EmbeddingGemma's layout, with the window as trained."""
    s = model.s
    state = {k: v.detach() for k, v in model.state_dict().items()}
    backbone, dense = backbone_and_dense(state)
    write_layout(
        output,
        {k: v.numpy() for k, v in backbone.items()},
        (dense[0].numpy(), dense[1].numpy()),
        layers=s.layers,
        hidden=s.hidden,
        heads=s.heads,
        head_dim=s.head_dim,
        intermediate=s.intermediate,
        vocab=s.vocab,
        window=s.window,
        max_tokens=s.max_tokens,
        matryoshka_dims=DIMS,
    )


if __name__ == "__main__":
    main()
