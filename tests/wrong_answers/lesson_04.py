"""Wrong answers to the exercises for 04, beside those that its checks list."""

STEPS = "times * len(dataset.train) // (8 * 32)"


def design(
    vocab: str = "dataset.tokenizer.n_vocab",
    shape: str = "32, 2, 4, 64",
    steps: str = STEPS,
    training: str = "8, 1e-3, max_steps=steps, patience=2",
) -> str:
    """A design, right in all parts that are not given."""
    return f"""
shape = lab.GPTConfig({vocab}, {shape})
steps = {steps}
return shape, lab.TrainConfig({training})
"""


BREAKING = """
best = 0
for i, loss in enumerate(val_losses):
    if loss < val_losses[best]:
        best = i
    elif i - best == patience:
        break
"""
WAITING = """
best = waited = 0
for i in range(1, len(val_losses)):
    if val_losses[i] < val_losses[best]:
        best = i
    waited = {}
    if waited == patience:
        return i, best
return len(val_losses) - 1, best
"""

WRONG = {
    "patience_cost": {
        "stops, kept, lost = 3000, 1600, 0.0": "`stops` is not 3,000",
        "stops, kept, lost = 1400, 1200, 0.0131": "does not have the lowest validation loss",
        "stops, kept, lost = 1400, 1000, 0": "It should be the difference",
    },
    "stops_at": {
        # Knows the future.
        """
        best = val_losses.index(min(val_losses))
        return min(best + patience, len(val_losses) - 1), best
        """: "cannot know of it",
        # Counts rises from one evaluation to the next.
        WAITING.format("waited + 1 if val_losses[i] >= val_losses[i - 1] else 0"): (
            "compare each with the lowest so far"
        ),
        # Never begins to count anew.
        WAITING.format("waited + (best < i)"): "the count begins again",
        # An equal loss counts as a new lowest one.
        BREAKING.replace("<", "<=") + "return min(i, len(val_losses) - 1), best": (
            "only equals the lowest"
        ),
        # Nothing after the loop.
        BREAKING.replace("break", "return i, best"): "Patience does not run out here",
        BREAKING + "return best, i": "first where it stops",
        BREAKING + "return loss, val_losses[best]": "not losses",
        BREAKING + "return i": "it should return 2 numbers",
    },
    "gap_parts": {
        "return val_losses[-1] - train_losses[-1]": "it should return 3 numbers",
        "return 1.0, 1.0, 1.0": "add up to 3",
        "return 3.7, 0.0, 0.0": "Find the position",
        """
        return 1.3, 1.7, 0.7
        """: "should be 0",
        """
        best = 2 if len(val_losses) > 3 else -1
        there = val_losses[best] - train_losses[best]
        return there, train_losses[best] - train_losses[-1], val_losses[-1] - val_losses[best]
        """: "the position of the best step",
    },
    "plans": {
        'read_a = "yes"\nread_b = "no"\nread_c = "yes"\nread_d = "no"': "should be True or False",
    },
    "design": {
        # Always the same steps: those of Phase 4.
        design(training="16, 1e-3, max_steps=3000, eval_interval=200, patience=3"): (
            "how many steps are that"
        ),
        design(steps="times * len(dataset.train) // 8"): "counted a sequence as one token",
        design(steps="times * len(dataset.train) // 32"): "one sequence a step",
        design(steps="times * len(dataset.train)"): "counted a step as one token",
        design(steps="times * (len(dataset.train) + len(dataset.val)) // (8 * 32)"): (
            "counted the validation text"
        ),
        design(steps="50"): "more than half of them unread",
        design(training="8, 1e-3, seconds=60, patience=2"): "needs max_steps",
        design(vocab="50257", shape="32, 2, 4, 32"): "rows of vocabulary",
        design(vocab="500", shape="32, 2, 4, 32"): "differs from text to text",
        design(
            shape="1024, 2, 4, 32",
            steps="times * len(dataset.train) // (4 * 1024)",
            training="4, 1e-3, max_steps=steps, patience=2",
        ): "A context of 1024 does not fit",
        design(training="8, 1e-3, max_steps=steps"): "set `patience`",
        # Patience that never runs out.
        design(training="8, 1e-3, max_steps=steps, eval_interval=100, patience=3"): (
            "more than a third"
        ),
        design(training="8, 1.0, max_steps=steps, patience=2"): "is too high",
        design(training="8, 1e-6, max_steps=steps, patience=2"): "barely moved",
        design()
        .replace("return shape,", "return")
        .replace(", patience=2)", ", patience=2), shape"): ("first the shape of the model"),
        design(shape="32, 6, 6, 384"): "at most 2,000,000",
    },
}
