# Imports it needs: from bisect import bisect_right; from itertools import accumulate


def scorecard_history(run: Run) -> "pd.DataFrame":
    """The scorecard over training: one row per step that has samples, and the losses there.

    Columns: `train_loss`, `val_loss` and `test_loss` (nats per token; NaN without a test text),
    then those of `scorecard`, each the mean over the prompts.
    """
    import pandas as pd

    steps = sorted({sample["step"] for sample in run.samples})
    cards = {step: scorecard(run, step).astype(float).mean() for step in steps}
    columns = ["train_loss", "val_loss", "test_loss"]
    losses = run.history.set_index("step").reindex(columns=columns)
    return losses.astype(float).join(pd.DataFrame.from_dict(cards, orient="index"), how="inner")


@torch.no_grad()
def line_completions(model: GPT, dataset: Dataset, text: str) -> "pd.DataFrame":
    """Can the model finish the lines of a text? One row per line of at least four tokens.

    The indentation aside, it is given the first half of the line's tokens and what comes before
    (as far as its context reaches), and must go on greedily. Columns: `line`, stripped; `known`,
    whether the same line, indentation included, stands in the training text; `exact`, whether the
    model finds every token to the line's end.
    """
    import pandas as pd

    tokenizer, block = dataset.tokenizer, model.config.block_size
    seen = set(tokenizer.decode(dataset.train.tolist()).split("\n"))
    ids = tokenizer.encode(text)
    pieces = [tokenizer.token_bytes(i) for i in ids]
    ends = list(accumulate(map(len, pieces)))
    was_training = model.training
    model.eval()
    rows = []
    begin = 0  # of the line, in bytes
    for line in text.split("\n"):
        end = begin + len(line.encode())
        first, stop = bisect_right(ends, begin), bisect_right(ends, end)
        begin = end + 1
        while first < stop and not pieces[first].strip():
            first += 1
        if stop - first < 4:
            continue
        asked = stop - first - (stop - first) // 2
        window = torch.tensor(ids[max(0, stop - block - 1) : stop], device=model.wte.weight.device)
        guesses = model(window[None, :-1])[0].argmax(-1)
        exact = torch.equal(guesses[-asked:], window[-asked:])
        rows.append({"line": line.strip(), "known": line in seen, "exact": exact})
    model.train(was_training)
    return pd.DataFrame(rows, columns=["line", "known", "exact"])


def early_stop(run: Run, patience: int) -> dict[str, float]:
    """Where early stopping would have ended a run that was trained to its end.

    With a constant learning rate a run that stops early is the beginning of the longer one, so its
    history tells. The `best step`; the step at which it `stops`, after `patience` evaluations
    without a better validation loss; the `share` of the steps spent by then; the validation loss
    and, where there is one, the held-out loss `at best` and `at the end` of the full run, in nats
    per token.
    """
    history = run.state.history
    best = history[0]
    for report in history:
        if report.val_loss < best.val_loss:
            best = report
        if sum(best.step < r.step <= report.step for r in history) >= patience:
            break
    facts = {"best step": best.step, "stops": report.step, "share": report.step / history[-1].step}
    for name, column in (("validation", "val_loss"), ("held-out", "test_loss")):
        if getattr(best, column) is not None:
            facts[f"{name} at best"] = getattr(best, column)
            facts[f"{name} at the end"] = getattr(history[-1], column)
    return facts
