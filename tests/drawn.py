"""Reads what a figure draws: its lines, points, labels and ticks."""

from xml.etree import ElementTree


def lines(axes):
    """The lines of curves: (x, y, colour), without rings, dots and straight lines across."""
    found = [line for line in axes.get_lines() if len(line.get_xdata()) > 2]
    return [(list(line.get_xdata()), list(line.get_ydata()), line.get_color()) for line in found]


def points(axes):
    """Single points: (x, y)."""
    found = [line for line in axes.get_lines() if len(line.get_xdata()) == 1]
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in found]


def across(axes):
    """Dashed lines from side to side: (y, colour)."""
    found = [line for line in axes.get_lines() if line.get_linestyle() == "--"]
    drawn = [line for line in found if len(line.get_ydata())]  # the legend's own has no data
    return [(line.get_ydata()[0], line.get_color()) for line in drawn]


def legend(axes):
    return [text.get_text() for text in axes.get_legend().get_texts()]


def ends(axes):
    """What lines are called at their ends: name, height, colour."""
    return [(text.get_text(), text.xy[1], text.get_color()) for text in axes.texts]


def ticks(axis):
    return [label.get_text() for label in axis.get_ticklabels()]


def is_a_picture(chart):
    """It is drawn, in one piece of markup on one line, and says its data in words."""
    html = chart.html()
    root = ElementTree.fromstring(html)
    said = root[0].attrib["aria-label"]
    return (
        (root.tag, root[0].attrib["role"]) == ("figure", "img")
        and "\n" not in html
        and said == chart.description != ""
        and any(letter.isdigit() for letter in said)
    )
