"""Wrong answers to the exercises of notebook 04."""

WRONG = {
    "patience_cost": {
        "stops = 1200\nkept = 1000\nlost = 0.0024": "waits for a second one",
        "stops = 2000\nkept = 1600\nlost = 0.0": "the lowest of the whole run",
        "stops = 2200\nkept = 1600\nlost = 0.0": "where patience 3 would stop",
        "stops = 3000\nkept = 1600\nlost = 0.0": "does not stop at step 3,000",
        "stops = 1400\nkept = 1400\nlost = 0.0116": "the last ones",
        "stops = 1400\nkept = 1600\nlost = 0.0": "comes after the stop",
        "stops = 1400\nkept = 1200\nlost = 0.0131": "does not have the lowest validation loss",
        "stops = 1400\nkept = 1000\nlost = 3.3702 - 3.3726": "the other way round",
        "stops = 1400\nkept = 1000\nlost = 3.5356 - 3.3726": "what patience missed",
        "stops = 1400\nkept = 1000\nlost = 3.3818 - 3.3702": "the loss at the stop",
        "stops = 1400\nkept = 1000\nlost = 0": "is not the difference",
    },
    "stops_at": {
        # Counts rises from one evaluation to the next.
        """
best, waited = 0, 0
for i in range(1, len(val_losses)):
    if val_losses[i] < val_losses[best]:
        best = i
    waited = waited + 1 if val_losses[i] >= val_losses[i - 1] else 0
    if waited == patience:
        return i, best
return len(val_losses) - 1, best
""": "compare each with the lowest so far",
        # Never begins to count anew.
        """
best, waited = 0, 0
for i in range(1, len(val_losses)):
    if val_losses[i] < val_losses[best]:
        best = i
    else:
        waited += 1
    if waited == patience:
        return i, best
return len(val_losses) - 1, best
""": "the count begins again",
        # Knows the future.
        """
best = val_losses.index(min(val_losses))
return min(best + patience, len(val_losses) - 1), best
""": "cannot know of it",
        # One too late.
        """
best = 0
for i, loss in enumerate(val_losses):
    if loss < val_losses[best]:
        best = i
    elif i - best > patience:
        return i, best
return len(val_losses) - 1, best
""": "one evaluation too late",
        # An equal loss counts as a new lowest one.
        """
best = 0
for i, loss in enumerate(val_losses):
    if loss <= val_losses[best]:
        best = i
    elif i - best == patience:
        return i, best
return len(val_losses) - 1, best
""": "only equals the lowest",
        # Nothing after the loop.
        """
best = 0
for i, loss in enumerate(val_losses):
    if loss < val_losses[best]:
        best = i
    elif i - best == patience:
        return i, best
""": "what should be returned then",
        # The two in the wrong order.
        """
best = 0
for i, loss in enumerate(val_losses):
    if loss < val_losses[best]:
        best = i
    elif i - best == patience:
        break
return best, i
""": "first where it stops",
        # Losses in the place of positions.
        """
best = 0
for i, loss in enumerate(val_losses):
    if loss < val_losses[best]:
        best = i
    elif i - best == patience:
        break
return loss, val_losses[best]
""": "not losses",
        # Only one of the two.
        """
best = 0
for i, loss in enumerate(val_losses):
    if loss < val_losses[best]:
        best = i
    elif i - best == patience:
        break
return i
""": "it should return 2 numbers",
    },
    "gap_parts": {
        # The training loss decides.
        """
best = train_losses.index(min(train_losses))
there = val_losses[best] - train_losses[best]
return there, train_losses[best] - train_losses[-1], val_losses[-1] - val_losses[best]
""": "decided by the validation loss",
        # The change of the training loss, with its sign.
        """
best = val_losses.index(min(val_losses))
there = val_losses[best] - train_losses[best]
return there, train_losses[-1] - train_losses[best], val_losses[-1] - val_losses[best]
""": "second part has the wrong sign",
        # Rise and fall turned round.
        """
best = val_losses.index(min(val_losses))
there = val_losses[best] - train_losses[best]
return there, train_losses[best] - train_losses[-1], val_losses[best] - val_losses[-1]
""": "third part has the wrong sign",
        # Training − validation.
        """
best = val_losses.index(min(val_losses))
there = train_losses[best] - val_losses[best]
return there, train_losses[best] - train_losses[-1], val_losses[-1] - val_losses[best]
""": "the gap is validation",
        # The lowest of each curve.
        """
best = val_losses.index(min(val_losses))
there = min(val_losses) - min(train_losses)
return there, train_losses[best] - train_losses[-1], val_losses[-1] - val_losses[best]
""": "two different steps",
        # The step of the smallest gap.
        """
gaps = [v - t for t, v in zip(train_losses, val_losses)]
best = gaps.index(min(gaps))
return gaps[best], train_losses[best] - train_losses[-1], val_losses[-1] - val_losses[best]
""": "smallest gap",
        # The lowest training loss for the last one.
        """
best = val_losses.index(min(val_losses))
there = val_losses[best] - train_losses[best]
return there, train_losses[best] - min(train_losses), val_losses[-1] - val_losses[best]
""": "has the *last* one",
        # From the beginning on.
        """
best = val_losses.index(min(val_losses))
there = val_losses[best] - train_losses[best]
return there, train_losses[0] - train_losses[-1], val_losses[-1] - val_losses[0]
""": "from the best step on",
        # Rise and fall have changed places.
        """
best = val_losses.index(min(val_losses))
there = val_losses[best] - train_losses[best]
return there, val_losses[-1] - val_losses[best], train_losses[best] - train_losses[-1]
""": "have changed places",
        # Only the gap at the end.
        "return val_losses[-1] - train_losses[-1]": "it should return 3 numbers",
    },
    "plans": {
        "read_a = False\nread_b = False\nread_c = True\nread_d = False": "A: with a constant rate",
        "read_a = True\nread_b = True\nread_c = True\nread_d = False": "stretched over the plan",
        "read_a = True\nread_b = False\nread_c = False\nread_d = False": "C: both runs are planned",
        "read_a = True\nread_b = False\nread_c = True\nread_d = True": "D: a step reads other",
        'read_a = "yes"\nread_b = "no"\nread_c = "yes"\nread_d = "no"': "should be True or False",
    },
    "design": {
        # Always the same steps: those of Phase 4.
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 32, 2, 4, 64)
return shape, lab.TrainConfig(16, 1e-3, max_steps=3000, eval_interval=200, patience=3)
""": "how many steps are that",
        # A sequence counted as one token.
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 32, 2, 4, 64)
steps = times * len(dataset.train) // 8
return shape, lab.TrainConfig(8, 1e-3, max_steps=steps, patience=2)
""": "counted a sequence as one token",
        # A step counted as one sequence.
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 32, 2, 4, 64)
steps = times * len(dataset.train) // 32
return shape, lab.TrainConfig(8, 1e-3, max_steps=steps, patience=2)
""": "one sequence a step",
        # A step counted as one token.
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 32, 2, 4, 64)
steps = times * len(dataset.train)
return shape, lab.TrainConfig(8, 1e-3, max_steps=steps, patience=2)
""": "counted a step as one token",
        # The validation text counted as well.
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 32, 2, 4, 64)
steps = times * (len(dataset.train) + len(dataset.val)) // (8 * 32)
return shape, lab.TrainConfig(8, 1e-3, max_steps=steps, patience=2)
""": "counted the validation text",
        # Careful steps, most of the budget unread.
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 32, 2, 4, 64)
return shape, lab.TrainConfig(8, 1e-3, max_steps=50, patience=2)
""": "more than half of them unread",
        # A time budget.
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 32, 2, 4, 64)
return shape, lab.TrainConfig(8, 1e-3, seconds=60, patience=2)
""": "needs max_steps",
        # GPT-2's vocabulary.
        """
shape = lab.GPTConfig(50257, 32, 2, 4, 32)
steps = times * len(dataset.train) // (8 * 32)
return shape, lab.TrainConfig(8, 1e-3, max_steps=steps, patience=2)
""": "rows of vocabulary",
        # The vocabulary of another text.
        """
shape = lab.GPTConfig(500, 32, 2, 4, 32)
steps = times * len(dataset.train) // (8 * 32)
return shape, lab.TrainConfig(8, 1e-3, max_steps=steps, patience=2)
""": "differs from text to text",
        # A context that a short text does not fill.
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 1024, 2, 4, 32)
steps = times * len(dataset.train) // (4 * 1024)
return shape, lab.TrainConfig(4, 1e-3, max_steps=steps, patience=2)
""": "A context of 1024 does not fit",
        # Nothing stops it.
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 32, 2, 4, 64)
steps = times * len(dataset.train) // (8 * 32)
return shape, lab.TrainConfig(8, 1e-3, max_steps=steps)
""": "set `patience`",
        # Patience that never runs out.
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 32, 2, 4, 64)
steps = times * len(dataset.train) // (8 * 32)
return shape, lab.TrainConfig(8, 1e-3, max_steps=steps, eval_interval=100, patience=3)
""": "more than a third",
        # Steps far too large, and far too small.
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 32, 2, 4, 64)
steps = times * len(dataset.train) // (8 * 32)
return shape, lab.TrainConfig(8, 1.0, max_steps=steps, patience=2)
""": "is too high",
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 32, 2, 4, 64)
steps = times * len(dataset.train) // (8 * 32)
return shape, lab.TrainConfig(8, 1e-6, max_steps=steps, patience=2)
""": "hardly moved",
        # The two in the wrong order, and a model far too large.
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 32, 2, 4, 64)
steps = times * len(dataset.train) // (8 * 32)
return lab.TrainConfig(8, 1e-3, max_steps=steps, patience=2), shape
""": "first the shape of the model",
        """
shape = lab.GPTConfig(dataset.tokenizer.n_vocab, 32, 6, 6, 384)
steps = times * len(dataset.train) // (8 * 32)
return shape, lab.TrainConfig(8, 1e-3, max_steps=steps, patience=2)
""": "at most 2,000,000",
    },
}
