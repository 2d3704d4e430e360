"""A model card (Mitchell et al. 2019, arXiv:1810.03993): what a run's model is, and is not."""

from typing import TYPE_CHECKING

from torch import Tensor

from slmlab.engine.evaluation import bits_per_byte
from slmlab.engine.runs import Run
from slmlab.show.harmless import in_markdown
from slmlab.show.words import counted, ending, number
from slmlab.study.baseline import number_to_beat
from slmlab.study.diagnosis import GAP_BANDS, advice, gap_band
from slmlab.study.memorisation import COPY_NGRAM
from slmlab.study.samples import scorecard
from slmlab.text.files import sha256
from slmlab.text.own_text import OwnText
from slmlab.validation import instance, shown, whole_text

if TYPE_CHECKING:
    import pandas as pd


def model_card(run: Run, own: OwnText, *, title: str = "", purpose: str = "") -> str:
    """The card of a run on a learner's own text, in Markdown: every figure is read off the run.

    It leads with the best step's score on the held-out text, which chose nothing, beside the number
    to beat. Titles, prompts and names are shown as they are, whatever Markdown or HTML they hold.

    Raises `ValueError` for a run on another text, without a held-out text, or without samples,
    whose copying cannot be told.
    """
    title, purpose = whole_text("title", title), whole_text("purpose", purpose)
    _check(run, own)
    sections = {
        "How good it is": _score(run, own),
        "What it copies": _copying(run),
        "The gap": _gap(run),
        "Data": _data(run, own),
        "Model": _model(run),
        "Training": _training(run),
        "Limits": [
            "It knows nothing but this text. It continues text; it does not answer or reason.",
            "It may write any passage of the training text word for word.",
            *advice(run),
        ],
    }
    lines = [f"# {in_markdown(title or run.name)}", ""]
    if purpose:
        lines += [in_markdown(purpose), ""]
    for heading, points in sections.items():
        lines += [f"## {heading}", "", *(f"- {point}" for point in points), ""]
    return "\n".join(lines)


def explain_samples(run: Run) -> list[str]:
    """Why a run's samples read as they do, in sentences: its skill, copying, and what would help.

    They are about the samples of the best step if there are any, else of the last one. Raises
    `ValueError` for a run without a held-out text, or without samples.
    """
    score, to_beat = _scores(instance("run", run, Run, "what lab.train(…) returns"))
    step, card = _samples(run)
    best, last = run.state.best_step, run.last.step
    said = (
        f"On the held-out text the model of step {best:,} needs {score:.2f} bits per byte, and a "
        f"5-gram, which is a table of counts, {to_beat:.2f}."
    )
    if score < to_beat:
        meaning = "It beats the table. Still, it has learnt what follows what, and nothing else."
    else:
        meaning = "It does not beat the table: expect familiar pieces in an order without sense."
    copied = (
        f"{card['copied'].mean():.0%} of the {COPY_NGRAM}-token sequences in the samples of step "
        f"{step:,} are copied. What is copied reads well because somebody else wrote it."
    )
    if best == last:
        remedy = "The validation loss was lowest at the last look: more time should help."
    else:
        remedy = (
            f"The validation loss was lowest at step {best:,} of {last:,}: more time is unlikely "
            "to help. More text, or a lower learning rate, may."
        )
    return [f"{said} {meaning}", copied, remedy]


def _check(run: Run, own: OwnText) -> None:
    if not isinstance(run, Run) or not isinstance(own, OwnText):
        raise ValueError(
            f"A card is made of a run and the text it was trained on, as lab.train(…) and "
            f"lab.read_text(…) return them; got {shown(run, 40)} and {shown(own, 40)}."
        )
    if run.dataset.source.get("sha256") != sha256(own.text.encode()):
        raise ValueError(f"{run.name} was trained on another text than this; read that one again.")


def _held_out(run: Run) -> Tensor:
    """The token ids of the held-out text."""
    if run.dataset.test is None:
        raise ValueError(
            f"{run.name} has no held-out text to be scored on; train it on own.dataset()."
        )
    return run.dataset.test


def _scores(run: Run) -> tuple[float, float]:
    """The best step's score on the held-out text and the number to beat, in bits per byte."""
    test, best = _held_out(run), run.state.best_step
    loss = next((p.test_loss for p in run.state.history if p.step == best), None)
    number = number_to_beat(run.dataset).test_bits
    if loss is None or number is None:
        raise ValueError(f"{run.name} has no held-out loss at its best step; train it again.")
    return bits_per_byte(loss, run.dataset, test), number


def _samples(run: Run) -> "tuple[int, pd.DataFrame]":
    """The step and the scorecard of the best step's samples, or of the last ones."""
    steps = {sample["step"] for sample in run.samples}
    if not steps:
        raise ValueError(
            f"{run.name} has no samples, but a card must say how much the model copies; train it "
            "with prompts=own.prompts()."
        )
    step = run.state.best_step if run.state.best_step in steps else max(steps)
    return step, scorecard(run, step)


def _score(run: Run, own: OwnText) -> list[str]:
    score, to_beat = _scores(run)
    better = "this model" if score < to_beat else "counting"
    return [
        f"**{score:.2f} bits per byte** on the held-out text of {len(_held_out(run)):,} tokens, "
        "which chose nothing. Lower is better; without any model, bytes take 8.",
        f"The number to beat is {to_beat:.2f}: what a 5-gram of the same training text needs. "
        f"Here {better} is better.",
        f"The score is that of step {run.state.best_step:,}, which had the lowest validation loss.",
        f"{own.overlaps['held-out']:.0%} of the held-out text's {COPY_NGRAM}-token sequences (in "
        "GPT-2's tokens) appear in the training text: on a text with fewer it scores worse.",
        "One run with one seed: another seed would differ by a tenth or more.",
    ]


def _copying(run: Run) -> list[str]:
    step, card = _samples(run)
    longest = card["longest match"].idxmax()
    points = [
        f"{card['copied'].mean():.0%} of the {COPY_NGRAM}-token sequences in "
        f"{counted(len(card), 'sample')} appear in the training text.",
        f"The longest match has {counted(card['longest match'].max(), 'token')}, after "
        f"“{in_markdown(longest)}”.",
        f"The samples are of step {step:,}.",
        "A longer search, or other prompts, may find more.",
    ]
    if step != run.state.best_step:
        points[2] += f" The weights of step {run.state.best_step:,} may copy less or more."
    return points


def _gap(run: Run) -> list[str]:
    last, state = run.state.history[-1], run.state
    band = gap_band(run.gap)
    whose = "This course" if band is GAP_BANDS[0] else "The experiment of this course"
    return [
        f"Training loss {last.train_loss:.2f}, validation loss {last.val_loss:.2f} nats per token "
        f"at the last step: a gap of {number(run.gap, '+.2f')}.",
        f"{whose} calls that {band.name}: {band.meaning}.",
        f"Best validation loss {state.best_val_loss:.2f}, at step {state.best_step:,} "
        f"({bits_per_byte(state.best_val_loss, run.dataset):.2f} bits per byte). It chose the "
        "step, so it flatters the model.",
    ]


def _data(run: Run, own: OwnText) -> list[str]:
    data = run.dataset
    secrets = len(own.secrets().drop_duplicates(["file", "line"]))
    return [
        f"{counted(len(own.corpus.documents), 'file')}, {len(own.text):,} characters; "
        f"{len(data.train):,} tokens to train on, {len(data.val):,} to validate, "
        f"{len(_held_out(run)):,} held out, divided by {own.parts.by}.",
        f"SHA-256 of the text: `{sha256(own.text.encode())}`.",
        f"Vocabulary: {data.tokenizer.n_vocab:,} tokens ({in_markdown(data.tokenizer.name)}).",
        f"{own.overlaps['validation']:.0%} of the validation text's {COPY_NGRAM}-token sequences "
        "(in GPT-2's tokens) appear in the training text.",
        f"Lines that look like a secret: {secrets:,}."
        + (" **Do not share this model.**" if secrets else " That is no proof of none."),
    ]


def _model(run: Run) -> list[str]:
    config = run.model.config
    return [
        f"A GPT of {config.n_params:,} parameters: {counted(config.n_layer, 'layer')}, "
        f"{counted(config.n_head, 'head')}, width {config.n_embd}, context "
        f"{counted(config.block_size, 'token')}.",
        f"{run.params_per_token:,.1f} parameters for each training token.",
    ]


def _training(run: Run) -> list[str]:
    last, state, config = run.state.history[-1], run.state, run.config
    made_with = ", ".join(f"{key} {value}" for key, value in run.environment.items())
    how = in_markdown(ending(run) or "finished")
    return [
        f"{counted(last.step, 'step')} ({how}), the text read {last.epochs:,.1f} times, in "
        f"{state.seconds:,.0f} seconds.",
        f"AdamW, learning rate {config.learning_rate:g}, {counted(config.batch_size, 'sequence')} "
        f"a batch, weight decay {config.weight_decay:g}, dropout {run.model.config.dropout:g}, "
        f"seed {config.seed}.",
        f"{in_markdown(made_with)}.",
    ]
