"""The first things that a reader sees, made of a recorded run: a model that recites.

    python tools/hero.py            # the README's picture (docs/), the first cell of lesson 00
    python tools/hero.py --check    # only say what is stale, and fail if anything is

Both show the longest recital of the recorded right-sized Phase 0. The picture adds what the same
model wrote before and its loss on the text that it reads; its loss on other text is the lesson's
question, so it is left open.
"""

import argparse
import re
import sys
import xml.etree.ElementTree as ET
from io import StringIO
from pathlib import Path

import matplotlib
import nbformat
from matplotlib.figure import Figure

import slmlab as lab

ROOT = Path(__file__).parent.parent
LESSON = ROOT / "notebooks" / "00_phase_0_disaster.ipynb"
RECITAL = re.compile(r"(?<=<!-- recital -->\n).*?(?=<!-- end -->)", re.DOTALL)
DESCRIPTION = "{http://purl.org/dc/elements/1.1/}description"
EARLIER = (0, 100, 250)  # steps
# The page's text, and the blue of training losses, on GitHub's light and dark background.
THEMES = {"light": ("#1f2328", "#0072B2"), "dark": ("#e6edf3", "#58a6ff")}
LETTERS = 66  # of a sample in the picture


def recital(run: lab.Run) -> dict:
    """The sample of a run with the longest match in its training text; the first of equals."""
    text = run.dataset.train.tolist()
    encode = run.dataset.tokenizer.encode

    def match(sample: dict) -> int:
        return lab.longest_match(encode(sample["text"][len(sample["prompt"]) :]), text)

    return max(run.samples, key=match)


def beside(run: lab.Run, sample: dict) -> str:
    """The lines of the training text in which a sample appears word for word."""
    text = run.dataset.tokenizer.decode(run.dataset.train.tolist())
    begin = text.index(sample["text"])
    end = text.index("\n", begin + len(sample["text"]))
    return text[text.rindex("\n", 0, begin) + 1 : end]


def first_cell(run: lab.Run) -> str:
    """What the first cell of lesson 00 shows between its marks."""
    sample = recital(run)
    return (
        f"**A sibling of this model wrote** at step {sample['step']}, after the prompt "
        f"`{sample['prompt']}`:\n\n"
        f"```python\n{sample['text'].rstrip()}\n```\n\n"
        "**The training script** has these lines:\n\n"
        f"```python\n{beside(run, sample)}\n```\n\n"
        "The sibling has the same layers and a smaller vocabulary: 11 million parameters. A "
        "*prompt* is the beginning\nthat a model continues, a *step* one round of training. No "
        "sample of its recorded run repeats a longer piece.\n"
        "Has the model learnt to program, or has it learnt sixty lines by heart?\n"
    )


def story(run: lab.Run) -> list[dict]:
    """What the run wrote after the recital's prompt, up to the recital."""
    last = recital(run)
    steps = {s["step"]: s for s in run.samples if s["prompt"] == last["prompt"]}
    return [*(steps[step] for step in EARLIER), last]


def facts(run: lab.Run) -> str:
    """Whatever the picture shows, in words; it is kept inside the picture."""
    wrote = [f"At step {s['step']} it wrote {s['text']!r}." for s in story(run)]
    losses = ", ".join(f"{r.step}: {r.train_loss:.2f}" for r in run.state.history)
    return f"{run.name}. {' '.join(wrote)} Loss on its training text by step: {losses}."


def picture(run: lab.Run, theme: str) -> str:
    """The picture as SVG, on a transparent page."""
    ink, blue = THEMES[theme]
    figure = Figure(figsize=(11, 3.7))
    figure.patch.set_visible(False)
    figure.text(0.02, 0.9, "Has it learnt to program, or its text by heart?", size=20, color=ink)
    for place, sample in enumerate(story(run)):
        height = 0.75 - 0.17 * place
        words = re.sub(r" {2,}", " ", re.sub(r"\s*\n\s*", " ↵ ", sample["text"]))
        words = words if len(words) <= LETTERS else f"{words[:LETTERS]}…"
        figure.text(0.02, height, f"step {sample['step']}", size=10, color=ink, alpha=0.7)
        colour = blue if sample is story(run)[-1] else ink
        figure.text(0.02, height - 0.07, words, size=11, color=colour, family="monospace")
    figure.text(
        0.02,
        0.03,
        "Five small GPTs on your laptop: you predict, you train, you find out.",
        size=11,
        color=ink,
    )
    axes = figure.add_axes((0.71, 0.16, 0.27, 0.64))
    axes.patch.set_visible(False)
    losses = {record.step: record.train_loss for record in run.state.history}
    axes.plot(losses.keys(), losses.values(), color=blue, linewidth=2.5)
    shown = [sample["step"] for sample in story(run)]
    axes.plot(shown, [losses[step] for step in shown], "o", color=blue)
    axes.text(250, 1.1, "text that it reads", color=blue, size=11)
    axes.text(250, 4.6, "?", color=ink, size=40, ha="center", va="center")
    axes.text(250, 3.0, "other text", color=ink, size=11, ha="center")
    axes.set_ylim(0)
    axes.set_xlabel("step", color=ink)
    axes.set_ylabel("loss (nats per token)", color=ink)
    axes.tick_params(colors=ink)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(ink)
    drawn = StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "slmlab", "svg.fonttype": "path"}):
        words = {"Title": "A model's samples and its loss", "Description": facts(run)}
        figure.savefig(drawn, format="svg", metadata={**words, "Date": None, "Creator": None})
    return drawn.getvalue()


def told(path: Path) -> str:
    """The facts inside a picture; nothing if there is no picture."""
    return next(ET.parse(path).iter(DESCRIPTION)).text if path.exists() else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say what is stale")
    options = parser.parse_args()
    run = lab.PHASES[0].recorded("right-sized")
    stale = []
    for theme in THEMES:
        path = ROOT / "docs" / f"hero-{theme}.svg"
        # Another version of matplotlib draws other curves of the same facts.
        if told(path) != facts(run) or not options.check:
            stale.append(path)
            if not options.check:
                path.write_text(picture(run, theme), encoding="utf-8")
    notebook = nbformat.read(LESSON, as_version=4)
    before, cell = notebook.cells[0].source, first_cell(run)
    notebook.cells[0].source = RECITAL.sub(lambda _: cell, before)
    if notebook.cells[0].source != before:
        stale.append(LESSON)
        if not options.check:
            LESSON.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")
    print(*(path.relative_to(ROOT).as_posix() for path in stale), sep="\n")
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
