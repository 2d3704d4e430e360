"""A model card (Mitchell et al. 2019, arXiv:1810.03993): what a run's model is, and is not."""

from slmlab.engine.evaluation import bits_per_byte
from slmlab.engine.runs import Run
from slmlab.study.diagnosis import advice, gap_band
from slmlab.study.memorisation import COPY_NGRAM
from slmlab.study.samples import scorecard
from slmlab.text.own_text import OwnText


def model_card(run: Run, own: OwnText, *, title: str = "", purpose: str = "") -> str:
    """The card of a run on a learner's own text, in Markdown: every figure is read off the run.

    Raises `ValueError` for a run without samples, whose memorisation cannot be told.
    """
    card = scorecard(run)
    if card.empty:
        raise ValueError(f"{run.name} has no samples; a card must say how much the model copies.")
    data, config, state = run.dataset, run.model.config, run.state
    last = state.history[-1]
    secrets = len(own.secrets())
    longest = card["longest match"].idxmax()
    training = run.config
    sections = {
        "Data": [
            f"{len(own.corpus.documents):,} files, {len(own.text):,} characters; "
            f"{len(data.train):,} tokens to train on, {len(data.val):,} to validate.",
            f"SHA-256 of the text: `{data.source['sha256']}`.",
            f"Vocabulary: {data.tokenizer.n_vocab:,} tokens ({data.tokenizer.name}).",
            f"{data.overlap():.0%} of the validation text's {COPY_NGRAM}-token sequences "
            "stand in the training text: the validation loss is too low for new text.",
            f"Lines that look like a secret: {secrets:,}."
            + (" **Do not share this model.**" if secrets else " That is no proof of none."),
        ],
        "Model": [
            f"A GPT of {config.n_params:,} parameters: {config.n_layer} layers, {config.n_head} "
            f"heads, width {config.n_embd}, context {config.block_size} tokens.",
            f"{run.params_per_token:,.1f} parameters for each training token.",
        ],
        "Training": [
            f"{last.step:,} steps ({state.status}), the text read {last.epochs:,.1f} times, in "
            f"{state.seconds:,.0f} seconds.",
            f"AdamW, learning rate {training.learning_rate:g}, {training.batch_size} sequences a "
            f"batch, weight decay {training.weight_decay:g}, dropout {config.dropout:g}, seed "
            f"{training.seed}.",
            ", ".join(f"{key} {value}" for key, value in run.environment.items()) + ".",
        ],
        "Results": [
            f"Training loss {last.train_loss:.2f}, validation loss {last.val_loss:.2f} nats per "
            f"token; the gap is {run.gap:+.2f}: {gap_band(run.gap).name}.",
            f"Best validation loss {state.best_val_loss:.2f}, at step {state.best_step:,} "
            f"({bits_per_byte(state.best_val_loss, data):.2f} bits per byte).",
            "One run with one seed: another seed would differ by a tenth or more.",
        ],
        "Memorisation found": [
            f"{card['copied'].mean():.0%} of the {COPY_NGRAM}-token sequences in "
            f"{len(card)} samples stand in the training text.",
            f"The longest recital has {card['longest match'].max()} tokens, after `{longest}`.",
            f"The samples are of the last step, {last.step:,}; the best weights of step "
            f"{state.best_step:,} may recite less or more.",
            "A longer search, or other prompts, may find more.",
        ],
        "Limits": [
            "It knows nothing but this text. It continues text; it does not answer or reason.",
            "It may write any passage of the training text word for word.",
            *advice(run),
        ],
    }
    lines = [f"# {title or run.name}", ""]
    if purpose:
        lines += [purpose, ""]
    for heading, points in sections.items():
        lines += [f"## {heading}", "", *(f"- {point}" for point in points), ""]
    return "\n".join(lines)
