"""Names and illnesses by what stands around them: a title, "my daughter", a greeting, a signature, "diagnosed with".

No list of names: what follows a cue is a name unless the tagger's vocabulary has it as an ordinary word. English and
German cues are read in both languages, since people greet in either. Every expression reads a bounded stretch, so that
time is linear in the text's length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from chatfed.types import Span

from .entities import Entity
from .recognisers import DATE
from .tagger import Vocabulary

MOST = 3  # words of a name, without "von" and the like

_WORD = re.compile(r"[^\W\d_]{1,40}(?:['\u2019-][^\W\d_]{1,40}){0,3}")
_BETWEEN = frozenset("von van de der den zu zur al el di da dos la le ter bin".split())
_NOUN = re.compile(r"(?:ung|heit|keit|schaft|tion|it\u00e4t|ismus|ungen|nummer|plan)$")
_NEVER = frozenset(
    "i a an the it we you he she they and or but if is are was so no not yes ok okay all there here im in am an es er"
    " ihr wir du und oder aber wenn ist sind war so nein ja nicht alle hier da zusammen everyone team support lot much"
    " again both guys folks sir madam sehr vielen schon auch noch for to of on at by with from von mit bei".split()
)

_MY = r"(?:my|our|his|her|their|your|mein|dein|unser|sein|ihr|euer)(?:e|er|en|em)?"
_KIN = (
    r"(?:(?:grand|step)?(?:son|daughter|mother|father)|wife|husband|brother|sister|partner|(?:boy|girl)?friend|cousin|uncle"
    r"|aunt|nephew|niece|fianc(?:e|\u00e9)e?|child|baby|colleague|boss|manager|supervisor|neighbou?r|assistant|intern|trainee"
    r"|team ?mate|flat ?mate|landlord|deputy"
    r"|frau|mann|sohn|tochter|bruder|schwester|mutter|vater|partner(?:in)?|freund(?:in)?|kolleg(?:e|en|in)|chef(?:in)?"
    r"|nachbar(?:n|in)?|mitarbeiter(?:in)?|azubi|praktikant(?:en|in)?|vorgesetzte[rn]?|onkel|tante|neffen?|nichte|enkel(?:in)?"
    r"|assistent(?:en|in)?|vermieter(?:in)?|mitbewohner(?:in)?|teamleiter(?:in)?|kind)"
)
_CALLED = r"(?:(?:is|was|are)? ?(?:called|named)|'s name is|hei\u00dft|heisst|namens)"
_TITLE = re.compile(
    r"(?i:(?<![\w.-])(?:mr|mrs|mister|missus|herrn?|frau|dr|prof|professor)\b\.?)(?: (?i:dr|prof)\b\.?)? "
    r"|(?<![\w.-])Ms\b\.? "
)
_TOLD = re.compile(
    rf"(?i:\b(?:my|his|her|mein|sein|ihr)(?: full| first| last)? name(?: is|'s| ist| lautet|:)|\bich hei(?:\u00df|ss)e"
    rf"|\b{_MY} {_KIN} {_CALLED}),? "
)
_RELATION = re.compile(rf"(?i:(?<!\w){_MY} (?:new |old |neue[rn]? )?{_KIN}),? ")
_GREETING = re.compile(
    r"(?im:^[ \t]*(?:hi|hello|hey|dear|hallo|liebe[rs]?|guten (?:tag|morgen|abend)|good (?:morning|evening|afternoon)"
    r"|moin)),? "
)
_SIGNATURE = re.compile(
    r"(?i:(?<!\w)(?:regards|best wishes|cheers|sincerely|yours|thanks|thank you|gr\u00fc\u00dfen?|gr\u00fcsse"
    r"|gru\u00df|gruss|danke|lg|vg|mfg))[,.!]?[ \t]{0,3}(?:\r?\n|[ \t]){1,3}[ \t]{0,3}"
)
_CAPITAL = r"[A-Z\u00c0-\u00d6\u00d8-\u00de][a-z\u00df-\u00f6\u00f8-\u017f'-][\w'-]{0,40}"
_ROW = re.compile(rf"(?<![\w-]){_CAPITAL}(?: {_CAPITAL}){{1,2}}(?![\w-])")
_STARTS = re.compile(r"(?:^|[.!?:\"\n]) {0,2}$")
_INFLECTED = re.compile(r"(?:e|er|es|en|em|t)$")
_BORN = re.compile(rf"(?i:,? (?:\(?born|geboren|geb\.?)(?: on| am| in| im|:)? {DATE})")
_BEHIND = re.compile(r"[ \t]{0,3}(?:[,.!?:;)\n\r-]|$)")
_END = re.compile(r"[ \t.!,-]{0,4}(?:[\n\r]|$)")
_DETERMINERS = frozenset(
    "meine deine seine ihre unsere eure die der eine einer meiner deiner seiner ihrer diese dieser keine den"
    " dem".split()
)

_NO_ILLNESS = (
    r"(?!(?:the|this|that|these|those|it|them|him|her|us|me|you|which|what|all|some|any|der|die|das|dem|den|diese[rmn]?|ihm|uns"
    r"|mir|und|and|or|oder|but|aber|so|since|because|for|in|on|at|to|from|last|next|seit|im|am|bei|von|als|free|until|till|bis"
    r"|i|we|they|he|she|ich|wir|er|sie|es|is|was|has|ist|war|hat|again|today|now|heute|while|when|please"
    r"|my|who|can|could|need|bitte|kann|muss|will|brauche|problems?|slow|lack)\b)"
)
_SICK = re.compile(
    r"(?i:\b(?:diagnosed with|suffer(?:s|ed|ing)? from|recover(?:s|ed|ing)? from|(?:sick|ill|hospital) with"
    r"|came down with|hospital (?:for|because of)|medication (?:for|against)|diagnosis(?: is|:)?"
    r"|leide[nt]? (?:an|unter)|litt (?:an|unter)|erkrank(?:t|te) an|diagnose(?: ist|:)?|verdacht auf|medikamente gegen"
    r"|krankgeschrieben wegen|erhol(?:e|t) (?:mich|sich) von) )"
    rf"(?P<value>(?:{_NO_ILLNESS}[^\W\d_][\w'-]{{1,30}}(?: |\b)){{1,3}}(?<! )"
    rf"(?: (?:from|since|vom|seit) {DATE}(?: (?:until|to|till|bis) {DATE})?)?)",
    re.IGNORECASE,
)
_ABSENT = re.compile(  # a reason with dates behind it: "because of a slipped rib from 3 May until 9 June"
    r"\b(?:because of|due to|owing to|it is about|(?:absent|off|away) (?:with|for)|wegen|aufgrund|es geht um) "
    rf"(?P<value>(?:{_NO_ILLNESS}[^\W\d_][\w'-]{{0,30}} ){{1,5}}"
    rf"(?:from|vom) {DATE} (?:until|to|till|bis)(?: zum)? {DATE}(?![^\W\d_]))",
    re.IGNORECASE,
)
_DATED = re.compile(rf" (?:from|vom) {DATE} (?:until|to|till|bis)(?: zum)? {DATE}(?![^\W\d_])", re.IGNORECASE)


@dataclass(frozen=True)
class Cues:
    """Finds what stands behind a cue. vocabulary: whose ordinary words are no names.

    nouns_have_capitals: as in German, where two words with a capital in a row are a noun and its name, or a whole name.
    """

    vocabulary: Vocabulary
    nouns_have_capitals: bool = False

    def entities(self, text: str) -> Iterator[Entity]:
        """Names and illnesses that a cue gives away."""
        rows = self._rows(text) if self.nouns_have_capitals else ()
        for span in (*self._after(text), *self._before_birth(text), *rows):
            yield Entity(span, "name", "cue")
        for cue in (_SICK, _ABSENT):
            for match in cue.finditer(text):
                yield Entity(Span(*match.span("value")), "health", "cue")

    def _after(self, text: str) -> Iterator[Span]:
        """Behind titles, "my daughter", "my name is", greetings and before a signature's end."""
        for match in _TITLE.finditer(text):
            titled = match[0].lower() != "frau " or _word_before(text, match.start()) not in _DETERMINERS
            if titled and (end := self._name(text, match.end(), small=True, any_capital=True)):
                yield Span(match.end(), end)
        for cue in (_TOLD, _RELATION):
            for match in cue.finditer(text):
                if end := self._name(text, match.end(), small=False):
                    yield Span(match.end(), end)
        for cue, behind in ((_GREETING, _BEHIND), (_SIGNATURE, _END)):
            for match in cue.finditer(text):
                if (end := self._name(text, match.end(), small=True)) and behind.match(text, end):
                    yield Span(match.end(), end)

    def _rows(self, text: str) -> Iterator[Span]:
        """Two or three words in a row that have a capital and are no ordinary ones."""
        for match in _ROW.finditer(text):
            words = list(_WORD.finditer(text, match.start(), match.end()))
            if _STARTS.search(text, max(0, match.start() - 3), match.start()) and _INFLECTED.search(words[0][0]):
                words = words[1:]  # "Neue Drucker sind da"
            fits = [self._may_name(word[0], small=False) and not word[0].isupper() for word in words]
            if len(words) > 1 and all(fits):
                yield Span(words[0].start(), words[-1].end())

    def _before_birth(self, text: str) -> Iterator[Span]:
        """The one or two words before "born 3 March 2012"."""
        for match in _BORN.finditer(text):
            stretch = list(_WORD.finditer(text, max(0, match.start() - 60), match.start()))
            if stretch and stretch[-1].end() == match.start() and self._may_name(stretch[-1][0], small=True):
                first = stretch[-1]
                if len(stretch) > 1 and stretch[-2].end() == first.start() - 1 and text[first.start() - 1] == " ":
                    capital = first[0][0].isupper() == stretch[-2][0][0].isupper()
                    first = stretch[-2] if capital and self._may_name(stretch[-2][0], small=True) else first
                yield Span(first.start(), match.start())

    def _name(self, text: str, at: int, small: bool, any_capital: bool = False) -> int:
        """Where the name ends that begins here; 0 where none does."""
        end, count, cased = 0, 0, True
        while count < (MOST if cased or not any_capital else 1) and (match := _WORD.match(text, at)):
            word = match[0]
            if word in _BETWEEN and text[match.end() : match.end() + 1] == " ":
                at = match.end() + 1
                continue
            cased = word[0].isupper() if not count else cased
            fits = self._may_name(word, small) or (any_capital and not count and _is_cased(word))
            if not fits or word[0].isupper() != cased:
                break
            end, count = match.end(), count + 1
            if text[end : end + 1] != " ":
                break
            at = end + 1
        return end

    def _may_name(self, word: str, small: bool) -> bool:
        """A word with a capital (or in small letters, where they are allowed) that is no ordinary one."""
        plain = word.lower()
        if len(word) < 2 or plain in _NEVER or plain in _BETWEEN or not (word[0].isupper() or small):
            return False
        if plain in self.vocabulary.first_names:
            return True
        return plain not in self.vocabulary.common and not _NOUN.search(plain)


def _is_cased(word: str) -> bool:
    return len(word) > 1 and word[0].isupper() and word.lower() not in _NEVER


def _word_before(text: str, at: int) -> str:
    return text[max(0, at - 20) : at].rstrip().rpartition(" ")[2].lower()


def with_dates(text: str, entity: Entity) -> Entity:
    """An illness with the dates behind it, which are of the same fact."""
    if entity.kind == "health" and (match := _DATED.match(text, entity.span.end)):
        return Entity(Span(entity.span.start, match.end()), entity.kind, entity.by)
    return entity
