"""The recorded experiments, one file each. A new one is a file here and a line in this list."""

from slmlab.study.experiments.arsenal import ARSENAL
from slmlab.study.experiments.chats import CHATS
from slmlab.study.experiments.counting import COUNTING
from slmlab.study.experiments.crossing import CROSSING
from slmlab.study.experiments.decoders import DECODING
from slmlab.study.experiments.freezing import FREEZING
from slmlab.study.experiments.grid import GRID
from slmlab.study.experiments.ladder import LADDER
from slmlab.study.experiments.loops import LOOPS
from slmlab.study.experiments.mixtures import MIXING
from slmlab.study.experiments.protocol import Experiment
from slmlab.study.experiments.recipes import RECIPES
from slmlab.study.experiments.regimes import REGIMES
from slmlab.study.experiments.suspects import SUSPECTS
from slmlab.study.experiments.vocabularies import VOCABULARIES

EXPERIMENTS: tuple[Experiment, ...] = (
    GRID,
    COUNTING,
    CROSSING,
    RECIPES,
    SUSPECTS,
    VOCABULARIES,
    ARSENAL,
    CHATS,
    REGIMES,
    LOOPS,
    DECODING,
    MIXING,
    FREEZING,
    LADDER,
)
