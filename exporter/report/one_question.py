"""A question and its answers, side by side: as lines for the terminal, and as a page."""

from functools import partial

from exporter.parity.one_question import AnswerList, FoundArticle, OneQuestion
from exporter.report.html import page_environment
from exporter.report.words import ENGLISH, Words

INDEX_WORDS = {
    "own": "each on an index of its own",
    "original": "each question on the original's index",
}


def moved(article: FoundArticle, _: Words = ENGLISH) -> str:
    """Return how an article's rank differs from the original's: nothing, or up, down, new."""
    if article.was is None:
        return _("new")
    if article.was == article.rank:
        return ""
    step = article.was - article.rank
    return f"↑{step}" if step > 0 else f"↓{-step}"


def summary(answers: AnswerList, original: AnswerList, _: Words = ENGLISH) -> str:
    """Return one sentence on how far an artifact's answers are the original's."""
    same = answers.found[0].id == original.found[0].id
    order = [a.id for a in answers.found] == [a.id for a in original.found]
    values = {"name": answers.name, "count": len(original.found)}
    if order:
        return _("%(name)s: the same %(count)s articles in the same order", **values)
    first = _("the same first article") if same else _("another first article")
    return _(
        "%(name)s: %(first)s, %(common)s of %(count)s articles in common",
        first=first,
        common=answers.in_common,
        **values,
    )


def render_one_question(shown: OneQuestion, words: Words = ENGLISH) -> str:
    """Return the page. Same answers, same bytes; texts of the corpus are escaped."""
    original, *others = shown.answers
    return (
        page_environment(words)
        .get_template("one_question.html.j2")
        .render(
            shown=shown,
            original=original,
            others=others,
            moved=partial(moved, _=words),
            summaries=[summary(answers, original, words) for answers in others],
            index=words(INDEX_WORDS[shown.index]),
        )
    )
