"""The five phases of the published experiment, as data and as something to run."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from slmlab.engine.model import GPT
from slmlab.engine.runs import Run
from slmlab.study.setups import Setup, published_setups
from slmlab.text.dataset import Dataset
from slmlab.text.files import DataError, data_path, read_published
from slmlab.validation import instance, instances, shown, whole_number

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Phase:
    """One published set-up, with what was published of it: results, losses, samples."""

    number: int
    name: str
    verdict: str
    setup: Setup
    published: dict[str, Any]
    losses: list[dict[str, float]]
    samples: list[dict[str, str]]

    @property
    def title(self) -> str:
        return f"Phase {self.number}: {self.name}"

    @property
    def curve(self) -> "pd.DataFrame":
        """The published losses, one row per evaluation, in nats per token."""
        import pandas as pd

        return pd.DataFrame(self.losses)

    def dataset(self, vocabulary: str = "gpt2") -> Dataset:
        """The text of the phase, without a test text; "gpt2" or "right-sized" ids."""
        return self.setup.replace(vocabulary=vocabulary).dataset(tested=False)

    def model(self, vocab_size: int = 50257, seed: int = 0) -> GPT:
        """The phase's model before training."""
        return self.setup.replace(seed=seed).model(vocab_size)

    def run(
        self,
        vocabulary: str = "gpt2",
        seconds: float | None = None,
        seed: int = 0,
        *,
        dataset: Dataset | None = None,
        **options: Any,
    ) -> Run:
        """Train the phase with its published settings; `seconds` stops it at a time budget.

        The vocabulary is "gpt2", as published, or "right-sized", which is many times faster.
        `dataset` replaces the phase's own; `options` are those of `train`.
        """
        setup = self.setup.replace(vocabulary=vocabulary, seed=seed)
        if seconds is not None:
            setup = setup.replace(seconds=seconds)
        if dataset is None:
            dataset = self.dataset(vocabulary)
        return setup.train(dataset, **{"name": self.run_name(vocabulary, seed)} | options)

    def compare(self, run: Run) -> "pd.DataFrame":
        """The published figures of this phase beside those of a run, as text for a table.

        The gap is signed, validation − training; losses are in nats per token. Where the reported
        best step is not the lowest of the published curve, the curve's lowest has rows of its own.
        """
        import pandas as pd

        instance("run", run, Run)
        last, state = run.last, run.state
        theirs = self.published
        lowest = min(self.losses, key=lambda row: row["val_loss"])
        best = [
            (
                "best validation loss",
                f"{theirs['best_val_loss']:.2f}",
                f"{state.best_val_loss:.2f}",
            ),
            ("best step", f"{theirs['best_val_step']:,}", f"{state.best_step:,}"),
        ]
        if lowest["step"] != theirs["best_val_step"]:
            best = [(f"{name}, as reported", a, b) for name, a, b in best] + [
                ("lowest on the curve", f"{lowest['val_loss']:.2f}", best[0][2]),
                ("step of the lowest", f"{lowest['step']:,}", best[1][2]),
            ]
        losses = [
            ("final training loss", theirs["final_train_loss"], last.train_loss),
            ("final validation loss", theirs["final_val_loss"], last.val_loss),
            ("gap", theirs["final_val_loss"] - theirs["final_train_loss"], run.gap),
        ]
        counts = [
            ("parameters", theirs["parameters"], run.model.n_params),
            ("training tokens", theirs["train_tokens"], len(run.dataset.train)),
            ("validation tokens", theirs["val_tokens"], len(run.dataset.val)),
            ("seconds of training", theirs["seconds"], round(state.seconds)),
        ]
        rows = [(name, f"{a:.2f}", f"{b:.2f}") for name, a, b in losses]
        rows += best
        rows += [(name, f"{a:,}", f"{b:,}") for name, a, b in counts]
        table = pd.DataFrame(rows, columns=["measure", "published", "ours"])
        return table.set_index("measure")

    def run_name(self, vocabulary: str = "gpt2", seed: int = 0) -> str:
        """The name of the phase's recorded run, such as "phase-0-gpt2-seed-0".

        Raises `ValueError` for a seed that is none.
        """
        seed = whole_number("seed", seed, most=2**63 - 1)
        return f"phase-{self.number}-{vocabulary}-seed-{seed}"

    def recorded(self, vocabulary: str = "gpt2", seed: int = 0) -> Run:
        """The full run of this phase that the course carries. `DataError` if there is none."""
        return recorded(self.run_name(vocabulary, seed))


def settings_table(phases: Sequence[Phase]) -> "pd.DataFrame":
    """What was set in each phase, as text for a table: one column per phase, one row per setting.

    The columns leave out the published names, as "failed" is a result. The parameters count GPT-2's
    vocabulary; the text is the nine tenths that are trained on.
    """
    import pandas as pd

    columns = {}
    for phase in instances("phases", phases, Phase):
        shape, training = phase.setup.shape, phase.setup.training
        tokens = phase.published["train_tokens"]
        read = training.max_steps * training.batch_size * shape.block_size
        columns[f"Phase {phase.number}"] = {
            "training tokens": f"{tokens:,}",
            "parameters": f"{phase.published['parameters']:,}",
            "layers (n_layer)": f"{shape.n_layer}",
            "heads (n_head)": f"{shape.n_head}",
            "width (n_embd)": f"{shape.n_embd}",
            "context (block_size)": f"{shape.block_size}",
            "sequences in a batch": f"{training.batch_size}",
            "learning rate": f"{training.learning_rate:g}",
            "steps": f"{training.max_steps:,}",
            "times the text is read": f"{read / tokens:.0f}",
        }
    return pd.DataFrame(columns)


def recorded(name: str) -> Run:
    """A run that the course carries in `data/runs/`, such as "phase-0-gpt2-seed-0".

    Raises `DataError`, with the names there are, if it does not exist.
    """
    runs = data_path("runs")
    folders = [p.name for p in runs.iterdir() if p.is_dir()] if runs.is_dir() else []
    if not isinstance(name, str) or name not in folders:
        known = ", ".join(sorted(folders)) or "none"
        raise DataError(
            f"There is no recorded run {shown(name, 40)}; the recorded runs are: {known}."
        )
    return Run.load(runs / name)


def _load_phases() -> tuple[Phase, ...]:
    records = read_published("phases.json")
    return tuple(
        Phase(
            number=record["phase"],
            name=record["name"],
            verdict=record["verdict"],
            setup=setup,
            published=record["result"],
            losses=record["curve"],
            samples=[{"prompt": s["prompt"], "text": s["output"]} for s in record["samples"]],
        )
        for record, setup in zip(records, published_setups(), strict=True)
    )


class _Phases(Sequence[Phase]):
    """The phases, read from the published data when one is first asked for."""

    @cached_property
    def _phases(self) -> tuple[Phase, ...]:
        return _load_phases()

    def __getitem__(self, index: Any) -> Any:
        try:
            return self._phases[index]
        except (IndexError, TypeError) as error:
            # An `IndexError` is what ends a loop over the phases.
            kind = IndexError if isinstance(error, IndexError) else ValueError
            raise kind(
                f"There is no phase {shown(index)}; the phases are 0 to {len(self) - 1}, such as "
                "lab.PHASES[2]."
            ) from None

    def __len__(self) -> int:
        return len(self._phases)


PHASES = _Phases()
