"""Whether a text can still become Python, asked of Python's own parser."""

import ast
import codeop
import keyword
import re
import warnings

# How a last token may go on that is not whole yet: a name, a number, an operator, a string, a line.
ENDINGS = ("", "_", "0", "=", ">", ".", "''", "\n")
LAST_WORD = re.compile(r"[^\W\d]\w*\Z")
# Python 3.10 has no such flag.
INCOMPLETE: int | None = getattr(codeop, "PyCF_ALLOW_INCOMPLETE_INPUT", None)
# A backslash before the end of the text is the only end that closes no line: so the parser
# asks for one more token if, and only if, it could use all those before.
NO_END = "\\\n"


def can_become_python(text: str) -> bool:
    """Whether some continuation makes `text` Python, as far as its parser can tell without one.

    False is nearly always right: no continuation parses. True promises less:

    - the text may be incomplete, such as "def f(": then it does not parse as it is;
    - only grammar counts: `return` outside a function or a name that nobody defined is no
      mistake here;
    - what stands inside a string is not looked at while the string is last: a bad escape, or
      (before Python 3.12) a bad expression in an f-string, is found one token too late, so that a
      text can run into a dead end.

    The grammar is that of the Python that runs this, which must be 3.11 or newer.
    Raises `ValueError` for an older one.
    """
    if INCOMPLETE is None:
        raise ValueError("Only Python 3.11 and newer can say whether a text can become Python.")
    word = LAST_WORD.search(text)
    begun = word.group() if word else ""
    words = [*keyword.kwlist, *keyword.softkwlist] if begun else []
    endings = [*ENDINGS, *(w.removeprefix(begun) for w in words if w.startswith(begun))]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a text's own oddities, such as "\d"
        return any(_uses_all(text + ending) for ending in endings)


def _uses_all(text: str) -> bool:
    """Whether Python's parser can use every token of a text, and would go on if there were more."""
    try:
        compile(text + NO_END, "text", "exec", ast.PyCF_ONLY_AST | INCOMPLETE, dont_inherit=True)
    except SyntaxError as error:
        return "incomplete input" in str(error)
    except (ValueError, MemoryError, RecursionError):  # a null byte; nested too deeply
        return False
    return True
