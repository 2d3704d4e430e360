"""Passwords, keys and tokens in a text: found by their form, before a model learns them."""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any

from detect_secrets.core.plugins.util import get_mapping_from_secret_type_to_class
from detect_secrets.core.scan import scan_line
from detect_secrets.settings import transient_settings

from slmlab.text.corpus import Document

# Of detect-secrets all but two that flag ordinary words, and one that takes a second for each
# 2,000 characters that repeat "password"; `ASSIGNED` finds what it would.
LEFT_OUT = {"Base64HighEntropyString", "HexHighEntropyString", "KeywordDetector"}
PIECE, OVERLAP = 2_000, 500  # characters of a long line that are searched at once, and twice

# Keys that say by their beginning whose they are; 16 more characters follow. Where names in code
# may begin so as well, those are letters and digits only.
_RUN = "(?=[A-Za-z0-9]{16})"
BEGINNINGS = {
    "GitHub token": r"github_pat_|gh[opsur]_",
    "GitLab token": r"gl(?:pat|dt|rt|soat|ptt|ft|agent|oas|imt|cbt)-|GR1348941",
    "Bitbucket or Atlassian token": r"ATBB|AT[AC]TT3x",
    "Anthropic key": r"sk-ant-",
    "OpenAI key": r"sk-(?!ant-)(?:proj-|svcacct-|admin-)?(?=[\w-]*\d)",
    "Hugging Face token": rf"(?:hf_|api_org_){_RUN}",
    "Groq, xAI or Perplexity key": rf"(?:gsk_|xai-|pplx-){_RUN}",
    "Replicate, LangSmith or Pinecone key": rf"(?:r8_|lsv2_(?:pt|sk)_){_RUN}|pcsk_(?=\w{{0,9}}\d)",
    "Google key": r"AIza|GOCSPX-|ya29\.|1//0",
    "AWS key": r"(?:AKIA|ASIA|ABIA|ACCA)(?=[0-9A-Z]{16})",
    "DigitalOcean or Databricks token": r"(?:do[oprt]_v1_|dapi)(?=[0-9a-f]{16})",
    "Docker, npm, PyPI or RubyGems token": rf"dckr_[op]at_|pypi-Ag|(?:npm|rubygems)_{_RUN}",
    "HashiCorp Vault token": r"hv[bsr]\.",
    "Grafana, Sentry, New Relic or Postman key": rf"(?:glsa_|glc_|sntr[yu]s_|NRAK-|PMAK-){_RUN}",
    "Netlify or Supabase token": rf"(?:nfp|sbp)_{_RUN}|sb_secret_(?=\w*\d)",
    "PlanetScale token": r"pscale_(?:tkn|pw|oauth)_(?=\w*\d)",
    "Slack token": r"xox[abeoprs]-|xapp-\d-",
    "Stripe key": rf"(?:[rs]k_(?:live|test)|whsec)_{_RUN}",
    "Square or Shopify key": rf"sq0[a-z]{{3}}-|shp(?:at|ca|pa|ss)_{_RUN}",
    "Mailgun, SendGrid or Brevo key": r"key-(?=[0-9a-f]{32})|SG\.|xkeysib-",
    "Notion, Linear or Figma token": rf"(?:ntn_|lin_api_|secret_){_RUN}|fig[dou]_(?=[\w-]*\d)",
    "Facebook token": r"EAA(?=[A-Za-z0-9]{40})",
    "JSON Web Token": r"eyJ(?=[\w-]{8,400}\.eyJ)",
    "age secret key": r"AGE-SECRET-KEY-1",
    "Terraform or Doppler token": r"[A-Za-z0-9]{14}\.atlasv1\."
    r"|dp\.(?:pt|ct|st|sa|scim|audit)\.(?=[\w.-]*\d)",
    "Tailscale or SonarQube key": r"tskey-[a-z]{3,9}-(?=[\w-]*\d)|sq[apu]_(?=[0-9a-f]{16})",
}
# What has a form of its own.
FORMS = {
    "private key": r"-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY|PuTTY-User-Key-File-\d"
    r"|\bclient-key-data\W{1,4}LS0tLS1C",
    "login of Docker": r'"auth" ?: ?"(?=[^"]*[\d=])(?=[^"]*[A-Z])[A-Za-z0-9+/]{8,400}={0,2}"',
    "WireGuard private key": r"\bPrivateKey ?= ?[A-Za-z0-9+/]{43}=",
    "AWS secret key": r"(?i:aws_?secret_?(?:access_?)?key)\W{1,20}(?=\S{0,39}[a-z])"
    r"(?=\S{0,39}[A-Z])[A-Za-z0-9/+]{40}(?![\w/+.])",
    "key of 32 bytes": r"(?i:\b(?!\w{0,60}public)\w{0,60}key)['\"]? {0,20}[:=] {0,20}b?['\"]?"
    r"[\w+/-]{43}=(?![\w=])",
    "Sentry address": r"https?://[0-9a-f]{32}(?::[0-9a-f]{32})?@[\w.-]{1,80}/\d",
    "cookie of a login": r"(?i:\b(?:set-)?cookie['\"]? ?: ?['\"]?(?:.{0,200}[; ])?[\w.-]{0,40}"
    r"(?:sess\w{0,20}|sid|auth\w{0,20}|token|jwt))=(?=[^;\s]{0,200}\d)[\w.%~+/=-]{12}",
    "Kaggle key": r'"key" ?: ?"[0-9a-f]{32}"',
    "Telegram bot token": r"\b\d{8,10}:[\w-]{35}(?![\w-])",
    "Discord or Slack webhook": r"discord(?:app)?\.com/api/webhooks/\d+/[\w-]{20}"
    r"|hooks\.slack\.com/services/T\w+/B\w+/\w",
    "signed Azure address": r"[?&]sig=[A-Za-z0-9%+/]{40}",
    "hash of a password": r"\$(?:2[abxy]?|5|6|y|apr1|argon2i?d?)\$[A-Za-z0-9./$=,+]{20}",
    "bearer token": r"(?i:\bbearer) (?=\S*\d)[\w.~+/-]{16}",
    "basic authorization": r"(?i:\bauthorization\W{1,4}basic) (?=\S*[\dA-Z])[A-Za-z0-9+/]{8}",
    "authorization": r"(?i:\bauthorization\W{1,6}(?:token|key|apikey)) (?=\S*\d)[\w.~+/-]{16}",
    "password in an address": r"://[^\s/:@'\"<>{}\[$]{0,80}"
    r":[^\s/:@'\"<>{}$](?:[^\s/:@'\"<>{}$]|\$(?![{(A-Z])){2,80}@",
    "password of a netrc file": r"\blogin \S{1,80} password \S",
    "password of a pgpass file": r"^[\w.*-]+:(?:\d{4,5}|\*):[^\s:]+:[^\s:]+:\S+$",
    "password on a command line": r"--(?:(?:http|proxy|ftp|db|user|admin|root)-)?"
    r"(?:pass(?:w(?:or)?d|phrase)?|token|secret|api-key)[ =]['\"]?(?=\S*\d)[^\s'\"<{(%$-]{6}"
    r"|\bcurl .{0,200}-(?:[uU] ?|-(?:proxy-)?user[ =])['\"]?[^\s:'\"$]{1,80}:[^\s'\"$]{3}"
    r"|\bmysql(?:dump)? .{0,200}-p\w{4}|\bsshpass -p ?['\"]?[^\s'\"<{(%$]{3}"
    r"|\bdocker login .{0,200} -p[ =]?['\"]?[^\s'\"<{(%$]{4}"
    r"|\bredis-cli .{0,200}-a ['\"]?[^\s'\"<{(%$]{4}",
    "password before a command": r"(?:^|\s)[A-Z_]*"
    r"(?:PASS(?:W(?:OR)?D)?|_PWD|TOKEN|SECRET|API_?KEY)=(?=\S*\d)(?=\S*[A-Za-z])"
    r"[^\s'\"<{(%$./][^\s'\"<{(%$]{5,80} +[a-z./]",
    "password in SQL": r"(?i:\bidentified (?:with \S{1,40} )?by|\bwith (?:encrypted )?password"
    r"|\b(?:create|alter) (?:user|role) .{0,200}\bpassword) ?"
    r"'(?i:(?!(?:pass\w*|secret|change.?me|your\w*|new\w*|\W+|x+)'))[^'\s<{%$][^'\s]{3,80}'",
    "password in XML": r"(?i:<(?:\w*password|\w*token|\w*secret)>)[^\s<]{6,}</"
    r"|(?i:\b(?:key|name)=\"[^\"]{0,80}(?:password|passwd|pwd|secret|token|apikey)\" value=\")"
    r"[^\s\"<>{}$%]{6,300}\"",
}
PATTERNS = {
    name: re.compile(rf"(?<![A-Za-z0-9])(?:{pattern})[\w.=/+-]{{16}}", re.ASCII)
    for name, pattern in BEGINNINGS.items()
} | {name: re.compile(pattern, re.ASCII) for name, pattern in FORMS.items()}

# A name that tells what it holds, and its value: in code, YAML, .env and .ini files.
ASSIGNED = re.compile(
    r"(?P<password>pass(?:word|wort|wd|phrase|code)?|pwd|kennwort|contrase[nñ]a"
    r"|mot[ _-]?de[ _-]?passe|(?<![a-z])(?:mdp|psk)|senha|wachtwoord|parola[ _-]?d['’_]?ordine"
    r"|has[lł]o|l[oö]senord|salasana|heslo|парол[ья]|密[码碼]|パスワード|비밀번호)(?![a-z])"
    r"|(?:secret|token|credential|(?:api|app|auth|access|account|client|db|encryption|master"
    r"|private|service|signing|storage)[_-]?key)s?(?![a-z])(?:[_-]?(?:access[_-]?)?(?:key|id))?",
    re.IGNORECASE,
)
# Between the two: the type, perhaps, and a sign, which may be aligned with others; before quotes
# also a parenthesis and what kind of text it is.
_SIGN = r"""(?:\s{0,3}:\s{0,3}[a-z_][\w.\[\]|\ ]{0,40}(?=\s{0,40}=))?
            (?P<sign>\s{0,40}(?::=|=>|\?=|[:=\uff1a])\s{0,40})"""
_QUOTE = r"""\(?\s{0,3}(?P<kind>[bfru]{0,2})(?P<quote>\"{3}|'{3}|['"`])"""
VALUE = re.compile(
    rf"""(?:_?\d{{1,2}}|_(?:prod|dev|test|stag|live|main|root|admin|user|db|value)\w{{0,9}})?
        ['"`\]]{{0,2}} {_SIGN}
        (?: {_QUOTE} (?P<quoted>[^\s'"`][^'"`]{{4,298}}[^\s'"`]) (?P=quote)
          | (?P<bare>(?:[^\s'"`,;&|(){{}}\[\]<>$\#]|(?<=\w)\$(?=\d)){{6,300}})
            (?=\ ?(?:[;&\#,]|\s*$)) )""",
    re.IGNORECASE | re.VERBOSE,
)
# What is not seen, and would part a name: soft hyphens, marks of direction, blanks without width.
INVISIBLE = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
# A value of several words: four or more, or some with a digit in the middle of a word, and those
# by which a sentence about passwords differs from a passphrase.
PHRASE = re.compile(
    r"[a-z]{3,12}(?: [a-z]{3,12}){3,9}"
    r"|(?=.*(?:[A-Za-z]\d|\d[A-Za-z]))[^\s(){}<>=+,:;%$]{1,30}(?: [^\s(){}<>=+,:;%$]{1,30}){1,9}"
)
PROSE = re.compile(
    r"\b(?:the|and|for|with|from|must|not|can|cannot|your|you|this|that|has|have|are|was|were|will|"
    r"should|may|please|characters|letters|least|wrong|pass\w*|same|again|new|old|too)\b"
)
# What stands in the place of a value, or says of what type it is.
NO_VALUE = re.compile(r"[x_\W]+$|<|\{|%|\$", re.IGNORECASE)
NO_VALUE_WORDS = re.compile(
    r"example|change.?me|placeholder|dummy|redacted|your|insert|enter|pass(?:word)?|secret|token|"
    r"key|none|null|undefined|optional|required|missing|invalid|incorrect|hidden|forgotten|"
    r"protected|encrypted|disabled|enabled|default|unknown|string|object|boolean|integer|unicode|"
    r"varchar|float\d+|u?int\d+|here|oblig|oubli|requis|obrigat|vereist|vergeten|wymagan",
    re.IGNORECASE,
)


def find_secrets(documents: Iterable[Document]) -> Iterator[tuple[str, int, str]]:
    """The lines that look like a secret: the document's name, the line's number, and as what.

    A line that looks like several things is named once for each.
    """
    known: Iterable[Any] = get_mapping_from_secret_type_to_class().values()
    plugins = [plugin for plugin in known if plugin.__name__ not in LEFT_OUT]
    hints = [*PATTERNS.values(), ASSIGNED, *(p for plugin in plugins for p in plugin.denylist)]
    # Of several lines at once, each has its own beginning and end.
    hints = [re.compile(hint.pattern, hint.flags | re.MULTILINE) for hint in hints]
    used = [{"name": name} for name in sorted(plugin.__name__ for plugin in plugins)]
    with transient_settings({"plugins_used": used}):
        kinds = lru_cache(maxsize=100_000)(_kinds)  # many lines of a text are the same
        for document in documents:
            found: defaultdict[int, set[str]] = defaultdict(set)
            for first, piece in _pieces(INVISIBLE.sub("", document.text).split("\n")):
                # Most have none, and to look at each line alone takes many times as long.
                if any(hint.search(piece) for hint in hints):
                    for number, line in enumerate(piece.split("\n"), first):
                        found[number] |= kinds(line)
            for number, kinds_of_line in found.items():
                for kind in sorted(kinds_of_line):
                    yield document.name, number, kind


def _pieces(lines: list[str]) -> Iterator[tuple[int, str]]:
    """Lines in groups of up to `PIECE` characters, and longer ones in pieces that overlap.

    Each with the number of its (first) line.
    """
    first, size = 0, 0
    for i, line in enumerate(lines):
        if size + len(line) > PIECE and first < i:
            yield first + 1, "\n".join(lines[first:i])
            first, size = i, 0
        size += len(line) + 1
        if len(line) > PIECE:
            for start in range(0, len(line) - OVERLAP, PIECE - OVERLAP):
                yield i + 1, line[start : start + PIECE]
            first, size = i + 1, 0
    yield first + 1, "\n".join(lines[first:])


def _kinds(line: str) -> set[str]:
    """What a line looks like."""
    found = {name for name, pattern in PATTERNS.items() if pattern.search(line)}
    if any(_is_secret(line, name) for name in ASSIGNED.finditer(line)):
        found.add("password or key with its name")
    return found or {secret.type for secret in scan_line(line)}


def _is_secret(line: str, name: re.Match[str]) -> bool:
    """Whether the value that follows a name is the secret itself, not code that gets it."""
    value = VALUE.match(line, name.end())
    if value is None:
        return False
    text = value["quoted"] or value["bare"]
    if re.search(r"\s", text):
        is_phrase = PHRASE.fullmatch(text) is not None and not PROSE.search(text.lower())
        return bool(name["password"]) and is_phrase
    if value["kind"] and re.search(r"[\\{}()\[\]]", text):
        return False  # put together elsewhere, or the pattern of a secret
    if _is_no_value(text, name.group(), is_code=not value["quoted"]):
        return False
    changes = len(re.findall(r"\d(?=[A-Za-z])|[A-Za-z](?=\d)", text))
    if changes >= 3 and len(text) >= 16:
        return True  # such as 4f9a0c…: no word, and no name of a variable
    # Shells and .env files write TOKEN=…, without blanks.
    in_shell = line.lstrip().startswith("export ")
    in_shell |= name.group().isupper() and value["sign"] == "="
    if value["quoted"]:
        return bool(name["password"] or in_shell or "secret" in name.group().lower())
    if text.isdigit():
        return bool(name["password"])
    if re.fullmatch(r"(?:[^\W\d]|\.)+", text):  # a word in YAML, or else the name of a variable
        in_yaml = name["password"] and ":" in value["sign"] and re.fullmatch("[a-z]+", text)
        return bool(in_shell or in_yaml)
    return bool(name["password"] or in_shell)


def _is_no_value(text: str, name: str, is_code: bool) -> bool:
    """Whether a value only says what belongs there, as `<your password>` and `changeme` do.

    Such words are part of passwords, too: `Monkey2024!` has a key. So the rest of it decides.
    """
    if NO_VALUE.match(text):
        return True
    named = name.lower() in text.lower()
    if is_code and named and re.fullmatch(r"[A-Za-z_][\w.]*", text):
        return True  # another name, such as args.password2
    rest = re.sub(r"[\W_]", "", NO_VALUE_WORDS.sub("", text))
    has_words = named or NO_VALUE_WORDS.search(text) is not None
    return has_words and (len(rest) < 4 or not re.search(r"\d", rest))
