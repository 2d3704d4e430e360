"""The command line: `python -m slmlab check`, `phases`, `ladder`, `recommend`, `run` and others."""

import argparse
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn, TextIO

import pandas as pd

from slmlab.engine.console import guarded
from slmlab.engine.decoding import MAX_NEW_TOKENS
from slmlab.engine.rescue import save_or_rescue
from slmlab.engine.run_folder import check_target
from slmlab.engine.runs import Run
from slmlab.engine.storage import Keep, require_rebuildable
from slmlab.readiness import run_checks
from slmlab.show.harmless import in_terminal
from slmlab.show.report import report
from slmlab.study.domain import PROMPTS
from slmlab.study.phases import PHASES
from slmlab.study.setups import Setup
from slmlab.text.files import DataError, data_path, user_path
from slmlab.text.own_text import read_text
from slmlab.validation import whole_number

TRAIN = ("python", "-m", "slmlab", "run")
DECODING: dict[str, tuple[type, str]] = {  # options of `sample`, by their names in `Decoding`
    "temperature": (float, "0 is greedy (0.8)"),
    "top_k": (int, "draw from the k likeliest tokens (40)"),
    "top_p": (float, "draw from the likeliest that together reach this probability"),
    "min_p": (float, "draw from those at least this many times as likely as the likeliest"),
    "typical_p": (float, "draw from the most typical that together reach this probability"),
    "repetition_penalty": (float, "above 1: tokens that occurred become less likely"),
    "presence_penalty": (float, "taken off the logits of tokens that occurred"),
    "frequency_penalty": (float, "the same for each time that they occurred"),
    "no_repeat_ngram": (int, "no sequence of so many tokens comes twice"),
    "seed": (int, "of the draws (0)"),
    "stop": (str, "text before which to end; may be given several times"),
    "beams": (int, "draw nothing; the best of so many texts"),
    "length_normalisation": (float, "with --beams: 0 favours short texts (1)"),
    "contrast": (float, "draw nothing; of the top-k, one unlike the text so far; 0 to 1"),
}


class Parser(argparse.ArgumentParser):
    """One that says what to do about values such as -1e3, which argparse takes for options."""

    def error(self, message: str) -> NoReturn:
        if message.endswith("expected one argument"):
            message += '; write it as --option=value, as you must if the value begins with "-"'
        super().error(message)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status (1 for bad input, told in one sentence)."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # a terminal that has no "−" shows "?" in its place
            stream.reconfigure(errors="replace")
    try:
        options = _parser().parse_args(arguments)
        with _ended_as_by_ctrl_c():
            return options.command(options)
    except (DataError, ValueError) as error:
        _say(str(error), sys.stderr)
        return 1
    except KeyboardInterrupt:
        _say("Stopped.", sys.stderr)
        return 130  # as a shell says it


@contextmanager
def _ended_as_by_ctrl_c() -> Iterator[None]:
    """Let SIGTERM (a shut-down) and SIGHUP (a closed terminal) do what Ctrl-C does, once.

    A second one often follows at once, and must not cut short what the first has begun to save.
    """
    here = os.getpid()
    came: list[int] = []

    def on_signal(number: int, frame: FrameType | None) -> None:
        if os.getpid() != here:  # a worker, which was forked and is to end
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        if not came:
            came.append(number)
            # A shell that starts it in the background may have Ctrl-C ignored.
            handler = signal.getsignal(signal.SIGINT)
            (handler if callable(handler) else signal.default_int_handler)(number, frame)

    # Signals reach the main thread only, and Windows has no SIGHUP.
    main = threading.current_thread() is threading.main_thread()
    ends = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")] if main else []
    ours = [end for end in ends if end and signal.getsignal(end) == signal.SIG_DFL]
    for number in ours:  # what is ignored, as under nohup, stays so
        signal.signal(number, on_signal)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _say(text: str, stream: TextIO | None = None) -> None:
    """Print, if there is anybody to read it: what was done must not depend on that."""
    stream = sys.stdout if stream is None else stream
    try:
        print(text, file=stream, flush=True)
    except (OSError, ValueError):  # a pipe that nobody reads, a full disk, a closed stream
        if stream in (sys.stdout, sys.__stdout__):
            # Else Python complains on its way out that it cannot flush.
            sys.stdout = Path(os.devnull).open("w")  # noqa: SIM115


def _check(_: argparse.Namespace) -> int:
    checks = run_checks()
    _say("\n".join(map(str, checks)))
    return 0 if all(check.ok for check in checks) else 1


def _phases(_: argparse.Namespace) -> int:
    rows = [
        {
            "phase": phase.number,
            "name": phase.name,
            "layers": phase.setup.shape.n_layer,
            "heads": phase.setup.shape.n_head,
            "width": phase.setup.shape.n_embd,
            "context": phase.setup.shape.block_size,
            "tokens": phase.setup.data.n_tokens,
            "val. overlap": f"{phase.dataset().overlap():.0%}",
            "steps": phase.setup.training.max_steps,
            "published gap": round(
                phase.published["final_val_loss"] - phase.published["final_train_loss"], 2
            ),
        }
        for phase in PHASES
    ]
    _say(pd.DataFrame(rows).to_string(index=False))
    _say(
        "\nval. overlap: 8-token sequences of the validation text that appear in the training text"
        "\npublished gap: validation − training loss, nats per token"
    )
    return 0


def _ladder(_: argparse.Namespace) -> int:
    from slmlab.study.ladder import ladder_words, read_ladder

    table = read_ladder()
    shown = pd.DataFrame(
        {
            "lesson": table["lesson"],
            "training tokens": table["train_tokens"].map("{:,}".format),
            "parameters": table["params"].map("{:,}".format),
            "step": table["step"],
            "seconds": table["seconds"].map("{:,.1f}".format),
            "bits per byte": table["score"].map("{:.3f}".format),
            "vs the number to beat": _differences(table, "to_beat"),
            "vs the 5-gram of its text": _differences(table, "same_text"),
        }
    )
    _say(shown.rename_axis(None).to_string())
    _say(
        "\nparameters: of counting, the counts it keeps; seconds: of training, on a shared machine"
        "\nbits per byte: of the final scripts, mean of the seeds"
        "\nvs …: difference in bits per byte and its 95% interval; below 0 the rung is better\n"
    )
    _say(ladder_words(table))
    return 0


def _differences(table: pd.DataFrame, column: str) -> list[str]:
    """Each difference with its interval, as text; "–" for what is not compared with itself."""
    rows = table[[column, f"{column}_low", f"{column}_high"]].to_numpy()
    texts = ("–" if d != d else f"{d:+.3f} ({low:+.3f} to {high:+.3f})" for d, low, high in rows)
    return [text.replace("-", "−") for text in texts]


def _recommend(options: argparse.Namespace) -> int:
    from slmlab.study.recommendation import recommend_for_text

    own = read_text(options.text)
    _say(f"{own.inspect().to_string()}\n")
    advice = recommend_for_text(own)
    _say(f"{advice}\n")
    _say(f"Train it:\n{shlex.join([*TRAIN, str(advice.setup), '--text', options.text])}")
    return 0


def _run(options: argparse.Namespace) -> int:
    setup, name = _setup(options)
    # Not after an hour of training.
    over = None if options.out is None else check_target(options.out)
    if options.text is None:
        dataset = setup.dataset(tested=setup.data.vocabulary != "gpt2")
        prompts: tuple[str, ...] = PROMPTS
    else:
        own = read_text(options.text)
        dataset, prompts = own.dataset(setup.data.vocabulary), own.prompts()
    if options.keep == "history":
        require_rebuildable(dataset)
    tell = partial(_say, stream=sys.stderr)
    with guarded(tell, may_cut=True):
        try:
            run = setup.train(
                dataset,
                name,
                prompts=prompts,
                sample_each_evaluation=options.sample_each_evaluation,
            )
        except BaseException as ended:  # a second Ctrl-C, a full memory
            if options.out is not None and hasattr(ended, "run"):
                # It may have cut a step in two, from which nothing can go on.
                keep: Keep = "best" if options.keep == "all" else options.keep
                place = save_or_rescue(ended.run, options.out, keep, tell, over)
                _say(f'Saved to {place}, with keep="{keep}"')
            raise
        elsewhere = False
        if options.out is not None:
            place = save_or_rescue(run, options.out, options.keep, tell, over)
            elsewhere = place != user_path(options.out)
            _say(f"Saved to {place}\n")
    _say(str(report(run)))
    return int(elsewhere)  # so that no script goes on as if the run were where it should be


def _setup(options: argparse.Namespace) -> tuple[Setup, str]:
    """The set-up that a phase's number, or a string, and the options name; and a run's name."""
    changes = {"vocabulary": options.vocabulary, "seed": options.seed, "seconds": options.seconds}
    changes = {name: value for name, value in changes.items() if value is not None}
    if options.setup in {str(phase.number) for phase in PHASES}:
        phase = PHASES[int(options.setup)]
        setup = phase.setup.replace(**changes)
        return setup, phase.run_name(setup.data.vocabulary, setup.training.seed)
    setup = Setup.parse(options.setup).replace(**changes)
    return setup, str(setup)


def _sample(options: argparse.Namespace) -> int:
    run = Run.load(options.run)
    # Where a terminal is said to have ASCII only, Python leaves the bytes of other letters alone.
    prompt = os.fsencode(options.prompt).decode(errors="surrogateescape")
    given = {name: getattr(options, name) for name in (*DECODING, "python")}
    changes = {name: value for name, value in given.items() if value is not None}
    n = whole_number("--tokens", options.tokens, 1, MAX_NEW_TOKENS)
    text = run.sample(prompt, n, **changes)
    _say(in_terminal(text))
    return 0


def _record(options: argparse.Namespace) -> int:
    from slmlab.study.records import problems_of, record

    if options.check:
        problems = problems_of(options.folder)
        complete = "Every record is complete and fits its settings and texts."
        _say("\n".join(problems) or complete)
        return 1 if problems else 0
    try:
        made = record(
            options.folder,
            options.what,
            backend=options.backend,
            jobs=options.jobs,
            address=options.address,
            threads=options.threads,
        )
    except KeyboardInterrupt:
        _say("Stopped; what is finished is saved. Run the same command to go on.")
        return 1
    _say(f"{made} runs made; the others were there already.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = Parser(prog="python -m slmlab", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser(
        "check", help="is this computer ready? OK or FAIL, and what to do"
    )
    command.set_defaults(command=_check)

    command = commands.add_parser("phases", help="the five phases, as a table")
    command.set_defaults(command=_phases)

    command = commands.add_parser("ladder", help="every kind of model beside counting, as a table")
    command.set_defaults(command=_ladder)

    command = commands.add_parser(
        "recommend", help="a vocabulary and a model for your own text, and why"
    )
    command.add_argument("text", metavar="FILE", help="a file, or a folder with text in it")
    command.set_defaults(command=_recommend)

    command = commands.add_parser("run", help="train a phase as published, or any set-up")
    command.add_argument(
        "setup",
        metavar="SETUP",
        help='a phase, 0 to 4, as published; or a set-up such as "phase-2 n_layer=4 seed=1"',
    )
    command.add_argument(
        "--text", metavar="FILE", help="your own file or folder, instead of the course's scripts"
    )
    command.add_argument("--vocabulary", help="gpt2, right-sized, or such as bpe-500")
    command.add_argument("--seed", type=int)
    command.add_argument("--seconds", type=float, help="stop at a time budget")
    command.add_argument("--out", metavar="DIR", help="save the run to this folder")
    command.add_argument(
        "--keep", choices=("all", "best", "history"), default="all", help="what to save (all)"
    )
    command.add_argument(
        "--sample-each-evaluation",
        action="store_true",
        help="sample at every evaluation, not just the last",
    )
    command.set_defaults(command=_run)

    command = commands.add_parser("sample", help="let a saved run continue a prompt")
    command.add_argument("run", metavar="RUN", help="folder of a saved run")
    command.add_argument("prompt", metavar="PROMPT")
    command.add_argument("--tokens", type=int, default=30)
    for name, (kind, what) in DECODING.items():
        as_often = "append" if name == "stop" else "store"
        command.add_argument(f"--{name.replace('_', '-')}", type=kind, action=as_often, help=what)
    command.add_argument(
        "--python", action="store_true", help="only tokens after which it can still be Python"
    )
    command.set_defaults(command=_sample)

    command = commands.add_parser("record", help="make the runs that the course carries, or check")
    command.add_argument(
        "what", nargs="*", metavar="WHAT", help="phases, or an experiment's name (all)"
    )
    command.add_argument("--folder", default=data_path("runs"), help="where they lie")
    command.add_argument(
        "--backend",
        default="loky",
        help="what runs experiments: loky, multiprocessing, threading, sequential, dask, ray",
    )
    command.add_argument("--jobs", type=int, default=1, help="how many of their runs at once (1)")
    command.add_argument("--address", help="of a Dask scheduler or a Ray cluster (this machine)")
    command.add_argument("--threads", type=int, default=1, help="of each of their runs (1)")
    command.add_argument("--check", action="store_true", help="only check what is there")
    command.set_defaults(command=_record)
    return parser


if __name__ == "__main__":
    sys.exit(main())
