"""What two exercises for 09 read: how eight experts were used, and how far they drifted.

The numbers are from two short trainings of the lesson's models, each with two experts of eight,
three layers and seed 0, on one thread; tests/test_lesson_09_tables.py makes them again.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

# "8 experts, no balancing" at a learning rate of 0.001, after 100 steps, on the held-out scripts:
# a row for each layer.
LOADS = (
    (0.0760, 0.2386, 0.0785, 0.0878, 0.1676, 0.0367, 0.1543, 0.1606),
    (0.1187, 0.2919, 0.0194, 0.0761, 0.3862, 0.0505, 0.0267, 0.0304),
    (0.2439, 0.0063, 0.0190, 0.0454, 0.0088, 0.4983, 0.1414, 0.0369),
)
PROBABILITIES = (
    (0.1066, 0.1806, 0.1121, 0.1075, 0.1290, 0.1033, 0.1341, 0.1267),
    (0.1167, 0.1814, 0.1022, 0.1128, 0.1861, 0.1011, 0.0985, 0.1012),
    (0.1297, 0.0818, 0.0908, 0.0869, 0.0932, 0.3172, 0.1099, 0.0905),
)
# "8 experts" at 0.0003, at step 300 in its last layer: the drift since step 280 and since step 200.
DRIFTS = {
    20: (0.2592, 0.1833, 0.2621, 0.2651, 0.1964, 0.1983, 0.2438, 0.2120),
    100: (0.6872, 0.5757, 0.6561, 0.7321, 0.3903, 0.4937, 0.6353, 0.6670),
}
EXPERTS, ACTIVE = 8, 2


def loads() -> "pd.DataFrame":
    """For each layer (row) the share of all choices that fall on each expert (column)."""
    return _by_layer(LOADS)


def probabilities() -> "pd.DataFrame":
    """For each layer (row) the mean probability that its router gives each expert (column)."""
    return _by_layer(PROBABILITIES)


def drifts() -> "pd.DataFrame":
    """The drift of each expert (row) of a layer, over 20 steps and over 100 (columns)."""
    import pandas as pd

    return pd.DataFrame(DRIFTS).rename_axis("expert").rename_axis(columns="steps")


def _by_layer(rows: tuple[tuple[float, ...], ...]) -> "pd.DataFrame":
    import pandas as pd

    return pd.DataFrame(list(rows)).rename_axis("layer").rename_axis(columns="expert")
