"""What has a form of its own: phones, mail addresses, accounts, cards, addresses, passwords told, dates of birth.

Each is a regular expression that reads a text once, in time linear in its length, and a check of what it found. Knows
English and German forms; the house's own (ticket ids and the like) are in forms.py.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chatfed.types import Span

from .entities import Entity

Check = Callable[["re.Match[str]"], bool]

_MONTHS = (
    "jan(?:uary|uar)?|feb(?:ruary|ruar)?|mar(?:ch)?|m\u00e4rz|apr(?:il)?|may|mai|june?|juni|july?|juli|aug(?:ust)?"
    "|sep(?:t(?:ember)?)?|oct(?:ober)?|okt(?:ober)?|nov(?:ember)?|dec(?:ember)?|dez(?:ember)?"
)
DATE = (
    rf"(?:\d{{1,2}}(?:st|nd|rd|th|\.)? ?(?:of )?(?:{_MONTHS})\.?(?:,? \d{{4}})?"
    rf"|(?:{_MONTHS})\.? \d{{1,2}}(?:st|nd|rd|th)?(?:,? \d{{4}})?"
    r"|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}-\d{2}-\d{2})"
)
_STREET = (
    "street|st|road|rd|lane|ln|avenue|ave|drive|dr|close|court|ct|row|walk|hill|square|sq|gardens?|place|pl|way"
    "|boulevard|blvd|terrace|crescent|mews|highway|parkway|pkwy"
)
_STRASSE = "(?:stra\u00dfe|strasse|str\\.|weg|allee|platz|gasse|ring|damm|ufer|chaussee|steig|markt)"
_CALL = re.compile(
    r"\b(?:phone|mobile|cell|tel|telephone|telefon\w*|handy\w*|mobil\w*|rufnummer|call|ring|fax|durchwahl|erreich\w*)\b"
    r"[^\d]{0,40}$",
    re.IGNORECASE,
)


def _digits(text: str) -> str:
    return "".join(letter for letter in text if letter.isdigit())


def _is_phone(match: re.Match[str]) -> bool:
    text, digits = match[0], _digits(match[0])
    if not 7 <= len(digits) <= 15 or re.fullmatch(r"\d{4}-\d{2}-\d{2}.*|\d{1,2}\.\d{1,2}\.\d{4}", text):
        return False
    if text[0] == "+" or (text.startswith("00") and digits[2] != "0"):
        return True
    groups = re.findall(r"\d+", text)
    if len(groups) > 1 and max(map(len, groups)) >= 3 and (digits[0] == "0" or list(map(len, groups))[-2:] == [3, 4]):
        return True
    if len(groups) == 1 and digits[0] == "0" and len(digits) >= 10:
        return True
    return bool(_CALL.search(match.string[max(0, match.start() - 60) : match.start()]))


def luhn(number: str) -> bool:
    """Whether the last digit checks the others (ISO/IEC 7812-1, annex B).

    >>> luhn("4111111111111111"), luhn("4111111111111112")
    (True, False)
    """
    digits = [int(each) for each in reversed(number)]
    return sum(digits[::2]) % 10 == -sum(sum(divmod(2 * each, 10)) for each in digits[1::2]) % 10


def _is_card(match: re.Match[str]) -> bool:
    digits = _digits(match[0])
    return 13 <= len(digits) <= 19 and len(set(digits)) > 1 and luhn(digits)


def iban(number: str) -> bool:
    """Whether the two check digits fit (ISO 13616: 1 modulo 97).

    >>> iban("DE89 3704 0044 0532 0130 00"), iban("DE88 3704 0044 0532 0130 00")
    (True, False)
    """
    compact = unicodedata.normalize("NFKC", "".join(number.split())).upper()  # [a-z] takes the sign of kelvin for a k
    if not (compact.isascii() and compact.isalnum() and 15 <= len(compact) <= 34):
        return False
    return int("".join(str(int(each, 36)) for each in compact[4:] + compact[:4])) % 97 == 1


def _is_network(match: re.Match[str]) -> bool:
    try:
        ipaddress.ip_address(match[0])
    except ValueError:
        return False
    return True


_PLAIN = re.compile(r"[A-Z]+-\d.*|\d+(?:er)?-[^\W\d_-]+(?:-[^\W\d_-]+)*|[^\W\d_]+-\d{1,3}")
_JOINED = re.compile(r"[^\W\d_]{3,30}(?:[!#*?+$%&~^][^\W\d_]{3,30}\d{2,6}|-[^\W\d_]{3,30}\d{3,6})[!#*?+$%&~^]?")


def _secret(match: re.Match[str]) -> bool:
    """Capitals, small letters, digits and a mark in one word: what rules for passwords ask for.

    In a message without capitals: two words that a mark joins, with digits at their end. Marks that a sentence ends
    with are none of the word: "we have Windows11!" tells no password.
    """
    word = match["value"].rstrip("!?")
    if word.islower():
        return bool(_JOINED.fullmatch(word))
    kinds = [any(map(test, word)) for test in (str.isupper, str.islower, str.isdigit)]
    marks = [letter for letter in word if not letter.isalnum()]
    return all(kinds) and bool(marks) and set(marks) <= set("!#*?+$%&=~^-") and not _PLAIN.fullmatch(word)


def _is_told(match: re.Match[str]) -> bool:
    """What follows "the password is": a word that no sentence goes on with."""
    word = match["value"]
    return len(word) >= 4 and (any(map(str.isdigit, word)) or bool(re.search(r"\w[!#*?+$%&=~^]\w", word)))


@dataclass(frozen=True)
class Form:
    """A kind's form. `value` of the expression is what is held back where it has one, else all of it."""

    kind: str
    expression: re.Pattern[str]
    check: Check = lambda match: True

    def entities(self, text: str) -> Iterator[Entity]:
        """Where the text has it."""
        group = "value" if "value" in self.expression.groupindex else 0
        for match in self.expression.finditer(text):
            if self.check(match):
                yield Entity(Span(*match.span(group)), self.kind, "form")


def _form(kind: str, expression: str, check: Check = lambda match: True, flags: int = re.IGNORECASE) -> Form:
    return Form(kind, re.compile(expression, flags), check)


_AT, _DOT = r" ?(?:\(at\)|\[at\]) ?", r" ?(?:\.|\(dot\)|\[dot\]|\(punkt\)) ?"
_AM = "am|an der|an den|auf der|auf dem|im|zum|zur|unter den|hinter der|hinter dem|vor dem"
_DER = r"(?i:(?:d|ein|kein|dies|jed|mein|dein|sein|ihr|uns|eur)(?:er|e|en|erer|ere) )"
_TOWN = r"(?:,? (?:in )?\d{5} [^\W\d_][\w-]{2,30})?"
_NUMBER = r"(?:number|no|nr|id|nummer)"
_TOLD = (
    r"(?:(?: (?:for|f\u00fcr|of|zum|zur)(?: \w{1,20}){1,3}?)?"
    r"(?: (?:is|was|to|now|still|ist|war|lautet|auf|jetzt|nun|noch)){0,3})"
)
_WORD_FOR_IT = r"(?:passwor[dt]|passcode|passphrase|kennwort|pin|pwd?|pw|zugangscode)"
_ILL = (
    "itis|ectomy|aemia|algia|opathy|sclerosis|phrenia|lepsy|pnoea|plegia|dystrophy|entz\u00fcndung|krebs|infarkt|geschw\u00fcr"
    "|l\u00e4hmung|\u00e4mie|algie|sklerose|embolie|thrombose|phrenie|lepsie|transplantation"
)

GENERAL: tuple[Form, ...] = (
    _form("mail", r"(?<![\w.+-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[a-z]{2,24}\b"),
    _form("mail", rf"(?<![\w.])[\w.-]{{1,64}}{_AT}[\w-]{{1,63}}(?:{_DOT}[\w-]{{1,63}}){{1,4}}"),
    _form("bank", r"\b[a-z]{2}\d{2}(?: ?[a-z0-9]{4}){2,7}(?: ?[a-z0-9]{1,3})?\b", lambda match: iban(match[0])),
    _form("bank", rf"\b(?:account|konto)(?:[ -]?{_NUMBER})?\.?:?(?: is| lautet| ist)? (?P<value>\d[\d -]{{5,24}}\d)\b"),
    _form("card", r"(?<![\d-])\d(?:[ -]?\d){12,18}(?![\d-])", _is_card),
    _form("phone", r"(?<![\w@.,-])(?:\+|\(\+|\()?\d(?:[ ()./-]{0,3}\d){6,14}(?![\w@-]|[.,]\d)", _is_phone),
    _form("network", r"(?<![\w.:])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)", _is_network),
    _form("network", r"(?<![\w:])(?:[0-9a-f]{2}[:-]){5}[0-9a-f]{2}(?![\w:])"),
    _form(
        "address",
        rf"(?<![\w.:/-])\d{{1,5}}[a-z]? (?:[^\W\d_][\w'.-]{{1,24}} ){{1,3}}(?:{_STREET})\b\.?"
        r"(?:,? (?:apt|suite|unit|flat|#) ?#?\w{1,6})?(?:, [^\W\d_][\w'-]{2,30}(?: \d{5}\b)?)?",
        lambda match: not _prose(match),
    ),
    _form(
        "address",
        rf"\b(?:(?:{_AM}) )?[^\W\d_][\w-]{{1,30}}(?:{_STRASSE}| {_STRASSE})"
        rf" \d{{1,4}}(?: ?[a-z])?\b{_TOWN}",
    ),
    _form(
        "address",
        rf"\b(?:(?i:{_AM}) (?!{_DER})[^\W\d_]{{2,20}}e[rn]|(?!{_DER})[A-Z\u00c4\u00d6\u00dc][^\W\d_]{{2,20}}er?)"
        rf" [^\W\d_]{{0,30}}(?i:{_STRASSE}) \d{{1,4}}(?: ?[a-z])?\b{_TOWN}",
        flags=0,
    ),
    _form(
        "address",
        rf"\b(?:{_AM}) (?:[^\W\d_]{{2,20}}en )?[^\W\d_]{{3,30}} \d{{1,4}} ?[a-z]?,? \d{{5}} [^\W\d_][\w-]{{2,30}}",
    ),
    _form("address", r"\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b", flags=0),
    _form(
        "password",
        r"(?<!\S)[\"'(]?(?P<value>[\w!#*?+$%&=~^-]{8,64})(?=[.,;:?!)\"']*(?:\s|$))",
        _secret,
    ),
    _form(
        "password",
        rf"\b{_WORD_FOR_IT}\b{_TOLD}[:= ]{{1,3}}[\"']?(?P<value>[^\s\"',;]{{3,63}}[^\s\"',;.?!])",
        _is_told,
    ),
    _form(
        "password",
        r"(?<![^\s\"'(])(?P<value>[^\s\"',;()]{4,64})[\"']?,? (?:is|was|as|ist|war|als)"
        rf"(?: (?:my|the|our|a|mein|das|unser))?(?: (?:new|old|neues?|altes?))? {_WORD_FOR_IT}\b",
        _is_told,
    ),
    _form(
        "password",
        rf"\b{_WORD_FOR_IT}\b{_TOLD}[:= ]{{1,3}}[\"\u201e](?P<value>[^\"\u201c\u201d\n]{{4,64}})[\"\u201c\u201d]",
    ),
    _form(
        "born",
        r"\b(?:born|geboren|geb\.|date of birth|geburtsdatum|dob)"
        rf"(?:(?: on| am|:| is| ist| the)){{0,2}} (?P<value>{DATE})",
    ),
    _form(
        "employee",
        rf"\b(?:employee|staff|personnel|personal|mitarbeiter)[ -]?{_NUMBER}\.?:?(?: is| ist| lautet)?"
        r" (?P<value>[a-z]{0,3}-?\d[\d-]{2,12}\d)\b",
    ),
    _form("health", rf"\b[^\W\d_]{{3,30}}(?:{_ILL})\b"),
    _form(
        "ticket",
        rf"\b(?:ticket|case|incident|vorgang)(?:[ -]?{_NUMBER})?\.?:? #?(?P<value>[a-z]{{0,5}}-?\d{{4,12}})\b",
    ),
)

_COMMON = frozenset(
    "of on in at to by the a an and or is was for from with minutes minute hours hour days day weeks times people am pm"
    " percent euros pounds dollars more other per you i we it that this".split()
)


def _prose(match: re.Match[str]) -> bool:
    """`2 of us on my way` is no address: between number and street stand names, no small words of a sentence."""
    words = match[0].lower().replace(",", "").split()[1:-1]
    return any(word in _COMMON for word in words)
