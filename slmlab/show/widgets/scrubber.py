"""A slider through a recorded run."""

from html import escape

import ipywidgets

from slmlab.engine.runs import Run
from slmlab.show.plots.curves import loss_curves
from slmlab.show.runs import evaluated, short
from slmlab.show.widgets.parts import FULL, LABEL, Panel, framed, sample_html
from slmlab.validation import shown, whole_text

NOTHING = "(no sample was taken here)"


class Scrubber(Panel):
    """A slider over the evaluations of a run: where the curves stood, and what it wrote then.

    It begins at the last step, with `prompt` (default: the run's first). Where no kernel is
    attached, a table of a few of its steps appears in its place.

    Attributes:
        step: the slider.
        prompt: the choice among the prompts.
        text: the sample of that step, as HTML.
        curves: the loss curves with the step marked, as a picture.

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
        self.step = ipywidgets.SelectionSlider(
            options=[(f"{step:,}", step) for step in steps],
            value=steps[-1],
            description="step",
            layout=FULL,
            style=LABEL,
        )
        self.prompt = ipywidgets.Dropdown(
            options=prompts,
            value=prompts[0] if prompt is None else prompt,
            description="prompt",
            layout=FULL,
            style=LABEL,
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
        self.text.value = self._sample(self.step.value)

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
