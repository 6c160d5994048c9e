"""A question and its answers, side by side: as lines for the terminal, and as a page."""

from exporter.parity.one_question import Answers, FoundArticle, OneQuestion
from exporter.report.html import page_environment

INDEX_WORDS = {
    "own": "each on an index of its own",
    "original": "each question on the original's index",
}


def moved(article: FoundArticle) -> str:
    """Return how an article's rank differs from the original's: nothing, or up, down, new."""
    if article.was is None:
        return "new"
    if article.was == article.rank:
        return ""
    step = article.was - article.rank
    return f"↑{step}" if step > 0 else f"↓{-step}"


def summary(answers: Answers, original: Answers) -> str:
    """Return one sentence on how far an artifact's answers are the original's."""
    same = answers.found[0].id == original.found[0].id
    order = [a.id for a in answers.found] == [a.id for a in original.found]
    first = "the same first article" if same else "another first article"
    if order:
        return f"{answers.name}: the same {len(original.found)} articles in the same order"
    return (
        f"{answers.name}: {first}, {answers.in_common} of {len(original.found)} articles in common"
    )


def render_one_question(shown: OneQuestion) -> str:
    """Return the page. Same answers, same bytes; texts of the corpus are escaped."""
    original, *others = shown.answers
    return (
        page_environment()
        .get_template("one_question.html.j2")
        .render(
            shown=shown,
            original=original,
            others=others,
            moved=moved,
            summaries=[summary(answers, original) for answers in others],
            index=INDEX_WORDS[shown.index],
        )
    )
