"""Every figure of the course. Colours are Okabe and Ito's, safe for colour-blind readers."""

from io import BytesIO

import pandas as pd
from matplotlib.figure import Figure

from slmlab.model import GPT
from slmlab.phases import Phase
from slmlab.runs import Run

TRAIN, VAL, GUESS, MUTED = "#0072B2", "#D55E00", "#009E73", "#888888"
KINDS = ("#0072B2", "#56B4E9", "#E69F00", "#009E73", "#999999")


class Chart(Figure):
    """A matplotlib figure that a notebook shows as a picture, with no pyplot state behind it."""

    def __init__(self, width: float = 7.0, height: float = 3.8) -> None:
        super().__init__(figsize=(width, height), layout="constrained", dpi=100)

    def _repr_png_(self) -> bytes:
        buffer = BytesIO()
        self.savefig(buffer, format="png")
        return buffer.getvalue()


def loss_curves(
    run: Run,
    *,
    recorded: Run | None = None,
    published: Phase | None = None,
    guess: float | None = None,
    marked: int | None = None,
) -> Chart:
    """Training and validation loss against the step, the gap between them shaded.

    `recorded` adds a stored full run (thin lines), `published` the experiment's curves (dots);
    `guess` marks a predicted final gap as a bar at the right edge, on top of the training loss;
    `marked` draws a line at a step.
    """
    chart = Chart()
    axes = chart.subplots()
    own = run.history
    longest = recorded.history if recorded is not None else own
    axes.fill_between(
        longest["step"], longest["train_loss"], longest["val_loss"], color=VAL, alpha=0.10
    )
    if recorded is not None:
        _curve_pair(axes, longest, " (recorded full run)", linewidth=1.2)
    if published is not None:
        _curve_pair(axes, published.curve, " (published)", linestyle=":", linewidth=1.6, alpha=0.7)
    _curve_pair(axes, own, " (this run)" if recorded is not None else "", linewidth=3)

    state = (recorded or run).state
    axes.plot(state.best_step, state.best_val_loss, "o", color=VAL, markersize=8, fillstyle="none")
    late = state.best_step > longest["step"].max() / 2
    axes.annotate(
        f"best: step {state.best_step:,}",
        (state.best_step, state.best_val_loss),
        xytext=(-8 if late else 8, -16),
        textcoords="offset points",
        ha="right" if late else "left",
        color=VAL,
    )
    last = longest.iloc[-1]
    if guess is not None:
        axes.plot(
            [last["step"]] * 2,
            [last["train_loss"], last["train_loss"] + guess],
            color=GUESS,
            linewidth=6,
            solid_capstyle="butt",
            label=f"your guess: gap {guess:+.1f}",
        )
    if marked is not None:
        axes.axvline(marked, color=MUTED, linewidth=1.5)
    axes.set_xlabel("step")
    axes.set_ylabel("loss (nats per token)")
    axes.set_ylim(bottom=0)
    axes.set_title(f"Loss: the gap ends at {last['val_loss'] - last['train_loss']:+.2f}")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return chart


def _curve_pair(axes, table: pd.DataFrame, suffix: str, **style) -> None:
    axes.plot(table["step"], table["train_loss"], color=TRAIN, label=f"training{suffix}", **style)
    axes.plot(table["step"], table["val_loss"], color=VAL, label=f"validation{suffix}", **style)


def parameter_breakdown(model: GPT) -> Chart:
    """One bar: where a model's parameters sit."""
    table = model.parameter_table()
    chart = Chart(height=1.9)
    axes = chart.subplots()
    left = 0.0
    for (kind, row), colour in zip(table.iterrows(), KINDS, strict=True):
        share = 100 * row["share"]
        axes.barh(0, share, left=left, color=colour, label=f"{kind}: {share:.1f} %")
        left += share
    axes.set_title(f"Where the {model.n_params:,} parameters sit")
    axes.set_xlabel("share of all parameters (%)")
    axes.set_xlim(0, 100)
    axes.set_yticks([])
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.1))
    return chart
