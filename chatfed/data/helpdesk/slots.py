"""What `<slot>` stands for: common slots, then the public (vendor-neutral) and the house (in-house names) readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chatfed.data.helpdesk import words
from chatfed.data.helpdesk.grammar import Slots, parse


def _any(options: Sequence[str]) -> str:
    return "{" + "|".join(options) + "}"


_DAYS = "Monday Tuesday Wednesday Thursday Friday".split()
_CLOCK = [f"{hour}:{minute:02d}" for hour in range(7, 19) for minute in (0, 5, 10, 15, 20, 30, 40, 45, 50)]
_MAKERS = ("HV-", "KS-", "QP-", "PB-", "OR-", "x", "E", "TL ")
_CODES = [f"{maker}{number}" for maker in _MAKERS for number in range(103, 999, 13)]

COMMON: Mapping[str, str] = {
    "day": _any([*_DAYS, "yesterday", "the weekend", "last night", "last week"]),
    "onday": _any([f"on {day}" for day in _DAYS] + ["yesterday", "at the weekend", "last night", "last week"]),
    "nth": _any([f"{n}th" for n in range(4, 21)]),
    "weekday": _any(_DAYS),
    "when": "{on <weekday>|next <weekday>|tomorrow|this week|on <weekday> morning|on <weekday> afternoon|in two days}",
    "clock": _any(_CLOCK),
    "month": _any(words.MONTHS),
    "date": _any(words.DATES),
    "n": _any([str(n) for n in range(2, 13)]),
    "amount": _any([f"{n}" for n in range(14, 960, 7)]),
    "artefact": _any(words.ARTEFACTS),
    "team": _any(words.TEAMS),
    "device": "{laptop|notebook|computer|machine|PC}",
    "soon": "{soon|today|this week|shortly|before lunch|by tomorrow|within the hour|in a moment}",
    "ask": "{can you help|could you help me|what can I do|what should I do|how do I fix this|any idea"
    "|what do you suggest|how can this be fixed|can somebody help|what is the best way to solve this|can you advise}?",
}

PUBLIC: Mapping[str, str] = {
    "vpn": "the VPN{ client|| connection}",
    "laptop": "<device>",
    "wifi": "the {wireless network|Wi-Fi|wireless connection}",
    "mfa": "the {authenticator app|verification app|two-factor app}",
    "pwtool": "the {password reset page|self-service password page|account settings page}",
    "mailapp": "the {mail program|email client|mail application}",
    "calendar": "the {calendar|shared calendar|calendar application}",
    "printq": "the {printer|office printer|network printer|print queue}",
    "catalogue": "the {software catalogue|application store|software centre}",
    "licensing": "the {licence administrator|software team|asset manager}",
    "deskplace": "the {service desk|help desk|IT desk|support desk}",
    "ticketing": "the {ticket system|service desk|support portal}",
    "drive": "the {shared drive|network drive|file server|shared folder}",
    "hr": "the {HR system|personnel department|staff portal}",
    "leaveform": "the {leave request form|absence form|leave page}",
    "phoneapp": "the {phone application|softphone|calling application}",
    "roomtool": "the {room booking page|calendar|booking system}",
    "errcode": "{an error message|an error code|a warning|a message}",
    "context": "{this began {<onday>|after an update|after a restart|without any change on my side}"
    "|it worked {correctly|without trouble|well} {until <day>|before the last update|last week}"
    "|I have already {restarted|checked the cables|waited a while|tried twice}"
    "|it {happens|occurs} {every time|once or twice a day|at random|in the morning}"
    "|{several people|other users} in {the office|my department} have the same difficulty"
    "|I need {it|this} {for my work|for a meeting|by the end of the day|before <clock>|to finish the <artefact>}}",
}

HOUSE: Mapping[str, str] = {
    "code": _any(_CODES),
    "floor": "{first|second|third|fourth|ground|fifth|top} floor",
    "building": _any(words.BUILDINGS),
    "room": _any(words.ROOMS),
    "project": _any(words.PROJECTS),
    "mate": _any(words.COLLEAGUES),
    "town": _any(words.TOWNS),
    "model": "{Corvid 14|Corvid 15|Tern X2|Osprey 5|Corvid|Tern}",
    "laptop": "{<device>|laptop|<model>|<model> laptop}",
    "vpn": "{Halden VPN|Halden|the Halden client|Halden Gate}",
    "wifi": "{Alder-Staff|the Alder wifi|the Alder-Staff network}",
    "mfa": "{Wren Pass|the Wren app|Wren}",
    "pwtool": "{Keystone|the Keystone page|Keystone self-service}",
    "mailapp": "{Postbox|the Postbox app|Postbox mail}",
    "calendar": "{Tideline|the Tideline calendar}",
    "printq": "{Quill|the Quill queue|the Quill printer {by|near|next to} {<room>|the lifts|the kitchen|<team>}"
    "|printer QL-<n> in <building>}",
    "catalogue": "{Depot|the Depot catalogue|the Depot shop}",
    "licensing": "{the Depot team|<mate> in the Depot team|the Depot mailbox}",
    "deskplace": "{the Lantern desk|the Lantern counter in <building>|the walk-in desk in <building>}",
    "ticketing": "{Lantern|the Lantern desk|the Lantern queue}",
    "drive": "{the Granary|the Granary drive|our Granary folder|the <team> folder on the Granary}",
    "chatapp": "{Burrow|the Burrow channel|a Burrow message|Burrow chat}",
    "hr": "{the Orchard portal|Orchard|the Orchard page}",
    "leaveform": "{form T-12|the T-12|the T-12 form in Orchard}",
    "pay": "{Millrace|the Millrace team|Millrace payroll}",
    "travel": "{Compass|the Compass desk|Compass travel}",
    "facilities": "{Groundkeep|the Groundkeep crew|Groundkeep dispatch}",
    "access": "{the Turnstile office|Turnstile|the Turnstile counter in <building>}",
    "card": "{Sable card|badge|Sable badge|card}",
    "roomtool": "{Tideline rooms|Tideline|the Tideline board}",
    "phoneapp": "{Ring|the Ring app|the Ring softphone}",
    "handset": "{Ferrier|Ferrier handset|work phone|Ferrier mobile}",
    "buying": "{Marlow|the Marlow desk|Marlow purchasing}",
    "health": "{the Fernhill plan|Fernhill|the Fernhill cover}",
    "benefits": "{Beacon|the Beacon page|Beacon benefits}",
    "starter": "{First Light|the First Light programme|the First Light checklist}",
    "errcode": "{error <code>|code <code>|a <code> message|the message <code>|a box with <code>}",
    "context": "{I have to {show|send|give|hand} {<mate>|<team>|<mate> from <team>} the <artefact> {at|by} <clock>"
    "|{I am|we are} {in|over at|working from} {<building>|<town>|the <floor> of <building>} {today|this week|until "
    "<weekday>}"
    "|it {was fine|worked} {<onday>|until about <clock>|when I was in <building>|before the move to <building>}"
    "|<mate> {from <team>|next to me|in <building>} {has it too|says the same|had this {in <month>|last week} as well"
    "|told me to ask you}"
    "|the <artefact> for <project> is due {<when>|at <clock>|on <date>}|{we have|there is} a <project> "
    "{review|call|meeting|workshop} {in <room> at <clock>|<when>|with <team>}"
    "|I {tried|did} {the usual|everything <mate> suggested|what the <project> wiki says|it twice} {already|since "
    "<clock>|}"
    "|{been|it has been} like this since {<clock>|<day>|<date>|the <project> {rollout|move|update}}}",
}


def _compile(*readings: Mapping[str, str]) -> Slots:
    merged: dict[str, str] = {}
    for reading in readings:
        merged.update(reading)
    return {name: parse(text) for name, text in merged.items()}


def public_slots() -> Slots:
    """Readings for the public part: vendor-neutral."""
    return _compile(COMMON, PUBLIC)


def house_slots() -> Slots:
    """Readings for the clients: the organisation's own names."""
    return _compile(COMMON, HOUSE)
