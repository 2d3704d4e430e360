"""The tree of a beam search as a picture, and what became of its beams in words."""

from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from slmlab.engine.beams import PROMPT, BeamSearch
from slmlab.show.plots.chart import VAL
from slmlab.show.widgets.parts import table_html

# Pixels: a step's column and a rank's row, and what of them a token's field fills.
COLUMN, ROW, WIDTH, HEIGHT, MARGIN = 76, 32, 64, 22, 8
LETTERS = 8  # of a token in its field
BEST, KEPT, INK = "#8fc1e3", "#d3e7f4", "#000000"
GREEDY = f"stroke='{VAL}' stroke-width='2.5' stroke-dasharray='5 3'"
STYLE = "display:inline-block;width:2.2em;height:0.9em;box-sizing:border-box;vertical-align:-1px"


class Field(NamedTuple):
    """A token in the picture."""

    step: int  # 1 is the first new token
    rank: int  # 0 is the best of its step
    token: int
    said: str


def beam_tree_html(
    search: BeamSearch,
    greedy: Sequence[int],
    greedy_nats: float,
    name: Callable[[int], str],
    first: int = 1,
) -> str:
    """The tree of a beam search with the greedy text of the same prompt in it, and their scores.

    Steps go from left to right, and in each the best is at the top. Fields that are filled lead to
    a beam that was kept to the end. The greedy text runs below all once the search has dropped it.
    `greedy_nats` is its log-probability, `name` gives a token's text, and `first` is the number of
    the first step.
    """
    sentence = found_in_words(search, greedy, greedy_nats, first)
    rows = [
        [f"beam {i + 1}", _nats(beam.log_probability), _nats(beam.log_probability, len(beam.ids))]
        for i, beam in enumerate(search.beams)
    ]
    rows.append(["greedy", _nats(greedy_nats), _nats(greedy_nats, len(greedy))])
    picture = _picture(search, greedy, name, sentence, first)
    key = "".join(
        f"<i style='{STYLE};{style}'></i> {meaning} &nbsp; "
        for style, meaning in (
            (f"background:{BEST};border:1px solid", "the best beam"),
            (f"background:{KEPT}", "another that was kept"),
            ("border:1px solid;opacity:.6", "dropped on the way"),
            (f"border:2px dashed {VAL}", "greedy"),
        )
    )
    return (
        f"<h4>The tree</h4><p>{escape(sentence)}</p><p>{key}</p>"
        "<div tabindex='0' role='region' aria-label='The tree, step by step' "
        f"style='overflow-x:auto;margin:6px 0'>{picture}</div>"
        + table_html(["", "log-probability, nats", "per token"], rows)
    )


def found_in_words(
    search: BeamSearch, greedy: Sequence[int], greedy_nats: float, first: int = 1
) -> str:
    """Whether the best beam is likelier than the greedy text, and where the search dropped that."""
    best = search.beams[0]
    if best.ids == tuple(greedy):
        return "The best beam is the greedy text."
    difference = best.log_probability - greedy_nats
    followed = len(_along(search, greedy))
    said = f"The best beam has a log-probability of {_nats(best.log_probability)} nats, "
    said += f"the greedy text {_nats(greedy_nats)}. "
    if abs(difference) < 0.005:
        said += "They are equally likely."
    elif difference > 0:
        said += "Beam search found a likelier text."
    else:
        said += "Greedy found a likelier text."
    if followed < len(greedy):
        said += f" The search dropped the greedy text at token {first + followed:,}."
    return said


def _along(search: BeamSearch, ids: Sequence[int]) -> list[int]:
    """The nodes that a text goes through, as far as the tree has it."""
    places = {(node.parent, node.token): place for place, node in enumerate(search.tree)}
    path, at = list[int](), PROMPT
    for token in ids:
        if (at, token) not in places:
            break
        at = places[at, token]
        path.append(at)
    return path


def _picture(
    search: BeamSearch,
    greedy: Sequence[int],
    name: Callable[[int], str],
    sentence: str,
    first: int,
) -> str:
    fields, counts = list[Field](), dict[int, int]()
    for token, parent, nats, _ in search.tree:
        step = 1 + (fields[parent].step if parent != PROMPT else 0)
        rank = counts[step] = counts.get(step, -1) + 1
        said = f"{name(token)}: {_nats(nats)} nats from the prompt to here"
        fields.append(Field(step, rank, token, said))
    kept = {node for beam in search.beams for node in _along(search, beam.ids)}
    best, path = set(_along(search, search.beams[0].ids)), _along(search, greedy)
    dropped = [
        Field(
            step, 1 + max(counts.values()), token, f"{name(token)}: greedy, no longer in the tree"
        )
        for step, token in enumerate(greedy[len(path) :], len(path) + 1)
    ]
    steps = max(field.step for field in [*fields, *dropped])
    rows = 1 + max(field.rank for field in [*fields, *dropped])
    parts = [
        _edge(fields[node.parent] if node.parent != PROMPT else None, field, i in kept)
        for i, (node, field) in enumerate(zip(search.tree, fields, strict=True))
    ]
    before = [fields[path[-1]] if path else None, *dropped]
    parts += [_edge(*pair, False, GREEDY) for pair in zip(before, dropped, strict=False)]
    parts += [
        _field(field, name, BEST if i in best else KEPT if i in kept else "", i in path, i in best)
        for i, field in enumerate(fields)
    ]
    parts += [_field(field, name, "", True, False) for field in dropped]
    width, height = COLUMN * steps + 2 * MARGIN, ROW * rows + 18
    numbers = "".join(
        f"<text x='{_left(step) + WIDTH / 2:g}' y='12' opacity='.75'>{first + step - 1}</text>"
        for step in range(1, steps + 1)
    )
    return (
        f"<svg role='img' width='{width}' height='{height}' viewBox='0 0 {width} {height}' "
        f"aria-label='{escape(f'A tree of {steps} steps. {sentence}')}' text-anchor='middle' "
        "style='display:block;fill:currentColor;font:11px var(--jp-code-font-family,monospace)'>"
        f"{numbers}{''.join(parts)}</svg>"
    )


def _left(step: int) -> float:
    return MARGIN + COLUMN * (step - 1) + (COLUMN - WIDTH) / 2


def _middle(field: Field) -> float:
    return 18 + ROW * field.rank + ROW / 2


def _edge(parent: Field | None, field: Field, kept: bool, line: str = "") -> str:
    """From a token to the one after it; those from the prompt come out of the margin."""
    end = _left(field.step)
    begin = _left(parent.step) + WIDTH if parent else end - COLUMN + WIDTH
    line = line or f"stroke='currentColor' stroke-width='{2 if kept else 1}'"
    high = _middle(parent) if parent else _middle(field)
    opacity = "" if kept or "dash" in line else " opacity='.45'"
    return f"<path d='M{begin:g} {high:g}L{end:g} {_middle(field):g}' fill='none' {line}{opacity}/>"


def _field(field: Field, name: Callable[[int], str], colour: str, greedy: bool, bold: bool) -> str:
    """A token in its field; hovering over it shows how likely the text is that ends here."""
    text = name(field.token)
    text = escape(text if len(text) <= LETTERS else f"{text[: LETTERS - 1]}…")
    line = GREEDY if greedy else f"stroke='currentColor' stroke-width='{1.5 if bold else 1}'"
    quiet = "" if colour or greedy else " opacity='.6'"
    letters = f" fill='{INK}'" if colour else ""
    return (
        f"<g{quiet}><title>{escape(field.said)}</title>"
        f"<rect x='{_left(field.step):g}' y='{_middle(field) - HEIGHT / 2:g}' width='{WIDTH}' "
        f"height='{HEIGHT}' rx='3' fill='{colour or 'none'}' pointer-events='all' {line}/>"
        f"<text x='{_left(field.step) + WIDTH / 2:g}' y='{_middle(field) + 4:g}'{letters} "
        f"style='white-space:pre'>{text}</text></g>"
    )


def _nats(value: float, tokens: int = 1) -> str:
    return f"{value / tokens:.2f}".replace("-", "−")
