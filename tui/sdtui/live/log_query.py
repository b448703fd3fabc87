"""What a person looks for in a log: a filter by level and rank, and a search by pattern.

Both first ask a page's raw bytes whether it can hold anything at all, so that a gigabyte without a
hit is passed at the speed of reading.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from sdcore.runs.logs import Mask
from sdtui.language import _
from sdtui.live.log_cells import LONGEST
from sdtui.live.log_levels import GRAVE, RANKED, Level
from sdtui.live.log_tries import Spans, Tries
from sdtui.live.logfile import Row
from sdtui.told import told

_DELETED = bytes({*range(0x20), 0x7F} - {0x0A, 0x09, 0x0D})
_SPECIAL = re.compile(r"\\.|\{[^}]*\}|[.^$*+?{}]")
_ESCAPED = re.compile(r"\\.")
# Conditions that ask for what stands around a match mean something else in a page than in a line.
_OF_A_LINE = re.compile(r"\(\?|\\[AZ]|\[\^|\\[sSDW]")
_CLASS = re.compile(r"\[\^?\]?[^\]]*\]")
_ENDLESS = re.compile(r"[*+]|\{\d*,\d*\}")
_QUANTIFIER = re.compile(r"(?:[*+?]|\{\d*,?\d*\})[?+]?")
_REPEATED_GROUP = re.compile(r"\)[*+?{]")
_BACKWARDS = re.compile(r"\\[1-9]|\(\?[P(]")  # asks for what a group matched
LONGEST_PATTERN = 500  # characters
_QUICK_LINE = 500  # characters in which one repeat tries all it can within 2 ms
_MOST_SPANS = 4000  # lines of which is known where they match


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows are shown: those at least this grave and, if given, of this rank."""

    level: Level = Level.DEBUG
    rank: int | None = None

    def __bool__(self) -> bool:
        """Say whether it leaves anything out."""
        return self.level > Level.DEBUG or self.rank is not None

    def passes(self, row: Row) -> bool:
        """Say whether a row is shown."""
        return row.level >= self.level and (self.rank is None or row.rank == self.rank)

    def may(self, block: bytes, before: bytes) -> bool:
        """Say whether a page can hold a row that passes.

        Args:
            block: Its bytes.
            before: Those of the page before it, from which a traceback may reach into it.
        """
        near = (before.rpartition(b"\n")[2] + block).lower()
        if self.rank is not None and not any(word in near for word in RANKED):
            return False
        if self.level <= Level.INFO or b"Traceback" in before:
            return True
        return any(word in near for word in GRAVE)


class BadPatternError(ValueError):
    """A pattern that cannot be searched for; its words are for the person who typed it."""


@dataclass(frozen=True, slots=True)
class Query:
    """A search, by lines.

    Attributes:
        text: The pattern as it was typed.
        regex: What it means; without capitals in it, capitals do not matter.
    """

    text: str
    regex: "re.Pattern[str]"
    _in_page: "re.Pattern[str] | None" = None
    _needed: str = ""
    _repeats: int = 0  # 2 for all that may take longer than a person waits
    _spans: dict[str, Spans] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, text: str) -> "Query":
        """Return the search for ``text``.

        Raises:
            BadPatternError: It is no regular expression, or one that might never end.
        """
        if len(text) > LONGEST_PATTERN:
            raise BadPatternError(_("longer than {n} characters").format(n=LONGEST_PATTERN))
        if _repeats_within_repeats(text):
            raise BadPatternError(_("a repeat within a repeat may never end"))
        flags = re.NOFLAG if any(c.isupper() for c in _ESCAPED.sub("", text)) else re.IGNORECASE
        try:
            regex = re.compile(text, flags)
            in_page = None if _OF_A_LINE.search(text) else re.compile(text, flags | re.MULTILINE)
        except (re.error, OverflowError, RecursionError) as error:
            raise BadPatternError(told(str(error))) from error
        return cls(text, regex, in_page, _needed(text), _repeats(text))

    def quick(self, longest: int) -> bool:
        """Say whether it is tried at once on lines of so many characters, whatever they hold.

        Others are tried in a process of their own; see ``log_tries``.
        """
        return not self._repeats or (self._repeats == 1 and longest <= _QUICK_LINE)

    def matching(self, texts: Sequence[str], tries: Tries) -> list[int]:
        """Return the places of the lines that match.

        Raises:
            TooSlowError: It takes too long on one of them.
        """
        if self.quick(max(map(len, texts), default=0)):
            return [place for place, text in enumerate(texts) if self.regex.search(text)]
        return sorted(tries.find(self.regex, texts))

    def learn(self, texts: Sequence[str], tries: Tries) -> bool:
        """Find out where it matches in lines that will be drawn; say whether that was needed.

        Raises:
            TooSlowError: It takes too long on one of them.
        """
        fresh = [text for text in texts if not self.quick(len(text)) and text not in self._spans]
        if not fresh:
            return False
        found = tries.find(self.regex, fresh)
        if len(self._spans) > _MOST_SPANS:
            self._spans.clear()
        self._spans.update((text, found.get(place, [])) for place, text in enumerate(fresh))
        return True

    def may(self, block: bytes, before: bytes, mask: Mask) -> bool:
        """Say whether a page can hold a matching row, by its bytes; in doubt, it can.

        Args:
            block: The page.
            before: The page before it, in which a line of this one may begin.
            mask: What takes out the secrets that a pattern must not find.
        """
        near = before.rpartition(b"\n")[2] + block
        if self._in_page is None or not near.isascii() or b"\x1b" in near or b"\t" in near:
            return True
        if near.count(b"\n") * LONGEST < len(near):
            return True  # so long a line may be shown cut
        long = max(map(len, near.split(b"\n")))
        text = near.translate(None, _DELETED).replace(b"\r", b"\n").decode("ascii")
        text = mask(text)
        if self._needed:  # ten times as fast as the pattern
            small = self.regex.flags & re.IGNORECASE
            if self._needed not in (text.lower() if small else text):
                return False
        return not self.quick(long) or self._in_page.search(text) is not None

    def spans(self, text: str) -> Spans:
        """Return where in ``text`` it matches, in characters; empty matches count as none.

        Of what is not quick it returns what was learnt before.
        """
        if self.quick(len(text)):
            spans = [match.span() for match in self.regex.finditer(text)]
        else:
            spans = self._spans.get(text, [])
        return [(begin, end) for begin, end in spans if end > begin]


def _needed(text: str) -> str:
    """Return the longest part of a pattern that stands in every match; none if it has choices.

    In small letters if the search takes no notice of capitals.
    """
    if not text.isascii() or any(sign in text for sign in "|([") or text.endswith("\\"):
        return ""
    parts, begin = [], 0
    for special in _SPECIAL.finditer(text):
        optional = special.group()[0] in "*?{"
        parts.append(text[begin : special.start() - optional])
        begin = special.end()
    parts.append(text[begin:])
    return max(parts, key=len)


def _repeats(text: str) -> int:
    """Count the repeats, up to 2; what tries the same signs in several ways counts as 2."""
    if _BACKWARDS.search(text):
        return 2
    text = _CLASS.sub("c", _ESCAPED.sub("e", text)).replace("(?", "(")
    if _REPEATED_GROUP.search(text):
        return 2
    return min(2, len(_QUANTIFIER.findall(text)))


def _repeats_within_repeats(text: str) -> bool:
    """Say whether a pattern is like ``(a+)+``.

    On some lines such a one runs for years, and nothing can interrupt it.
    """
    text = _CLASS.sub("c", _ESCAPED.sub("e", text))
    groups = [False]  # whether each open group holds a repeat, outermost first
    for place, sign in enumerate(text):
        if sign == "(":
            groups.append(False)
        elif sign == ")" and len(groups) > 1:
            repeated = _ENDLESS.match(text, place + 1) is not None
            holds = groups.pop()
            if holds and repeated:
                return True
            groups[-1] |= holds or repeated
        elif _ENDLESS.match(text, place):
            groups[-1] = True
    return False
