"""A small English corpus in BEIR's layout: ordinances of towns that do not exist.

Written for this project. Forty towns rule on twenty matters, each with figures of its own: eight
hundred articles that differ in a name and a number, and a question for each, in other words.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

TOWNS = (
    *("Millbrook", "Ashford Vale", "Port Kellan", "Greystone", "Lower Wick", "Saint Orrin"),
    *("Tamarack", "Bellhaven", "Cold Ferry", "Dunmere", "Eastlow", "Fennimore", "Hollin Cross"),
    *("Kestrel Bay", "Marlowe", "North Pell", "Oxbow", "Quarry Hill", "Redmarsh", "Winterbourne"),
    *("Amberley", "Copper Gulch", "Farrow", "Gull Point", "Ivy Bridge", "Larkfield", "Stonegate"),
    *("Pine Hollow", "Vesper", "Yarrow Creek", "Bramwell", "Cutler Ridge", "Dovecote", "Elmsford"),
    *("Harrow Sound", "Tidewell", "Umber Falls", "Wexcombe", "Zenith Grove", "Calder"),
)
OTHERS = ("Alder Point", "Brackley", "Thornby", "Upper Sedge")
"""Towns whose articles and questions are for calibration: none is in the corpus."""

# (title, article, question); {t} is the town, {n} and {m} its numbers.
MATTERS = (
    (
        "Security deposits",
        "A landlord in {t} returns the security deposit within {n} days of the end of the tenancy, "
        "less the cost of repairs beyond fair wear, which are listed in writing.",
        "My old landlord in {t} still has my deposit, how long may they keep it?",
    ),
    (
        "Quiet hours",
        "Between ten at night and {n} minutes past six no person in {t} may run a motor, play "
        "music or hold a gathering that can be heard in a neighbouring dwelling.",
        "At what time do the neighbours have to turn the music down in {t}?",
    ),
    (
        "Parking on streets",
        "A vehicle may stand in the same place on a street of {t} for {n} hours. A vehicle without "
        "a valid plate is towed at the cost of its keeper after {m} days.",
        "When will an abandoned car be taken away in {t}?",
    ),
    (
        "Dogs in parks",
        "Dogs in the parks of {t} are kept on a lead of at most {n} feet. The keeper removes what "
        "the dog leaves behind, or pays a fine of {m} dollars.",
        "Does my puppy need a leash on the green in {t}?",
    ),
    (
        "Removal of snow",
        "The occupant of a building in {t} clears snow and ice from the footway in front of it "
        "within {n} hours after it has stopped falling.",
        "Who has to shovel the pavement in {t}, and how soon?",
    ),
    (
        "Street vendors",
        "A permit to sell food from a cart in {t} is issued for {n} months. The cart stands at "
        "least {m} feet from the entrance of a restaurant.",
        "I want to run a taco stand in {t}, what licence do I need?",
    ),
    (
        "Height of fences",
        "A fence along a street in {t} is no higher than {n} inches; behind the front of the "
        "building it may be {m} inches higher.",
        "How tall can the wall around my front garden be in {t}?",
    ),
    (
        "Felling of trees",
        "A tree in {t} whose trunk is more than {n} inches across is felled only with the consent "
        "of the forester, who decides within {m} days.",
        "May I cut down the old oak in my yard in {t}?",
    ),
    (
        "Water meters",
        "The water works of {t} read each meter every {n} weeks. A bill that is disputed is not "
        "due until the meter has been tested.",
        "The water bill from {t} seems far too high, must I pay it now?",
    ),
    (
        "Collection of waste",
        "Bins are put out in {t} no earlier than {n} hours before they are emptied. Batteries, "
        "paint and oil are brought to the depot.",
        "Where do I get rid of leftover paint in {t}?",
    ),
    (
        "Short lets",
        "A dwelling in {t} is let to travellers for at most {n} nights a year, and its number in "
        "the register of hosts stands in every advertisement.",
        "Can I rent my flat to tourists on the internet in {t}?",
    ),
    (
        "Keeping of hens",
        "Up to {n} hens, and no rooster, are kept on a plot in {t}. The coop stands {m} feet from "
        "the nearest window of a neighbour.",
        "How many chickens am I allowed to have in {t}?",
    ),
    (
        "Libraries",
        "Books of the library of {t} are lent for {n} days. For each day beyond, {m} cents are "
        "due, and never more than the price of the book.",
        "What happens if I bring my novel back late in {t}?",
    ),
    (
        "Burials",
        "A grave in the cemetery of {t} is granted for {n} years, and the family may extend it "
        "once. Stones are no taller than {m} inches.",
        "For how long is my grandmother's grave kept in {t}?",
    ),
    (
        "Permits to build",
        "Whoever raises a shed of more than {n} square feet in {t} files a plan first. The office "
        "answers within {m} days; silence counts as consent.",
        "Do I have to ask anyone before I put up a garden hut in {t}?",
    ),
    (
        "Open fires",
        "Leaves and wood are burned in {t} only from October to March, {n} feet from any building, "
        "and never when the fire warden has said no.",
        "Is a bonfire allowed behind the house in {t}?",
    ),
    (
        "Taxis",
        "A cab driver in {t} carries the tariff where passengers can read it, takes the shortest "
        "way, and gives a receipt. A licence is renewed every {n} months.",
        "The driver in {t} took a detour and charged me double, what are the rules?",
    ),
    (
        "Schools",
        "A child who lives in {t} and is {n} years of age by September is enrolled. Those who live "
        "more than {m} yards from the school ride the bus without charge.",
        "Is the school bus free for my daughter in {t}?",
    ),
    (
        "Markets",
        "The weekly market of {t} opens at {n} minutes past seven. Stalls are given by lot, and a "
        "tenth of them to growers from the county.",
        "How do farmers get a place on the market in {t}?",
    ),
    (
        "Elections",
        "The council of {t} is elected every {n} years. A resident who is abroad on that day asks "
        "the clerk for a ballot by post, at least {m} days before.",
        "I am travelling on polling day, how do I vote in {t}?",
    ),
)


def articles(towns: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    """Yield (id, title, text, question) of every town and matter."""
    for at, town in enumerate(towns):
        for number, (title, text, question) in enumerate(MATTERS):
            figures = {"n": 3 + (7 * at + 5 * number) % 41, "m": 10 + (11 * at + 3 * number) % 83}
            yield (
                f"{at:02d}-{number:02d}",
                f"{town} Ordinance, section {number + 1}: {title}",
                text.format(t=town, **figures),
                question.format(t=town),
            )


def write_corpus(folder: Path) -> Path:
    """Write the corpus as a BEIR folder. Returns `folder`."""
    found = list(articles(TOWNS))
    (folder / "qrels").mkdir(parents=True)
    _write_lines(
        folder / "corpus.jsonl", ({"_id": i, "title": t, "text": text} for i, t, text, _ in found)
    )
    _write_lines(folder / "queries.jsonl", ({"_id": f"q{i}", "text": q} for i, _, _, q in found))
    rows = "".join(f"q{i}\t{i}\t1\n" for i, *_ in found)
    (folder / "qrels" / "test.tsv").write_text(f"query-id\tcorpus-id\tscore\n{rows}", "utf-8")
    return folder


def write_calibration(file: Path) -> Path:
    """Write texts for calibration, none of the corpus. Returns `file`."""
    found = list(articles(OTHERS))
    documents = ({"text": text, "title": t, "role": "document"} for _, t, text, _ in found)
    questions = ({"text": q, "role": "query"} for *_, q in found)
    _write_lines(file, [*documents, *questions])
    return file


def _write_lines(file: Path, records: Iterator[dict[str, str]] | list[dict[str, str]]) -> None:
    file.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
