"""A slider through a recorded run."""

from html import escape

import ipywidgets

from slmlab.engine.runs import Run
from slmlab.show.plots.runs import loss_curves
from slmlab.show.widgets.parts import FULL, LABEL, Panel, framed, sample_html
from slmlab.study.domain import PROMPTS


class Scrubber(Panel):
    """A slider over the evaluations of a run: where the curves stood, and what it wrote then.

    It begins at the last step, with `prompt`. Where no kernel is attached, a table of a few of its
    steps stands in its place.

    Attributes:
        step: the slider.
        prompt: the choice among the prompts.
        text: the sample of that step, as HTML.
        curves: the loss curves with the step marked, as a picture.

    Raises:
        ValueError: for a run without samples, or none of that prompt.
    """

    def __init__(self, run: Run, prompt: str = PROMPTS[0]) -> None:
        # Before training a model writes random tokens of its vocabulary, rude ones among them.
        self._texts = {(s["step"], s["prompt"]): s["text"] for s in run.samples if s["step"] > 0}
        if not self._texts:
            raise ValueError(f"{run.name} has no samples to look through; take a recorded run.")
        self.run = run
        steps = sorted({step for step, _ in self._texts})
        prompts = [p for p in PROMPTS if (steps[0], p) in self._texts]
        if prompt not in prompts:
            raise ValueError(f"{run.name} has no samples of {prompt!r}; it has {prompts}.")
        self.step = ipywidgets.SelectionSlider(
            options=[(f"{step:,}", step) for step in steps],
            value=steps[-1],
            description="step",
            layout=FULL,
            style=LABEL,
        )
        self.prompt = ipywidgets.Dropdown(
            options=prompts, value=prompt, description="prompt", layout=FULL, style=LABEL
        )
        self.text = ipywidgets.HTML(layout=ipywidgets.Layout(min_height="150px"))
        self.curves = ipywidgets.Image(
            format="png", layout=ipywidgets.Layout(width="700px", max_width="calc(100% - 4px)")
        )
        self.step.observe(self._draw, "value")
        self.step.observe(self._write, "value")
        self.prompt.observe(self._write, "value")
        self._draw()
        self._write()
        self.box = framed("scrubber", self.step, self.prompt, self.curves, self.text)

    def _draw(self, _: object = None) -> None:
        self.curves.value = loss_curves(self.run, marked=self.step.value)._repr_png_()

    def _write(self, _: object = None) -> None:
        self.text.value = sample_html(self._texts[self.step.value, self.prompt.value])

    def static(self) -> str:
        """Four steps of the run."""
        steps = [value for _, value in self.step.options]
        chosen = [steps[round(i * (len(steps) - 1) / 3)] for i in range(4)]
        rows = "".join(
            f"<tr><td style='vertical-align:top'>step {step:,}</td><td style='text-align:left'>"
            f"{sample_html(self._texts[step, self.prompt.value])}</td></tr>"
            for step in dict.fromkeys(chosen)
        )
        caption = (
            f"After <code>{escape(self.prompt.value)}</code>, at four steps of {self.run.name}"
        )
        return f"<p>{caption}:</p><table>{rows}</table>"
