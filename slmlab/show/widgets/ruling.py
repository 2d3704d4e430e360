"""Cards for rulings on claims: made before the evidence, laid beside the course's after it."""

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape

import ipywidgets

from slmlab.show import progress
from slmlab.show.widgets.parts import (
    Panel,
    framed,
    live,
    paragraph,
    row,
    table_html,
    title_html,
)
from slmlab.validation import shown, whole_text

Ruling = tuple[str, str]

FOLLOWS, RUNS = ("yes", "no"), ("holds", "fails", "open")
HEADER = ["claim", "your rulings", "the course's", "agree"]


@dataclass(frozen=True)
class Ruled:
    """Rulings beside those of the course: print it for text, or end a cell with it.

    `rows` hold claim, your rulings, the course's, and how many of the two agree.
    """

    sentence: str
    rows: list[list[str]]

    def __str__(self) -> str:
        lines = (
            f"{yours:14}{ours:14}{agree:7}{claim}"
            for claim, yours, ours, agree in [HEADER, *self.rows]
        )
        return "\n".join([self.sentence, *lines])

    def _ipython_display_(self) -> None:
        from IPython.display import display

        page = paragraph(f"<b>{escape(self.sentence)}</b>") + table_html(HEADER, self.rows)
        display({"text/plain": str(self), "text/html": page}, raw=True)


class RulingCards(Panel):
    """A card for each claim, with two rulings, and a button that locks them.

    Does the claim follow from what was published, yes or no? What do the course's runs say: does it
    hold, does it fail, or is it open? A claim is locked once both are chosen; locked rulings are
    kept on the disk, and cards made again show them.

    Args:
        claims: what each claim says, by its number.

    Attributes:
        follows, runs: by claim, the menus for the two rulings.
        lock_button: the button.
        status: how many claims are locked, as HTML.
        locked: by claim, the locked rulings.

    Raises:
        ValueError: for no claims, or one that is no text.
    """

    def __init__(self, claims: Mapping[int, str]) -> None:
        if not isinstance(claims, Mapping) or not claims:
            raise ValueError(
                f"claims is {shown(claims)}; give what each claim says, by its number."
            )
        self.claims = {n: whole_text(f"Claim {n}", claim) for n, claim in claims.items()}
        kept = progress.read().rulings
        self.locked: dict[int, Ruling] = {n: kept[str(n)] for n in claims if _valid(kept, n)}
        self.follows = {n: _menu("does it follow?", FOLLOWS) for n in claims}
        self.runs = {n: _menu("our runs say", RUNS) for n in claims}
        for n, pair in self.locked.items():
            self.follows[n].value, self.runs[n].value = pair
        self.lock_button = ipywidgets.Button(description="Lock my rulings", button_style="primary")
        self.lock_button.on_click(self._lock)
        self.status = live()
        self._show()
        heading = "Your rulings"
        self.box = framed(
            "rulings",
            ipywidgets.HTML(
                title_html(heading)
                + paragraph("Does each claim follow from what was published? And does it hold?")
            ),
            *map(self._card, claims),
            self.lock_button,
            self.status,
            label=heading,
        )

    def reveal(self, ours: Mapping[int, Ruling]) -> Ruled:
        """The locked rulings beside `ours`. Raises `KeyError` if these lack one of the claims."""
        rows, agreed = [], 0
        for n, claim in self.claims.items():
            yours = self.locked.get(n)
            same = sum(a == b for a, b in zip(yours or (), ours[n], strict=False))
            agreed += same
            told = [", ".join(yours), f"{same} of 2"] if yours else ["not locked", ""]
            rows.append([f"{n}. {claim}", told[0], ", ".join(ours[n]), told[1]])
        sentence = f"{agreed} of {2 * len(self.locked)} rulings are as the course's."
        if not self.locked:
            sentence = "You locked no ruling, so these are the course's alone."
        elif len(self.locked) < len(self.claims):
            left = len(self.claims) - len(self.locked)
            sentence += f" {left} claim{' is' if left == 1 else 's are'} not locked."
        return Ruled(sentence, rows)

    def static(self) -> str:
        """The claims, and the rulings that are locked."""
        rows = [
            [f"{n}. {claim}", ", ".join(self.locked.get(n, ["not locked"]))]
            for n, claim in self.claims.items()
        ]
        return table_html(HEADER[:2], rows)

    def _card(self, n: int) -> ipywidgets.VBox:
        claim = ipywidgets.HTML(paragraph(f"<b>Claim {n}.</b> {escape(self.claims[n])}"))
        card = ipywidgets.VBox([claim.add_class("slm-name"), row(self.follows[n], self.runs[n])])
        return card.add_class("slm-group")

    def _lock(self, _: object) -> None:
        pairs = {n: (self.follows[n].value, self.runs[n].value) for n in self.claims}
        new = {n: pair for n, pair in pairs.items() if all(pair) and n not in self.locked}
        self.locked |= new
        progress.keep_rulings({str(n): pair for n, pair in new.items()})
        self._show()

    def _show(self) -> None:
        for n in self.locked:
            self.follows[n].disabled = self.runs[n].disabled = True
        total, done = len(self.claims), len(self.locked)
        self.lock_button.disabled = done == total
        said = f"{done} of {total} claims are locked."
        if done == total:
            said = f"<b>All {total} claims are locked.</b> Now test them below."
        elif not done:
            said = "Choose both rulings on a claim; the button locks every such claim."
        self.status.value = paragraph(said)


def _menu(question: str, words: tuple[str, ...]) -> ipywidgets.Dropdown:
    options = [("choose", ""), *((word, word) for word in words)]
    layout = ipywidgets.Layout(width="260px")
    style = {"description_width": "110px"}
    return ipywidgets.Dropdown(options=options, description=question, layout=layout, style=style)


def _valid(kept: Mapping[str, Ruling], n: int) -> bool:
    follows, runs = kept.get(str(n), ("", ""))
    return follows in FOLLOWS and runs in RUNS
