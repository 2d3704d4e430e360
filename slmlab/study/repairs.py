"""What decoders repair, by the record: each beside another one, on the same prompts."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from slmlab.engine.decoding import penalise
from slmlab.engine.evaluation import LanguageModel
from slmlab.study.continuations import Task, generated_logits
from slmlab.study.experiments.decoders import DECODING, GREEDY, MEASURES
from slmlab.study.experiments.tables import read_table
from slmlab.study.paired import paired_difference
from slmlab.text.tokenizer import Tokenizer
from slmlab.validation import (
    instance,
    instances,
    listed,
    number_columns,
    one_of,
    real_number,
    table_with,
    text_columns,
)

if TYPE_CHECKING:
    import pandas as pd

PENALTIES = (1.0, 1.1, 1.2, 1.5)
KINDS = ["words", "signs", "indentation", "new"]  # of tokens
READ = "what lab.repairs.read_decoders() returns"
KEYS = ("model", "seed", "decoder", "kind", "file", "prompts")


def read_decoders() -> "pd.DataFrame":
    """Every model, seed, decoder and file; see `Decoders` for the columns."""
    return read_table(DECODING)


def decoder_means(table: "pd.DataFrame") -> "pd.DataFrame":
    """Each decoder's mean over all prompts and seeds, by model, kind of text and decoder.

    `table` is what `read_decoders` gives, or some rows of it. Columns: the measures (NaN where one
    says nothing of a kind of text, or a text was too short), `loss` in nats per token,
    `likelier` and `unlikelier`; texts count alike, but tokens in the loss.
    """
    shares = [*MEASURES, "likelier", "unlikelier"]
    table_with("table", table, [*KEYS, *shares, "loss", "tokens"], READ)
    text_columns("table", table, ["model", "kind", "decoder"])
    number_columns("table", table, ["prompts", "tokens"], gaps=False)
    number_columns("table", table, [*shares, "loss"], gaps=True)
    sums = table[["model", "kind", "decoder"]].copy()
    for name in shares:
        sums[name] = table[name] * table["prompts"]
        sums[f"n {name}"] = table["prompts"].where(table[name].notna())
    sums["loss"], sums["n loss"] = table["loss"] * table["tokens"], table["tokens"]
    sums = sums.groupby(["model", "kind", "decoder"], sort=False).sum(min_count=1)
    return sums[[*shares, "loss"]] / sums[[f"n {name}" for name in (*shares, "loss")]].to_numpy()


def decoder_changes(table: "pd.DataFrame", measure: str, base: str = GREEDY) -> "pd.DataFrame":
    """A measure of each decoder, and how far it is from that of `base` on the same prompts.

    `table` is what `read_decoders` gives, of one model and one kind of text. A row for each
    decoder; columns: `mean`, `change`, and `low` and `high`, its 95% interval over files and seeds
    (`paired_difference`). A file in which a text was too short to be measured counts for nobody.
    """
    import pandas as pd

    one_of("measure", measure, MEASURES)
    table_with("table", table, [*KEYS, measure], READ)
    text_columns("table", table, ["model", "kind", "decoder", "file"])
    number_columns("table", table, ["seed", "prompts"], gaps=False)
    number_columns("table", table, [measure], gaps=True)
    for name in ("model", "kind"):
        if table[name].nunique() != 1:
            raise ValueError(
                f"The table has {table[name].nunique()} values in {name!r}; keep the rows of one, "
                f'such as table[table["{name}"] == {table[name].iloc[0]!r}].'
            )
    one_of("base", base, tuple(table["decoder"].unique()))
    known = table.groupby("file")[measure].transform(lambda values: values.notna().all())
    scores = table[known].rename(columns={"prompts": "bytes"})
    scores = scores[["decoder", "file", "seed", "bytes"]].assign(
        bits=scores[measure] * scores["bytes"]
    )
    scores = scores.rename(columns={"decoder": "model"})
    rows = {}
    for name, of in scores.groupby("model", sort=False):
        mean = of["bits"].sum() / of["bytes"].sum()
        change = (0.0, 0.0, 0.0)
        if name != base:
            found = paired_difference(scores[scores["model"].isin([name, base])], name, base)
            change = (found.mean, found.low, found.high)
        rows[name] = (mean, *change)
    columns = ["mean", "change", "low", "high"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("decoder")


def penalty_accuracy(
    model: LanguageModel,
    tokenizer: Tokenizer,
    tasks: Sequence[Task],
    penalties: Sequence[float] = PENALTIES,
) -> "pd.DataFrame":
    """What a repetition penalty does to right guesses: a row for each penalty, 1 for none.

    Each token of the tasks' truths is guessed after the text's own tokens, with the penalty on all
    that came before. Columns: the share guessed right of all tokens, of `new` ones, and of those
    that came before in the text: `words` (with a letter or digit), `signs` such as brackets,
    and `indentation`. The first row is the share of the text that each column is.
    """
    import pandas as pd

    instance("tokenizer", tokenizer, Tokenizer)
    penalties = [real_number("A penalty", p, above=0) for p in listed("penalties", penalties, "θ")]
    rows = []
    for task in instances("tasks", tasks, Task):
        text, start = [*task.prompt, *task.truth], len(task.prompt)
        for place, logits in enumerate(generated_logits(model, text, start), start):
            before, token = text[:place], text[place]
            found = {p: int(penalise(logits, before, p).argmax()) == token for p in penalties}
            kind = _kind(tokenizer.token_bytes(token)) if token in before else "new"
            rows.append({"kind": kind} | found)
    guesses = pd.DataFrame(rows, columns=["kind", *penalties])
    table = guesses.groupby("kind")[penalties].mean().T.reindex(columns=KINDS)
    table.insert(0, "all", guesses[penalties].mean())
    shares = guesses["kind"].value_counts(normalize=True).reindex(KINDS, fill_value=0.0)
    table.loc["share of the text"] = {"all": 1.0} | shares.to_dict()
    return table.reindex(["share of the text", *penalties]).rename_axis("penalty")


def _kind(token: bytes) -> str:
    if not token.strip():
        return "indentation"
    return "words" if any(chr(byte).isalnum() for byte in token if byte < 128) else "signs"
