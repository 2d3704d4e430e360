"""A slider through a recorded run."""

from html import escape

import ipywidgets

from slmlab.engine.runs import Run
from slmlab.show.plots.curves import loss_curves
from slmlab.show.runs import evaluated, short
from slmlab.show.widgets.parts import (
    FULL,
    Panel,
    framed,
    live,
    paragraph,
    row,
    sample_html,
    title_html,
)
from slmlab.show.widgets.slider import Slider
from slmlab.show.words import number
from slmlab.validation import shown, whole_text

NOTHING = "(no sample was taken here)"


class Scrubber(Panel):
    """A slider over the evaluations of a run: its losses, and what it wrote then.

    It begins at the last step, with `prompt` (default: the run's first). Where no kernel is
    attached, a table of a few of its steps appears in its place.

    Attributes:
        step: the slider.
        prompt: the choice among the prompts.
        losses: the losses at that step, in words, as HTML.
        text: the sample of that step, as HTML.
        curves: the loss curves, as HTML; they are drawn once.
        marker: the line at the step, over the curves, as HTML.

    Raises:
        ValueError: for a run without samples, or none of that prompt.
    """

    def __init__(self, run: Run, prompt: str | None = None) -> None:
        self.run = evaluated(run)
        if prompt is not None:
            whole_text("prompt", prompt)
        # Before training a model writes random tokens of its vocabulary, rude ones among them.
        self._texts = {(s["step"], s["prompt"]): s["text"] for s in run.samples if s["step"] > 0}
        if not self._texts:
            raise ValueError(
                f"{short(run.name)} has no samples to look through; take a recorded run."
            )
        steps = sorted({step for step, _ in self._texts})
        prompts = list(dict.fromkeys(prompt for _, prompt in self._texts))
        if prompt is not None and prompt not in prompts:
            raise ValueError(
                f"{short(run.name)} has no samples of {shown(prompt)}; it has "
                f"{', '.join(map(shown, prompts))}."
            )
        self.step = Slider(
            options=[(f"{step:,}", step) for step in steps],
            value=steps[-1],
            description="step",
            layout=FULL,
        )
        self.prompt = ipywidgets.Dropdown(
            options=prompts,
            value=prompts[0] if prompt is None else prompt,
            description="prompt",
            layout=FULL,
            style={"description_width": "auto"},
        )
        chart = loss_curves(self.run)
        self.curves = ipywidgets.HTML(chart.html())  # which puts the axes in their place
        self._axes = chart.axes[0]
        self.marker = ipywidgets.HTML().add_class("slm-marker")
        self.losses, self.text = live(), ipywidgets.HTML()
        self.step.observe(self._mark, "value")
        for control in (self.step, self.prompt):
            control.observe(self._write, "value")
        self._mark()
        self._write()
        picture = ipywidgets.Box([self.curves, self.marker]).add_class("slm-picture")
        words = ipywidgets.VBox([self.losses, self.text]).add_class("slm-words")
        heading = f"Step by step: {short(self.run.name)}"
        self.box = framed(
            "scrubber",
            ipywidgets.HTML(title_html(heading)),
            self.step,
            self.prompt,
            row(picture, words),
            label=heading,
        )

    def _mark(self, _: object = None) -> None:
        """Move the line; all is in percent of the picture, which is as wide as its place."""
        place, (first, last) = self._axes.get_position(), self._axes.get_xlim()
        left = place.x0 + place.width * (self.step.value - first) / (last - first)
        self.marker.value = (
            f"<div style='position:absolute;left:{left:.2%};top:{1 - place.y1:.2%};"
            f"height:{place.height:.2%};border-left:1px solid currentColor'></div>"
        )

    def _write(self, _: object = None) -> None:
        step = self.step.value
        said = f"At step {step:,}"
        for now in self.run.state.history:
            if now.step == step:
                said += (
                    f": training loss {number(now.train_loss)}, validation loss "
                    f"{number(now.val_loss)} nats per token"
                )
        self.losses.value = paragraph(f"{said}. It wrote:")
        self.text.value = self._sample(step)

    def _sample(self, step: int) -> str:
        return sample_html(self._texts.get((step, self.prompt.value), NOTHING))

    def static(self) -> str:
        """At most four steps of the run."""
        steps = [value for _, value in self.step.options]
        chosen = dict.fromkeys(steps[round(i * (len(steps) - 1) / 3)] for i in range(4))
        rows = "".join(
            f"<tr><td style='vertical-align:top'>step {step:,}</td>"
            f"<td style='text-align:left'>{self._sample(step)}</td></tr>"
            for step in chosen
        )
        prompt, name = escape(self.prompt.value), escape(self.run.name)
        return (
            f"<p>After <code>{prompt}</code>, at {_counted(len(chosen))} of {name}:</p>"
            f"<table>{rows}</table>"
        )


def _counted(steps: int) -> str:
    return "one step" if steps == 1 else f"{('two', 'three', 'four')[steps - 2]} steps"
