"""Panels to play with, of core ipywidgets only. No training logic lives here."""

from html import escape

import ipywidgets

from slmlab.plots import loss_curves
from slmlab.runs import PROMPTS, Run


class Scrubber:
    """A slider over the evaluations of a run: where the curves stood, and what it wrote then.

    Where no kernel is attached, a table of a few of its steps stands in its place.

    Attributes:
        step: the slider.
        prompt: the choice among the prompts.
        text: the sample of that step, as HTML.
        curves: the loss curves with the step marked, as a picture.

    Raises:
        ValueError: for a run without samples.
    """

    def __init__(self, run: Run) -> None:
        if not run.samples:
            raise ValueError(f"{run.name} has no samples to look through; take a recorded run.")
        self.run = run
        self._texts = {(s["step"], s["prompt"]): s["text"] for s in run.samples}
        steps = sorted({step for step, _ in self._texts})
        prompts = [p for p in PROMPTS if (steps[0], p) in self._texts]
        wide = ipywidgets.Layout(width="520px")
        self.step = ipywidgets.SelectionSlider(
            options=[(f"{step:,}", step) for step in steps],
            value=steps[-1],
            description="step",
            layout=wide,
        )
        self.prompt = ipywidgets.Dropdown(options=prompts, description="prompt", layout=wide)
        self.text = ipywidgets.HTML(layout=ipywidgets.Layout(min_height="150px"))
        self.curves = ipywidgets.Image(format="png", width=700)
        self.step.observe(self._draw, "value")
        self.step.observe(self._write, "value")
        self.prompt.observe(self._write, "value")
        self._draw()
        self._write()
        self.panel = ipywidgets.VBox([self.step, self.prompt, self.curves, self.text])
        self.panel.add_class("slm-scrubber")

    def _draw(self, _: object = None) -> None:
        self.curves.value = loss_curves(self.run, marked=self.step.value)._repr_png_()

    def _write(self, _: object = None) -> None:
        self.text.value = _sample(self._texts[self.step.value, self.prompt.value])

    def _ipython_display_(self) -> None:
        from IPython.display import display

        view = self.panel._repr_mimebundle_() or {}
        display(view | {"text/plain": "", "text/html": self._static()}, raw=True)

    def _static(self) -> str:
        """Four steps of the run, for pages without a kernel."""
        steps = [value for _, value in self.step.options]
        chosen = [steps[round(i * (len(steps) - 1) / 3)] for i in range(4)]
        rows = "".join(
            f"<tr><td style='vertical-align:top'>step {step:,}</td><td style='text-align:left'>"
            f"{_sample(self._texts[step, self.prompt.value])}</td></tr>"
            for step in dict.fromkeys(chosen)
        )
        return f"<table>{rows}</table>"


def _sample(text: str) -> str:
    return (
        "<pre style='border-left:4px solid #0072B2;padding:6px 12px;white-space:pre-wrap'>"
        f"{escape(text)}</pre>"
    )
