"""Phrases that any topic needs: greetings, thanks, success, failure, escalation, small talk."""

from __future__ import annotations

GREETING = "{hi|hello|good morning|hey|good afternoon|hi there|morning|hello there|hello desk|hey folks}"
PUBLIC_GREETING = "{hello|hi|hi there|good morning|hello|good morning|good afternoon|good day}"
INTRODUCTION = "{this is @name|@name here|it is @name from <team>|@name, <team>, <building>|my name is @name}"
SIGNATURE = "{thanks|regards|best|cheers|kind regards}, @name"
FEELING = (
    "{ugh|so|well|oh dear|right|sorry to bother you|me again|not my day|quick one|hope you are well"
    "|sorry, one more thing|bit of a pickle|you will not believe this|help}"
)
FILLER = (
    "{no rush|it is a bit urgent|sorry for the long message|thanks in advance|I would be really grateful"
    "|I am not very technical|<mate> is waiting for me|I have a train at <clock>|I am on the road until <clock>"
    "|I will be in <building> from <clock>|I am covering for <mate> in <team> this week"
    "|<mate> said you fixed this for <team> {last week|in <month>|before}|it is holding up <project>}"
)
PUBLIC_FILLER = (
    "{no rush|it is a bit urgent|sorry for the long message|thanks in advance|I would be really grateful"
    "|I am not very technical|my {boss|colleague|customer} is waiting|I have a train at <clock>"
    "|I must leave at <clock>}"
)
ACKNOWLEDGE = (
    "{thank you for the details|I see|I understand|thanks for letting us know|that is a common one|we can {fix"
    "|sort} that"
    "|happy to help|certainly|of course|no problem|understood|let us have a look at that|all right}"
)
ACKNOWLEDGE_MORE = "{good question|sure|of course|certainly|yes, people ask that a lot|glad you ask}"
ACKNOWLEDGE_FAILURE = (
    "{sorry about that|thanks for trying|I see|understood|ok, {one|a} step further|hmm, odd|that is a pity|all right"
    "|{then|in that case} it is something else}"
)
HOUSE_ACKNOWLEDGE = (
    "{ah|ok|okay|right|got it|no worries|we have had a few of those {since <day>|from <team>|from <building>|this week}"
    "|<mate> {from <team>|in <building>} had that {<onday>|in <month>|too}|thanks for flagging it|sure"
    "|that one is easy|I have seen that before|sorry about that|ok, let me check|happy to sort that out}"
)
ONE_MORE_QUESTION = "{before we start, |to be sure, |so that I can help, |first, |one question: |just so I know, |||}"
TRY_THIS = (
    "{please try this: |here is what to do: |try this first: |the {quickest|simplest} way: |do the following: ||||}"
)
OTHERWISE = (
    "{if that does not help, |if it is still the same, |should that fail, |failing that, |otherwise, |if not, "
    "|when that changes nothing, |as a second step, }"
)
ALSO = "{also, |and |besides, |by the way, |to know for later: |another thing: |on top of that, |}"
REPORT = (
    "{tell me {how it goes|what happens|whether that helps|what you see}|does that {help|work|do it|change anything}?"
    "|write back if {it stays|you get stuck}|I will {wait|stay on the line|keep this open}|}"
)
WORKED = (
    "{that worked|it works now|that did the trick|yes, {that fixed it|it is fine now|all good}|perfect, it is back"
    "|great, {problem solved|it is working|that was it}|it is running again|brilliant, {sorted|that helped}"
    "|I followed the steps and {it works|it is solved|everything is fine}|oh, that was easy}"
)
THANKS = (
    "{thank you|thanks|many thanks|thanks a lot|thank you very much|cheers|much appreciated|thanks for the quick help"
    "|thank you for your help|you are a star|lifesaver, thanks}"
)
PUBLIC_THANKS = (
    "{thank you|thanks|thanks a lot|cheers|much appreciated|thanks for the quick help"
    "|lovely, thanks|many thanks|thank you very much|thank you for your help|thank you for the explanation"
    "|that is clear, thank you|I appreciate the help}"
)
FAILED = (
    "{no, {still the same|that did not help|nothing changed}|I tried that, but {it is still the same|no luck"
    "|nothing changed|it came back}|{sadly|unfortunately} {not|that did not work|no change}|it {did not|does not} help"
    "|same as before|still {nothing|stuck|no good}|hmm, {no|that made no difference}}"
)
DETAIL = (
    "{<mate> tried as well and got {the same|<errcode>}|now it says <code>|I did it twice, {at <clock> and just now"
    "|with <mate> watching}|it looked good for {<n> minutes|a moment} and then {stopped|went back}|I get <errcode> "
    "now||||}"
)
REFUSED = (
    "{I did that {<onday>|at <clock>|}, but {<mate>|<team>|my lead} {sent it back|never answered|says it is not "
    "their job"
    "|wants another signature|is away until <date>}|the page {shows|stops with} <errcode> {when I send it|after the "
    "second step}"
    "|hmm, {<mate>|<team>} {told me|says} {something else|the form is out of date|to ask you first}"
    "|{tried|did} that, it {says|shows} {refused|not allowed|pending} since <date>"
    "|I {do not see|cannot find} {that page|that button|the form} {in <hr>|anywhere|on my <laptop>}"
    "|that {is a bit late|does not work} for me, {<project>|<team>} needs it {by <clock>|<when>}}"
)
MORE = (
    "{you are welcome|my pleasure|no problem|glad that helped|happy to help}{. {is there {anything|something} else?"
    "|{anything|something} else?|what else can I do for you?|what is the next problem?|can I help further?}|}"
)
NEXT = (
    "{{thanks|thank you|great|perfect|ok|good|all right|that worked|it works now|yes}{, |. }"
    "{{one more {thing|question}|another {thing|question|problem}|now something else|next{ problem|}|I have another one"
    "|there is more|also}{: |, }|}"
    "|{one more {thing|question}|another {thing|question|problem}|something else|next{ one| problem|}|and now|also"
    "|by the way|while you are here|and another one|one last thing}{: |, }}"
)
CLOSING = (
    "{you are welcome|glad {it works|I could help|to hear that|that helped}|my pleasure|happy to help|no problem}"
    "{. {have a {good|nice|pleasant} {day|afternoon|week}|write again {if it comes back|any time you need us}"
    "|I will close this request|is there anything else?|feel free to ask again}|}"
)
HOUSE_CLOSING = (
    "{any time|no worries|great stuff|cool|glad that is sorted|good to hear|you are welcome|my pleasure}"
    "{. {say hi to <mate>|good luck with {<project>|the <artefact>|<team>}|ping us on <chatapp> {if it comes back"
    "|any time}"
    "|I will close it in <ticketing>|enjoy {<building>|the rest of <weekday>|your {lunch|coffee|evening}}"
    "|safe trip to {<town>|<building>}|shout if {<team>|<mate>} has it too}|}"
)
PUBLIC_ESCALATE = (
    "{in that case|here} {a technician should look at it|this needs a closer look|we should pass it on}. {I have "
    "opened a "
    "ticket|I will raise a ticket|please open a ticket with <deskplace>} and {a colleague will {contact you|call "
    "you back} "
    "<soon>|you will be contacted <soon>|a technician will visit you <soon>}. {please keep the device at hand"
    "|please note the exact error message|have the serial number ready|}"
)
ESCALATE = (
    "{{ok|right|in that case}, I {have opened|raised|have put in|made} {ticket|Lantern ticket} @ticket {for this"
    "|for {<mate>|the second line}"
    "|with <mate> in <team>}. {which|what} number can {we|<mate>|the engineer} {ring|call|reach} you on?"
    "|that needs {hands on|a closer look|the second line}. your ticket is @ticket, {<mate>|someone} will {ring|come "
    "by|call} "
    "{at <clock>|<when>|before <clock>}. {what is your phone number|can I have a number|where do we reach you}?}"
)
GIVE_PHONE = (
    "{it is |you can reach me on |my mobile is |try |my number is |ring me on |}@phone{, {before <clock>|after "
    "<clock>|any time"
    "|not between <clock> and lunch}|. {I sit in <building>, <floor>|ask for @name|my employee number is @employee}|}"
)
PHONE_NOTED = (
    "{thanks|noted|perfect|got that}, {I {put|wrote|added} {it|that} in {@ticket|the ticket}|it is in @ticket now}. "
    "{<mate> {will ring <when>|is on shift until <clock>|will call around <clock>}|you will hear from us {<when>|by "
    "<clock>}"
    "|bring {it|the thing} to <deskplace> if {you are nearby|it gets worse}}"
)
VERIFY = (
    "{before I touch the account, |sure. |ok, |for the record, |}{can I have|please give me|what is} your "
    "{full name and employee number|name and employee number|employee number and name}?"
)
VERIFIED = (
    "{@name, {number |}@employee|{sure|yes|ok}, @employee, @name|I am @name and my number is @employee"
    "|@employee, name is @name}"
)
UNSURE = (
    "{I do not know|that I do not know|I am not sure|I cannot {say|tell}|sorry, {I do not know|that is beyond me}"
    "|{hard to say|no idea}, {sorry|we are not told that}|we do not know that {here|at the desk}"
    "|I would have to guess|that is not for us to {say|decide}}"
)
ASK_THERE = (
    "{ask |please ask |{best|better} ask |that is a question for |you could ask |the right place to ask is "
    "|who knows is |try }"
)
UNKNOWN = (  # what the user asks beside the matter, and who would know
    (
        "{{is|do I get} the {lost time|time that I waited} {paid|counted}|{does|will} that {come off|change} my pay}?",
        "the {payroll office|personnel department|pay office}",
    ),
    ("{what does a new one cost|how much is a new one|do we buy new ones}?", "the {purchasing department|buyers}"),
    (
        "{why is it so cold {here|in the office}|who has the key to the {cellar|server room}|when is the lift mended}?",
        "the {caretaker|facilities team|building manager}",
    ),
    ("what does a {train|flight|hotel} {cost|come to} {these days|now}?", "the travel {office|department}"),
    (
        "{{will there be|when is there} {a newer version|an update for that}|who {makes|wrote} {it|that program}}?",
        "the maker, {on their support page|their web site says it}",
    ),
    (
        "{who decided that|why is it done {this|that} way|may I do that from home|{can|may} I {go home|stop} {then"
        "|for today}}?",
        "your {manager|team leader|head of department}",
    ),
    (
        "which {phone|<device>|printer} {would you buy|is a good one} for {my {son|mother|daughter}|home}?",
        "{a shop|a shop in town}, {we only look after work devices|they know what is new}",
    ),
    (
        "{is that legal|are they allowed to do that|who {is liable|pays} {then|if data is lost}}?",
        "the {legal department|data protection officer|works council}",
    ),
    (
        "{how old is mine|how long is the guarantee|when is mine replaced|do I get a new one {soon|this year}}?",
        "the {asset manager|person who keeps the inventory}",
    ),
    ("is there a {course|training} {for that|on this}?", "the {training department|learning team}"),
)
HOUSE_UNKNOWN = (
    (
        "{{is|do I get} the {lost time|time since <clock>} {paid|counted}|{does|will} that {come off|change} my pay "
        "{in <month>|}}?",
        "<pay>{, they {close|decide} on <weekday>|}",
    ),
    (
        "{what does a new one cost|how much is a new one|do we buy new ones {for <team>|in <month>|}}?",
        "<buying>{, or <mate>|}",
    ),
    (
        "{why is it so cold {in <room>|on the <floor>}|when is the lift {in <building>|} mended|who waters the plants "
        "{in <room>|here}}?",
        "<facilities>{, {they|<mate>} {know|knows} <building>|}",
    ),
    (
        "{who has {a|the} key to <room>|until when is <building> open {on <weekday>|}|can my {son|daughter} come in "
        "{on <weekday>|with me}}?",
        "<access>{, open {until|from} <clock>|}",
    ),
    ("what does a {train|flight|hotel} {to|in} <town> {cost|come to} {these days|now|}?", "<travel>"),
    ("{does the firm pay for|is there money for} {a bike|glasses|the gym|a taxi home}?", "<benefits>"),
    (
        "{is {therapy|the dentist|an eye test} {paid|covered}|who pays the {doctor|hospital} {then|abroad}}?",
        "<health>{, or <mate> in people services|}",
    ),
    (
        "{{will there be|when is there} a newer version {for <project>|}|how many {seats|licences} has <team> {got|}}?",
        "<licensing>",
    ),
    (
        "{when does <project> {go live|begin|end}|who leads <project> {now|}}?",
        "<mate> in <team>, or {look|ask} on Burrow",
    ),
    ("is there a {course|training} {for that|on this|for <team>}?", "the Ladder crew{, or {look|search} in Ladder|}"),
    (
        "{what is for lunch {today|on <weekday>}|until when is there lunch|is there cake {today|in <building>}}?",
        "<mate>, or look on the Ladle page",
    ),
    (
        "{may I do that from home|can I {go home|stop} {then|for today|at <clock>}|who {covers|stands in} for me "
        "{meanwhile|<when>}}?",
        "your lead{, {the|their} word counts in Orchard|}",
    ),
    (
        "{when do we move to <building>|who sits in <room> {now|these days}|is the hall free {on <date>|<when>}}?",
        "<mate> in <team>, {they plan <building>|it is in Tideline too}",
    ),
)
SMALL_TALK = (
    (
        "{hello|hi|good morning|hello, is anyone there?|hi, who am I talking to?|good afternoon}",
        "{hello|good day|hi}, {this is the help desk|you have reached the help desk}. {what can I do for you?|how "
        "can I "
        "help you today?|what is the problem?|how may I help?}",
    ),
    (
        "{what can you help with|what do you do|what kind of questions can I ask}?",
        "I {answer questions about|can help with} {passwords, printers and email|laptops, VPN and software|devices, "
        "accounts and email}. {just describe|tell me} {the problem|what you see} and {I will suggest steps|we will go "
        "through it together}",
    ),
    (
        "{are you a person or a computer|am I talking to a machine|is this a robot}?",
        "I am {a computer program|an automated assistant|a language model} {at the help desk|for help desk questions}. "
        "{if I cannot help, a colleague will|a person can take over at any time}. what is the problem?",
    ),
    (
        "{thank you, that was all|no, that is all for today|nothing else, thanks|that is everything, goodbye}",
        "{you are welcome|my pleasure|glad to help}. {have a good day|goodbye|all the best|see you}",
    ),
)
HOUSE_SMALL_TALK = (
    (
        "{how is the queue today|busy today|how are things at the desk|quiet over there}?",
        "{busy|quiet|not bad|up and down}, {<team> {moved|is moving} to <building> {today|this week}|{<mate> and I"
        "|we} have "
        "<n> tickets from <team>|<project> went live {<day>|on <date>}}. what can I do for you?",
    ),
    (
        "{is <mate> {in|around|at the desk} {today|on <weekday>}|who is on shift {<weekday>|today}|can I speak to "
        "<mate>}?",
        "<mate> is {at the counter in <building> until <clock>|off until <weekday>|back at <clock>|with <team> in "
        "<room>}, "
        "{but I can help|can I help instead?|shall I pass on a message?}",
    ),
    (
        "{where is|how do I get to} {the Lantern counter|your counter|the walk-in desk} {now|these days|since the "
        "move}?",
        "{we are|it is} on the <floor> of <building>, {next to|opposite|behind} {<room>|<team>|the coffee bar}, "
        "open from "
        "<clock> {every day|except <weekday>|from <weekday> on}",
    ),
    (
        "{when is the next Lantern maintenance|is there downtime this week|will systems be down at the weekend}?",
        "{yes, |}{<pwtool>|<mailapp>|<vpn>|<drive>} {is|will be} down <when> from <clock>, {<team> asked for it"
        "|<mate> put the notice on Burrow|it should take <n> hours}",
    ),
)
