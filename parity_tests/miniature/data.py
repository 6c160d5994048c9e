"""Training pairs for the miniature: statute text made to sound like a question, and questions
written by hand. Everything is drawn from one seeded generator."""

import gzip
import json
import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

PLACE_KINDS = ("省", "市", "自治州", "县", "自治区", "区")
LOCAL_RULES = ("条例", "管理条例", "实施办法", "规定", "若干规定", "管理办法", "保护条例")
OPENINGS = (
    "",
    "",
    "",
    "",
    "请问",
    "想问一下",
    "我想知道",
    "问下",
    "大家帮忙看看，",
    "那个",
    "如果",
    "听说",
)
ENDINGS = (
    "",
    "",
    "",
    "",
    "",
    "怎么办",
    "吗",
    "呢",
    "怎么算",
    "合法吗",
    "有没有规定",
    "行不行",
    "找谁",
    "能告吗",
    "要赔多少",
    "该咋办",
    "？",
    "?",
    "怎么处理",
    "谁管",
    "违法不",
    "多久",
    "要多少钱",
)
BY_PLACE = (
    "我在{p}，{q}",
    "{p}{q}",
    "{p}这边{q}",
    "{q}（{p}）",
    "{p}的规定：{q}",
    "人在{p} {q}",
    "{q}，坐标{p}",
)
FUNCTION_CHARACTERS = "的了等和与或及其以由于对在为者"
CLAUSE = re.compile(r"[，。；：、\n（）《》“”\s]+")


@dataclass(frozen=True)
class Article:
    """One article: `law` is the title without the article number."""

    id: str
    law: str
    number: str
    text: str

    @property
    def title(self) -> str:
        return f"{self.law} {self.number}"


def read_articles(path: Path) -> list[Article]:
    """Read just-laws (gzipped JSON lines). Articles of under 15 characters are left out."""
    articles = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            law, _, number = row["title"].rpartition(" ")
            if len(row["text"]) >= 15:
                articles.append(Article(row["_id"], law, number, row["text"]))
    return articles


def read_lexicon(path: Path) -> dict[str, list[str]]:
    """Read `legal term<TAB>lay|lay|...`."""
    rows = (line.rstrip("\n").split("\t") for line in path.open(encoding="utf-8"))
    return {row[0]: row[1].split("|") for row in rows if len(row) == 2 and row[0]}


def read_questions(path: Path) -> list[tuple[str, str]]:
    """Read the hand-written questions: (article id, question)."""
    rows = (json.loads(line) for line in path.open(encoding="utf-8") if line.strip())
    return [(row["id"], row["question"]) for row in rows]


class LayLanguage:
    """Rewrites statute text the way people speak, by lexicon and by chance."""

    def __init__(self, lexicon: dict[str, list[str]], chance: random.Random) -> None:
        self.lexicon, self.chance = lexicon, chance
        terms = sorted(lexicon, key=len, reverse=True)
        self.pattern = re.compile("|".join(map(re.escape, terms)))

    def substitute(self, text: str, *, rate: float) -> str:
        def lay(match: re.Match[str]) -> str:
            if self.chance.random() > rate:
                return match[0]
            return self.chance.choice(self.lexicon[match[0]])

        return self.pattern.sub(lay, text)

    def question(self, article: Article) -> str:
        """Return an imitation of a lay question that `article` answers."""
        chance = self.chance
        body = article.text.split(" ", 1)[-1]
        clauses = [c for c in CLAUSE.split(body) if len(c) > 3]
        if not clauses:
            return body[:30]
        start = chance.randrange(len(clauses))
        picked = clauses[start : start + chance.choice((1, 1, 2, 2, 3))]
        if chance.random() < 0.3:
            picked.append(chance.choice(clauses))
        if chance.random() < 0.3:
            chance.shuffle(picked)
        text = chance.choice(("", "，", " ", "，")).join(picked)
        limit = chance.choice((10, 16, 24, 32, 48, 80))
        if len(text) > limit:
            at = chance.randrange(len(text) - limit)
            text = text[at : at + limit]
        text = self.substitute(text, rate=chance.choice((0.3, 0.7, 1.0)))
        drop = chance.choice((0.0, 0.0, 0.05, 0.15))
        text = "".join(
            c for c in text if chance.random() > (0.5 if c in FUNCTION_CHARACTERS else drop)
        )
        if chance.random() < 0.12:
            law = article.law.removeprefix("中华人民共和国")
            text = f"{self.substitute(law, rate=0.5)} {text}"
        return chance.choice(OPENINGS) + text + chance.choice(ENDINGS)


def gb2312_characters() -> str:
    """Return the 6,763 Chinese characters of GB 2312."""
    pairs = (bytes((high, low)) for high in range(0xB0, 0xF8) for low in range(0xA1, 0xFF))
    return "".join(pair.decode("gb2312", "ignore") for pair in pairs)


ALL_CHARACTERS = gb2312_characters()


def invent_place(chance: random.Random) -> tuple[str, str]:
    """Return a made-up place, in full and as people shorten it.

    Any character may stand in it, so that rare ones are learned too: by their look alone.
    """
    core = "".join(chance.sample(ALL_CHARACTERS, chance.choice((2, 2, 2, 3))))
    return core + chance.choice(PLACE_KINDS), core


def local_law(law: str, place: str, chance: random.Random) -> str:
    """Return the name that a local regulation on the matter of `law` would have."""
    core = re.sub(r"(法|条例|规定|办法|细则|解释)$", "", law.removeprefix("中华人民共和国"))
    return f"{place}{core}{chance.choice(LOCAL_RULES)}"


def render(law: str, number: str, text: str) -> str:
    """Return a document under LawVault's convention."""
    return f"title: {law} {number} | text: {text}"


def make_pair(
    article: Article, question: str, chance: random.Random, *, local_rate: float
) -> tuple[str, list[str]]:
    """Return a query and its documents, the right one first, look-alikes of other places after.

    With `local_rate` the article is dressed as the regulation of an invented place, which the
    query names; the look-alikes are the same text under another place, and as national law.
    """
    if chance.random() > local_rate:
        return question, [render(article.law, article.number, article.text)]
    place, short = invent_place(chance)
    other, _ = invent_place(chance)
    named = chance.choice((place, short, short))
    laws = [local_law(article.law, place, chance), local_law(article.law, other, chance)]
    documents = [render(law, article.number, article.text) for law in laws]
    if chance.random() < 0.3:
        documents.append(render(article.law, article.number, article.text))
    return chance.choice(BY_PLACE).format(p=named, q=question), documents


def noisy(
    question: str, chance: random.Random, *, homophones: dict[str, str], traditional: dict[str, str]
) -> str:
    """Return the question with the noise of typing: homophones, full-width, traditional."""
    kind = chance.random()
    if kind < 0.08:
        at = chance.randrange(max(1, len(question)))
        character = question[at : at + 1]
        near = homophones.get(character, "")
        return question[:at] + (chance.choice(near) if near else character) + question[at + 1 :]
    if kind < 0.18:
        return "".join(traditional.get(c, c) for c in question)
    if kind < 0.21:
        wide = {c: chr(ord(c) + 0xFEE0) for c in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
        return "".join({**wide, " ": "　", "，": "　"}.get(c, c) for c in question)
    return question


def tokenizer_items(texts: Iterable[str], *, most: int = 50) -> Iterator[str]:
    """Yield what the tokenizer is trained on: Chinese characters one by one, the rest in runs.

    Lay words and legal terms share characters far more often than words, so pieces of several
    Chinese characters are not wanted. Each item comes at most `most` times.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(re.findall(r"[\u4e00-\u9fff]|[^\u4e00-\u9fff]+", text))
    for item, count in sorted(counts.items()):
        yield from [item] * min(count, most)
