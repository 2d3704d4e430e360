"""A model card (Mitchell et al. 2019, arXiv:1810.03993): what a run's model is, and is not."""

from torch import Tensor

from slmlab.engine.evaluation import bits_per_byte
from slmlab.engine.runs import Run
from slmlab.show.harmless import in_markdown
from slmlab.study.diagnosis import advice, gap_band
from slmlab.study.memorisation import COPY_NGRAM, copy_rate
from slmlab.study.samples import scorecard
from slmlab.text.files import sha256
from slmlab.text.own_text import OwnText
from slmlab.validation import shown, whole_text


def model_card(run: Run, own: OwnText, *, title: str = "", purpose: str = "") -> str:
    """The card of a run on a learner's own text, in Markdown: every figure is read off the run.

    It leads with the score on the held-out text, which chose nothing. Titles, prompts and names
    are shown as they are, whatever Markdown or HTML they hold.

    Raises `ValueError` for a run on another text, without a held-out text, or without samples,
    whose copying cannot be told.
    """
    title, purpose = whole_text("title", title), whole_text("purpose", purpose)
    _check(run, own)
    sections = {
        "How good it is": _score(run),
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


def _check(run: Run, own: OwnText) -> None:
    if not isinstance(run, Run) or not isinstance(own, OwnText):
        raise ValueError(
            f"A card is made of a run and the text it was trained on, as lab.train(…) and "
            f"lab.read_text(…) return them; got {shown(run, 40)} and {shown(own, 40)}."
        )
    if run.dataset.source.get("sha256") != sha256(own.text.encode()):
        raise ValueError(f"{run.name} was trained on another text than this; read that one again.")
    if not run.samples:
        raise ValueError(
            f"{run.name} has no samples, but a card must say how much the model copies; train it "
            "with prompts=own.prompts()."
        )


def _held_out(run: Run) -> Tensor:
    """The token ids of the held-out text."""
    if run.dataset.test is None:
        raise ValueError(
            f"{run.name} has no held-out text to be scored on; train it on own.dataset()."
        )
    return run.dataset.test


def _score(run: Run) -> list[str]:
    data, best, test = run.dataset, run.state.best_step, _held_out(run)
    loss = next((p.test_loss for p in run.state.history if p.step == best), None)
    if loss is None:
        raise ValueError(f"{run.name} has no held-out loss at its best step; train it again.")
    known = copy_rate(test.tolist(), data.train.tolist())
    return [
        f"**{bits_per_byte(loss, data, test):.2f} bits per byte** on the held-out text of "
        f"{len(test):,} tokens, which chose nothing (bytes take 8 without any model).",
        f"That is the model of step {best:,}, which had the lowest validation loss.",
        f"{known:.0%} of the held-out text's {COPY_NGRAM}-token sequences stand in the training "
        "text: on a text with fewer it scores worse.",
        "One run with one seed: another seed would differ by a tenth or more.",
    ]


def _copying(run: Run) -> list[str]:
    card = scorecard(run)
    longest = card["longest match"].idxmax()
    return [
        f"{card['copied'].mean():.0%} of the {COPY_NGRAM}-token sequences in {len(card)} samples "
        "stand in the training text.",
        f"The longest match has {card['longest match'].max()} tokens, after "
        f"“{in_markdown(longest)}”.",
        f"The samples are of the last step, {run.state.step:,}; the weights of step "
        f"{run.state.best_step:,} may copy less or more.",
        "A longer search, or other prompts, may find more.",
    ]


def _gap(run: Run) -> list[str]:
    last, state = run.state.history[-1], run.state
    band = gap_band(run.gap)
    return [
        f"Training loss {last.train_loss:.2f}, validation loss {last.val_loss:.2f} nats per token "
        f"at the last step: a gap of {run.gap:+.2f}.",
        f"The course's experiment calls that {band.name}: {band.meaning}.",
        f"Best validation loss {state.best_val_loss:.2f}, at step {state.best_step:,} "
        f"({bits_per_byte(state.best_val_loss, run.dataset):.2f} bits per byte). It chose the "
        "step, so it flatters the model.",
    ]


def _data(run: Run, own: OwnText) -> list[str]:
    data = run.dataset
    secrets = len(own.secrets().drop_duplicates(["file", "line"]))
    return [
        f"{len(own.corpus.documents):,} files, {len(own.text):,} characters; "
        f"{len(data.train):,} tokens to train on, {len(data.val):,} to validate, "
        f"{len(_held_out(run)):,} held out, divided by {own.parts.by}.",
        f"SHA-256 of the text: `{sha256(own.text.encode())}`.",
        f"Vocabulary: {data.tokenizer.n_vocab:,} tokens ({in_markdown(data.tokenizer.name)}).",
        f"{data.overlap():.0%} of the validation text's {COPY_NGRAM}-token sequences stand in the "
        "training text.",
        f"Lines that look like a secret: {secrets:,}."
        + (" **Do not share this model.**" if secrets else " That is no proof of none."),
    ]


def _model(run: Run) -> list[str]:
    config = run.model.config
    return [
        f"A GPT of {config.n_params:,} parameters: {config.n_layer} layers, {config.n_head} "
        f"heads, width {config.n_embd}, context {config.block_size} tokens.",
        f"{run.params_per_token:,.1f} parameters for each training token.",
    ]


def _training(run: Run) -> list[str]:
    last, state, config = run.state.history[-1], run.state, run.config
    made_with = ", ".join(f"{key} {value}" for key, value in run.environment.items())
    return [
        f"{last.step:,} steps ({in_markdown(state.status)}), the text read {last.epochs:,.1f} "
        f"times, in {state.seconds:,.0f} seconds.",
        f"AdamW, learning rate {config.learning_rate:g}, {config.batch_size} sequences a batch, "
        f"weight decay {config.weight_decay:g}, dropout {run.model.config.dropout:g}, seed "
        f"{config.seed}.",
        f"{in_markdown(made_with)}.",
    ]
