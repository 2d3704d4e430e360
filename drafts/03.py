# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3 (ipykernel)
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Phase 3: the domain expert
#
# **You will watch a model learn a project's names by heart, measure how much of what it writes is recital, and find
# out when that is worth having.**
#
# After this notebook you can
#
# 1. measure memorisation in what a model writes, beside its loss;
# 2. tell recall from learning, by lines which the model has never read;
# 3. say when memorised text is useful, when it is useless, and when it is a danger.
#
# **You should know** notebooks 00 to 02: the gap, the right-sized vocabulary, what overlap does to an exam.
#
# **Time and memory:** about 20 minutes, of which one minute is computing on 2 CPU cores; about @@MEM@@ GB of memory.

# %%
from dataclasses import replace

import pandas as pd

import slmlab as lab

phase = lab.PHASES[3]
SECONDS = 45  # how long the training below may take on your machine

# %% [markdown]
# ## What changed
#
# Phase 2 looked like a success, but its samples read like Python in general: names were half invented. So: three times the text, a larger model,
# a longer context, more steps.


# %%
def settings(phase):
    steps, batch = phase.training.max_steps, phase.training.batch_size
    read = steps * batch * phase.shape["block_size"]
    return {
        "tokens of text": phase.dataset_tokens,
        **phase.shape,
        "batch size": batch,
        "learning rate": phase.training.learning_rate,
        "steps": steps,
        "times the text is read": round(read / phase.published["train_tokens"]),
        "parameters": phase.published["parameters"],
    }


# %%
both = lab.PHASES[2:4]
pd.DataFrame([settings(p) for p in both], index=[p.title for p in both]).astype(object).T

# %% [markdown]
# The experimenter expected the gap to fall further, to about 0.05, the validation loss to about 1.2, and code that is at home in this project. (One row was
# not planned: the text is read twice as often as in Phase 2.)
#
# ## Predict
#
# You know more than the experimenter did: 97 % of Phase 2's exam stood in its training text, of Phase 3's exam it is 51 %. **Where does the gap
# of Phase 3 end?**

# %%
my_guess = 0.5  # nats: validation loss − training loss at the end

# %% [markdown]
# And a second guess. In Phase 2, just under half of the 8-token sequences which the model wrote were *copied*: they stand, word for word, in its training
# text. **What share is copied at the end of Phase 3?**

# %%
my_copied = 50  # per cent

# %% [markdown]
# ## Run
#
# With GPT-2's vocabulary a step takes about a quarter of a second; in our minute you would see a tenth of the run and no expert. So train with the right-sized
# vocabulary, which is seven or eight times as fast: 45 seconds are more than half of the 2,000 steps. The text is cut into the same tokens, so the
# losses can be compared; only the start is lower, as there are fewer tokens to choose from.

# %% tags=["nbval-ignore-output"]
run = phase.run("right-sized", seconds=SECONDS)

# %% [markdown]
# ## See
#
# Thin lines: the recorded run, right-sized too. Dots: the published run, with GPT-2's vocabulary. **Look where the orange line (validation) becomes flat,
# and note that it hardly rises after that.** In the table, look at "copied".

# %% tags=["nbval-ignore-output"]
runs = [phase.recorded("right-sized", seed) for seed in range(3)]
lab.report(run, recorded=runs[0], published=phase, guess=my_guess)

# %% [markdown]
# The published result beside our recorded run with the same vocabulary:

# %%
recorded = phase.recorded()
phase.compare(recorded)

# %% [markdown]
# Was it luck? Three seeds with the right-sized vocabulary, and the one with GPT-2's (one only, for it takes twenty minutes):

# %%
ends = pd.DataFrame([r.history.iloc[-1] for r in (*runs, recorded)])
ends.index = [r.name for r in (*runs, recorded)]
ends["gap"] = [r.gap for r in (*runs, recorded)]
ends[["train_loss", "val_loss", "gap"]].astype(float).round(2)

# %% [markdown]
# The hope was 0.05; the gap is back, at about 1.5, published and ours. Now drag the slider with the prompt `pdf_file_path =`. **Look for the first
# step at which the path is exactly right.**

# %% tags=["nbval-ignore-output"]
lab.Scrubber(runs[0])

# %% [markdown]
# ## Explain
#
# ### What an expert knows
#
# The gap was a disappointment, the samples a surprise. After the same prompt:

# %%
prompt = "pdf_file_path ="
samples = {"published, Phase 2": lab.PHASES[2].samples, "published, Phase 3": phase.samples}
samples |= {r.name: r.samples for r in (*runs, recorded)}
for who, texts in samples.items():
    text = [s for s in texts if s["prompt"] == prompt][-1]["text"]
    print(f"{who:27} {text.splitlines()[0]}")

# %% [markdown]
# A real path, complete with its quotes. Nobody can *work out* that these scripts read `user_data/cholas.pdf`. It has to be remembered:

# %%
study = run.dataset.tokenizer.decode(run.dataset.train.tolist())
for name in ("cholas", "pandyas", "cheras"):
    print(f"user_data/{name}.pdf stands in the training text {study.count(name + '.pdf')} times")
print(f"The experiment's verdict on Phase 3: {phase.verdict}.")

# %% [markdown]
# The experiment saw a paradox here: a worse gap than Phase 2, and better code. It concluded that some memorisation is good for an expert, and that a gap of 1 to 2 is
# the right amount. The first half is a fine observation. To judge the second, we need to see the memorisation itself.
#
# ### The meter
#
# The loss cannot show it. So look at the text. Two measures, for each sample (30 tokens): `copied`, the share of its 8-token sequences
# that stand in the training text, and `longest match`, its longest recital, in tokens.

# %%
lab.scorecard(runs[0]).round(2)

# %% [markdown]
# A longest match of 30 means: every token of it, in this order, stands somewhere in the training text. The means over the prompts, for three seeds each:

# %%
scores = ["copied", "domain_hits", "parses", "repetition"]
table = lab.audit.phase_runs().query("phase in [2, 3]")
print(f"your guess: {my_copied} % copied in Phase 3")
table.groupby("phase")[scores].agg(["mean", "min", "max"]).round(2).T.unstack()

# %% [markdown]
# More than four fifths is copied. And the names of the domain (`domain_hits`, in a sample)? A little more than in Phase 2, but the seeds overlap; it is the step from
# half invented to whole lines that one notices when reading. So what you admired in the path is mostly recital. That need not be bad. But *when* in training did the names
# come, and when the recital?
#
# ### Two kinds of memory
#
# The same measures over the steps of training, a line for each seed. Look at the left part first: the names (bottom) rise until about step 750. **Then cover
# that part with your hand. Which curves still change?**

# %%
histories = [lab.diagnosis.scorecard_history(r) for r in runs]
lab.plots.memory_curves(histories)

# %% [markdown]
# (The bump of `copied` at the very start is no memory: the model writes runs of spaces, and these stand in any script.) In numbers, at step 750 and at the end:

# %%
columns = ["train_loss", "val_loss", "test_loss", "domain hits", "copied", "parses"]
steps = pd.concat(histories, keys=range(3), names=["seed", "step"])[columns]
chosen = steps.query("step in [750, 2000]").groupby("step").agg(["mean", "min", "max"])
chosen.round(2).T.unstack()

# %% [markdown]
# Read it row by row. From step 750 to 2,000
#
# - the **validation loss stays where it is**: by this exam, nothing happens in nearly two thirds of the training;
# - the loss on the **held-out scripts** (`test_loss`; five scripts of the same project which no model trains on) **rises by 0.4**;
# - the **names hardly become more**, and the path of above is right from step 750 or 900 on;
# - what grows is **copying**, from half to four fifths. Samples also parse more often, since a recited line is a whole line.
#
# So there are two kinds of memory. Names come early, while the model still gets better on new scripts. Recital of whole passages comes late, while it gets worse
# there.
#
# Caution: with GPT-2's vocabulary (one seed) the same happens later, and less neatly. The path comes at step 1,050, and the names waver after it:

# %%
slow = lab.diagnosis.scorecard_history(recorded)
slow.loc[[450, 750, 1050, 1500, 2000], ["train_loss", "val_loss", "domain hits", "copied"]].round(2)

# %% [markdown]
# ### Recall or learning?
#
# The test of a pupil who recites well is a question that was not in the book. Below are four beginnings of code: one from the training text, one from the
# validation text, one that puts known words together in a new way, and one of another world. **Change the last two, and
# predict for each: will it use the argument it was given?**

# %%
prompts = [
    "def get_chunks(pdf_file_path, chunk_size, overlap):\n",
    "def query_file(collection, question, pdf_file_path):\n",
    "def count_rulers(csv_file_path):\n",
    "def total_price(invoices):\n",
]

# %% tags=["nbval-ignore-output"]
texts = [run.sample(prompt, temperature=0) for prompt in prompts]
written = [{"step": 0, "prompt": p, "text": t} for p, t in zip(prompts, texts)]
card = lab.scorecard(replace(run, samples=written))
card.insert(0, "in training text", [prompt in study for prompt in prompts])
print("\n---\n".join(texts))
card.round(2)

# %% [markdown]
# (`temperature=0` means: always the likeliest token, no dice.) A high `copied` after a new prompt is the sign to remember: the
# model has left your question, and answers one that it knows. @@PROMPTS: after running, say in one sentence what is seen, e.g. "After the invented beginnings it
# still recites, and neither `csv_file_path` nor `invoices` comes back."@@
#
# Four prompts are an anecdote. Make it a measurement, on the job that such a model is for, finishing lines. It gets the first half of each line
# of a text, and all that stands before it; it must find the rest, every token, up to the line's end. We ask separately for lines that stand
# somewhere in the training text (`known`) and for new ones. **Predict the two shares for the held-out scripts.**

# %% tags=["nbval-ignore-output"]
exams = {
    "training (a part)": study[study.index("# File: 17") :],
    "validation": run.dataset.tokenizer.decode(run.dataset.val.tolist()),
    "held-out scripts": lab.corpus.load_held_out().text,
}
lines = {
    name: lab.diagnosis.line_completions(run.model, run.dataset, text)
    for name, text in exams.items()
}
lines = pd.concat(lines, names=["text", None])
lines.groupby(["text", "known"])["exact"].agg(["size", "mean"]).round(2)

# %% [markdown]
# `size` is the number of lines, `mean` the share finished exactly. @@LINES: after running, bands: "Known lines it finishes in N of ten cases, wherever they
# stand, new lines in M of ten."@@ New lines which it did finish:

# %% tags=["nbval-ignore-output"]
solved = lines.query("exact and not known and text != 'training (a part)'")
print("\n".join(solved["line"].head(12)))

# %% [markdown]
# That is what it has *learnt*: habits of this project that carry over to a line nobody wrote before. The rest is recall.
#
# ### Useful, useless, dangerous
#
# **Useful** is recall when the answer *is* in the book: paths, names of functions, the import lines at the top of a script, the arguments of `collection.query`.
# A look-up would do as well, but the model does it in place, at once.
#
# **Useless**, or worse, it is when the answer is not there. The model does not fall silent, it glues. What our GPT-2-vocabulary run wrote as the name of
# a file:

# %%
blend = [s for s in recorded.samples if s["prompt"] == "# File:"][-1]["text"].splitlines()[0]
print(blend)
names = [document.name for document in lab.load_corpus().documents]
print("There are:", [name for name in names if name[:2] in ("13", "14")])

# %% [markdown]
# Two real names, spliced: no such file exists, and it looks right. A wrong answer that looks wrong is cheaper.
#
# **Dangerous** it is when the book holds what must not be told. The model cannot know which strings are secret. Here is the longest recital among the last samples
# of our four runs. Imagine that the line had been `api_key = "…"`:

# %%
longest = max(
    (lab.longest_match(ids, r.dataset.train.tolist()), s["prompt"], s["text"])
    for r in (*runs, recorded)
    for s in r.samples[-8:]
    for ids in [r.dataset.tokenizer.encode(s["text"][len(s["prompt"]) :])]
)
print(f"{longest[0]} tokens in a row, after {longest[1]!r}:\n\n{longest[2]}")

# %% [markdown]
# This is how names and addresses were [extracted from much larger models](https://arxiv.org/abs/2012.07805), and even strings which are rare in a training text [are not
# safe](https://arxiv.org/abs/1802.08232). Rule: what must not come out must not go in.
#
# ### Is a gap of 1.6 "moderate"?
#
# By the bands, yes. But the gap depends on the exam, and half of this one stands in the training text. Your model's loss on either half:

# %% tags=["nbval-ignore-output"]
lab.overlap_losses(run.model, run.dataset).round(2)

# %% [markdown]
# The validation loss is an average of two very different numbers: nearly no surprise where the text is known, a lot where it is new. That is also why it stood still
# after step 750: what the model gained on the known half, it lost on the new one. With the held-out scripts as the exam, the same runs (means of three seeds) get another verdict:

# %%
means = steps.groupby("step").mean()
for step in (750, 2000):
    row = means.loc[step]
    for exam in ("val_loss", "test_loss"):
        gap = row[exam] - row["train_loss"]
        print(f"step {step:5,}  {exam:9}  gap {gap:+.2f}  {lab.gap_band(gap).name}")

# %% [markdown]
# "Moderate" is a property of the exam, not of the model. For the same reason Phase 3 is not "worse than Phase 2", as their two gaps would have it. On the
# one exam that both sat:

# %%
common = lab.audit.phase_runs().query("phase in [2, 3]").set_index(["phase", "seed"])
common["held-out gap"] = common["test_loss"] - common["train_loss"]
histories_2 = [lab.PHASES[2].recorded("right-sized", seed).history for seed in range(3)]
lowest = [h["test_loss"].min() for h in (*histories_2, *histories)]
common["test_loss at its lowest"] = lowest
common[["gap", "held-out gap", "test_loss", "test_loss at its lowest"]].round(2)

# %% [markdown]
# Phase 3 is better on new scripts, in every seed (`test_loss`), and by more if it is stopped in time. It has read three times as much. And its gap, on one exam for both, grew
# from 3.1 to 3.3, not from −0.1 to 1.4.
#
# ### The verdict on the verdict
#
# - *"Some memorisation is useful for one domain."* **Yes**: names and paths can only be remembered, and the model that has just
#   learnt them is the one that does best on new scripts.
# - *"A gap of 1 to 2 is the right amount."* **Does not follow.** In our right-sized runs names and path were there at a gap of 0.9 to 1.0; what came after was recital. With
#   GPT-2's vocabulary it was about 1.3. And on another exam all these numbers are one and a half to two nats higher.
# - *What we do not know*: how it was in the published run, which was examined on no other text. Its losses end higher than ours (training 0.63, ours 0.25), so it may recite
#   less. Its samples cannot be checked for copying, as its scripts are not public.
#
# This cell checks the claims above, for the recorded runs and for yours:

# %%
early, late = means.loc[750], means.loc[2000]
assert all(1 < r.gap < 2 for r in (*runs, recorded)), "Every recorded gap should be moderate."
assert late["copied"] > early["copied"] + 0.2, "Copying should grow late."
assert abs(late["domain hits"] - early["domain hits"]) < 1, "The names should come early."
assert abs(late["val_loss"] - early["val_loss"]) < 0.1, "The own exam should not notice."
assert late["test_loss"] > early["test_loss"] + 0.25, "The held-out exam should."
assert common["test_loss"][3].max() < min(lowest[:3]), "Phase 3 should be better on new text."
assert blend.removeprefix("# File: ") not in names, "That file should not exist."
share = lines.groupby("known")["exact"].mean()
assert share[True] > share[False], "Your model should finish known lines more often than new ones."
print("As described.")

# %% [markdown]
# ## Check yourself
#
# **1.** A model completes `password = "` with a string that you have never seen. Which number tells you whether to worry?
#
# <details><summary>Answer</summary>Its longest match with the training text. If the string stands there, it is a leak. If not, it is invented, which
# is a bug but no leak.</details>
#
# **2.** The validation loss has been flat for a thousand steps. Does the model still change?
#
# <details><summary>Answer</summary>It may change a lot. Here copying went from half to four fifths, and the loss on new scripts rose by 0.4, while the validation
# loss stood still: gains on the known half of the exam paid for losses on the new one.</details>
#
# **3.** You want a model that completes code in one project, and nothing else. At which step of the right-sized Phase 3 do you stop?
#
# <details><summary>Answer</summary>If it shall help to write new scripts: around step 750, when the names are there and the held-out loss is at its
# lowest. If it shall only retype what exists, the end is better, and a search in the files better still.</details>
#
# **4.** Phase 2 has a gap of −0.1, Phase 3 one of 1.6. A friend concludes that the larger model generalises worse. What is missing?
#
# <details><summary>Answer</summary>A common exam. On the held-out scripts Phase 3 is better by a tenth to half a nat, and its gap to them is nearly that of
# Phase 2. In our runs the gap grew mostly because Phase 3's own exam is copied by half, that of Phase 2 almost wholly.</details>
#
# **5.** Try it: put one line `api_key = "…"` of your own into the text (`dataset.train` with its tokens inserted, `dataclasses.replace` makes the new dataset), train again with
# `phase.run("right-sized", dataset=…)`, and prompt with `api_key =`. What do you expect after 5, 20 and 60 seconds?
#
# <details><summary>Answer</summary>Do predict first. The later, the more of it comes back; watch how many of its tokens match, not only whether all do. We
# have recorded no run of this kind, so your result is the answer.</details>
#
# ## Take away
#
# - Measure memorisation in the text, not in the loss: copied share, longest match, and lines which the model has never read.
# - Names come early and help; recital comes late and does not. The validation loss may show neither.
# - Recall is useful where the answer is in the book, makes things up where it is not, and tells what it should not.
#
# **Next:** Phase 4 takes all the text there is, trains longer, and is called overtrained.
