"""A grammar of English requests from which the filter's tagger learns: who did what, with and without names.

Each symbol has readings, parted by bars, in which other symbols stand in braces; what no symbol is named here for
(name, first, last, health, ...) is drawn by filter_people. Most frames take a name as well as "the technician", so that
the sentence alone tells nothing. Written for this purpose; none is a sentence that the filter is measured on.
"""

from __future__ import annotations

ENGLISH_SENTENCES = (
    "{subject} {vi}|{subject} {did} {thing}|{subject} {did} {thing} {time}|{time} {subject} {did} {thing}"
    "|{time}, {subject} {vi}|{thing} was {done} by {who}|{thing} has been {done} by {who}"
    "|{thing} will be {done} by {who}|can {subject} {do} {thing}?|could {subject} {do} {thing} {time}?"
    "|did {subject} {do} {thing}?|has {subject} {done} {thing}?|will {subject} {do} it?"
    "|when will {subject} {do} {thing}?|why did {subject} {do} {thing}?|is {subject} {state}?"
    "|{subject} is {state}|{subject} was {state} {time}|{subject} is {state}, so {subject} {vi}"
    "|if {subject} {does}, {do} {thing}|as soon as {subject} {does} please {do} {thing}"
    "|{subject} {does} and {does}|I {did} {who} {time}|we {did} {who} because of {thing}"
    "|please {do} {who} {about}|please tell {who} that {thing} is {state}|I told {who} {about}"
    "|you should {do} {who} first|I {talked} {who} {about}|we {talked} {who} {time}|have you {talked} {who}?"
    "|let me {talk} {who}|I got {thing} from {who}|{thing} is for {who}|{thing} for {who} is {state}"
    "|send {thing} to {who} please|give {who} {thing}|{thing} goes to {who}|{thing} came from {who} {time}"
    "|copy {who} in|{who} and I {did} {thing}|{who} and {who} {did} {thing}|{who} or {who} can {do} it"
    "|neither {who} nor {who} {does}|both {who} and {who} are {state}|it was {who} who {did} {thing}"
    "|I think {subject} {did} {thing}|they said {subject} {vi}|it says that {subject} {did} {thing}"
    "|ask whether {subject} {does}|do you know {who}?|does {subject} {do} {thing}?"
    "|{thing} that {subject} {did} is {state}|the {role} said {subject} {vi}"
    "|according to {who} {thing} is {state}|with {who} away {thing} is {state}"
    "|without {who} we cannot {do} {thing}|everybody but {who} has {thing}|like {who} I {did} {thing}"
    "|thanks to {who} {thing} is {state}|{thing}? {subject} {did} it|{subject}'s {noun} is {state}"
    "|I have {subject}'s {noun}|where is {subject}'s {noun}?|{noun} of {who}|{noun} for {who}"
    "|re: {noun} {about}|fwd: {noun} of {who}|meeting with {who} {time}|lunch with {who} {time}"
    "|call {who} {time}|{role}: {name}|contact: {name}|name: {name}|from: {name}|to: {first}|cc {name}"
    "|attention {name}|{noun}: {noun}|user: {name}|{hello} {first}|{hello} {first}, {thing} is {state}"
    "|{hello} {name}, can you {do} {thing}?|{hello}, this is {name} from {team}|{hello} {people}"
    "|{hello} {people}, {thing} is {state}|{bye} {first}|{bye}, {name}|{bye}|{bye}, {name}, {role}"
    "|{bye} {first} {last}|{bye} from {town}|{bye} from {town}, {first}|{name}, {team}|{name} ({team})"
    "|- {first}|{first} ({phone})|sent by {name}|I'm {name} and I {did} {thing}|I am {first}, the new {role}"
    "|I am {who_o}|I am {state}|my name is {name}, I am {state}|you can call me {first}"
    "|everyone calls me {first}|they call me {first}|I go by {first}|{first} speaking|{first} again"
    "|it is signed {name}|registered to {name}|in the name of {name}|on behalf of {name}|c/o {name}"
    "|my {kin} is called {first}|a {role} called {name} {did} {thing}|a {role} named {first} {vi}"
    "|a {noun} called {brand} is {state}|this is my {kin} {first}|my {kin}'s name is {first}"
    "|the name of the {role} is {name}|the name of the {noun} is {brand}|{title} {last} {did} {thing}"
    "|I {talked} {title} {last}|{title} {name} is {state}|is that {title} {last}?|{title} {last} {vi}"
    "|I put {first} down for {thing}|add {first} to the {noun}|we have {first} on the {noun}"
    "|I noted {first} on the {noun}|{first}, born in may|{first} is two years old"
    "|our {kin} {first} was born {time}|for {first}, our {kin}|for my {kin} {first}|I {did} {thing} in {town}"
    "|flights from {town} to {town} {time}|is there {thing} near {town}?|I work for {brand}|we use {brand} here"
    "|open {brand} and {do} {thing}|{brand} is {state}|a table at {brand} for {number}"
    "|the {brand} {noun} is {state}|I like {brand} better|have you heard of {brand}?|{town} is a nice town"
    "|I moved from {town} {time}|it plays at {brand} in {town}|book {brand} for {number}"
    "|the bus to {town} leaves {time}|{day} is {state}|see you on {day}|from {day} to {day}"
    "|in {month} {thing} was {state}|I live in {town}|I live at {address}|we live at {address} now"
    "|send {thing} to {address}|{address} is my new address|home: {address}|my house is {address}"
    "|pick {thing} up from {address}|our office is at {address}|the {noun} goes to {address}|address: {address}"
    "|from {town} to {town} by {noun}|{subject} lives at {address}|{subject} moved to {address} {time}"
    "|come to {address} {time}|I {ill} {health}|my {kin} {illthird} {health}|{subject} {illthird} {health}"
    "|he {illthird} {health}|my {health} is {worse}|my {health} keeps me from work|my {health} {bothers}"
    "|because of my {health} I cannot {do} {thing}|{because} {health} {dates}|I {pills} {health}"
    "|the doctor {found} {health}|{who} {found} {health}|{subject} is off with {health}"
    "|{subject} is in hospital with {health}|she is at home with {health} {time}|signed off with {health}"
    "|I was treated for {health}|I am being treated for {health}|after my {health} I {did} {thing}"
    "|I have had {health} {dates}|leave for {health} {dates}|sick note: {health} {dates}"
    "|reason: {health} {dates}|diagnosis: {health}|{health} again, sorry|is {health} covered?"
    "|is {health} {dates} covered?|I noted {health} {dates} on the form|only the doctor sees {health} {dates}"
    "|yes, {health} {dates} is covered in full|my {kin} died of {health}|it is for my {health}"
    "|I told nobody about my {health}|I {ill} {thing}|my {noun} is {worse}|I have {thing} {time}"
    "|I have had {thing} {time}|{because} {thing}|the doctor {found} {thing}|the {adj} {noun} {time}"
    "|{subject} is off with {thing}|after my {noun} I {did} {thing}|reason: {noun}|leave for {noun} {time}"
    "|{password} does not work|I changed it to {password}|log in with {password}"
    "|the code {password} was accepted|my pin was {password}|it only took {password}|i entered {password} twice"
    "|is {password} safe?|the login {password} works|type {password} and press enter"
    "|I use {password} everywhere|{password} is my password|pass: {password}|it only took {noun}"
    "|I changed it to {noun}|type your name and press enter|is it safe?|the password of the {noun} is {state}"
    "|I {did} {thing}|we {did} {thing} {time}|{thing} is {state}|{thing} is {state} {time}|please {do} {thing}"
    "|{do} {thing}, then {do} {thing}|do you {do} {thing}?|what is {thing}?|where can I {do} {thing}?"
    "|how do I {do} {thing}?|{thing} and {thing} are {state}|I need {thing} {time}|there is {thing} in {place}"
    "|{thing} in {place} is {state}|it is {adj}|that is {adj}|{adj}, thank you|{adv} {adj}|I would like {thing}"
    "|I want to {do} {thing} {time}|{number} {noun}s please|no, {thing} is {state}|yes, {time}|ok {adv}"
    "|well, {thing} is {adj}|I love {noun}s|they {did} {thing} {adv}|it is about {thing}"
    "|{thing} costs {number} euros|try to {do} {thing}|then {thing} is {adj}|{noun} and {noun}|{adj} {noun}"
    "|which {noun} do you like?|do you have {adj} {noun}s?|I read that {thing} is {adj}|who {did} {thing}?"
    "|{fw} {thing} {fw} {state}|{fw} {fw} {did} {thing} {fw} {fw} {thing}|{thing} {did} {fw} {fw}"
    "|{fw} is {thing} {fw} {adj}, {fw} {fw} {thing} {fw}|{fw} {number} {noun}s {fw} in {place} {done}"
    "|{fw} in {year} {thing} was {fw} {done}|{done} {fw} {adj}|{fw} {fw} {adj} {fw}|{fw}, {fw} {fw} {thing}?"
    '|{noun}, {noun} and {noun}|from {year} to {year}|{number} percent of {noun}s|"{noun}" {fw} {fw}'
    "|({noun}) {fw}|{adv} {fw} {do} {fw}|{fw} {does} {fw}"
)

ENGLISH_GRAMMAR = {
    "subject": "{who}|{who}|{who}|{who_o}",
    "who": "{named}|{named}|{named}|{who_o}|{who_o}",
    "named": "{name}|{name}|{name}|{name}|{first}|{first}|{first}|my {role} {name}|my {role} {first}"
    "|our {role} {name}|my {kin} {first}|{first} from {team}|{name} from {team}|{name} in {place}"
    "|our {role}, {name},|my {role}, {first},|my {kin}, {name},|{title} {last}|{title} {last}|{title} {name}"
    "|the new {role} {first}|{first}, our {role},|{first} and {first}|{role} {name}|that {role} {name}"
    "|poor {first}|old {first}|dear {first}|{name} and {name}|{name}, who {vi},|a certain {name}"
    "|{name}'s {role}|{first}'s {kin}|the {role} ({name})",
    "who_o": "the {role}|the {role}|my {role}|our {role}|a {role}|the {adj} {role}|my {kin}|my {adj} {kin}"
    "|somebody|nobody|anyone|everyone|they|you|we|he|she|it|the {role} from {team}|a {role} in {place}|{team}"
    "|the {team} team|one of them|the people in {place}|our {role}s|the {role}s|most {role}s|another {role}"
    "|these {role}s|the other one|whoever",
    "hello": "hi|hello|hey|dear|good morning|good evening|good afternoon|hi there|morning|greetings|sorry"
    "|thanks|thank you|ok|bye",
    "people": "all|everyone|team|folks|colleagues|there|again|both|help desk|support|sir or madam|friends|guys"
    "|{team}",
    "bye": "regards|best regards|kind regards|best wishes|best|cheers|thanks|many thanks|yours|sincerely"
    "|see you|love|take care|yours truly|thank you|thanks again|all the best|warm greetings|greetings|signed",
    "title": "mr|mrs|ms|dr|mr.|mrs.|ms.|dr.|prof.|professor|miss|sir|doctor|nurse|uncle|aunt|madam|sergeant"
    "|captain",
    "kin": "wife|husband|son|daughter|brother|sister|mother|father|partner|child|baby|uncle|aunt|cousin|nephew"
    "|niece|grandson|granddaughter|grandmother|boyfriend|girlfriend|stepson|fiancee|twin|mum|dad|kid|little one"
    "|youngest|eldest",
    "role": "manager|colleague|boss|technician|assistant|intern|trainee|friend|supervisor|accountant|nurse"
    "|driver|teacher|lawyer|developer|engineer|designer|customer|client|visitor|guest|caretaker|porter"
    "|receptionist|secretary|director|chef|tutor|landlord|flatmate|teammate|deputy|team lead|trainer|salesman"
    "|consultant|contractor|cleaner|electrician|plumber|student|doctor|officer|clerk|analyst|scientist|buyer"
    "|planner|operator|mechanic|auditor|courier|editor|coach|host|player|singer|actor|author|waiter|agent"
    "|dentist|therapist|witness|tenant|owner|member|candidate|applicant|supplier|expert|chairman|temp"
    "|pharmacist",
    "team": "accounts|sales|marketing|legal|finance|support|purchasing|logistics|human resources|the warehouse"
    "|reception|engineering|the front desk|production|the lab|research|quality|catering|facilities"
    "|the second floor|the other office|security|the night shift|upstairs|downstairs|next door|the board"
    "|training|design|the branch|planning|it|operations|the canteen",
    "place": "the office|the kitchen|the lobby|the basement|the car park|the meeting room|the garden|the hall"
    "|the shop|the store|the library|the hotel|the city|the restaurant|the station|the airport|the school"
    "|the hospital|the clinic|the gym|the park|the street|the lift|the workshop|the archive|the cellar"
    "|the building|the corridor|the centre|the north|the bathroom|the theatre|the museum",
    "day": "Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday|Easter|Christmas|today|tomorrow",
    "month": "January|February|March|April|May|June|July|August|September|October|November|December|spring"
    "|summer|autumn|winter",
    "time": "today|yesterday|tomorrow|last week|this morning|at noon|on {day}|next {day}|in {month}"
    "|last {month}|an hour ago|at nine|again|already|two days ago|since {day}|after lunch|tonight"
    "|before the weekend|in the evening|right now|all week|for a month|twice|this year|at the weekend|soon"
    "|later|earlier|the other day|for years|until {day}|by {day}|once more|every day",
    "number": "two|three|four|five|six|seven|eight|ten|twelve|twenty|a hundred|1|2|3|4|10|25|1000|one|both"
    "|several|many|a few",
    "about": "about {thing}|about the {noun}|about it|about that|why {thing} is {state}|that {thing} is {state}"
    "|regarding {thing}|on {thing}",
    "talked": "talked to|spoke with|met|met with|wrote to|called|phoned|emailed|asked|argued with|chatted with"
    "|listened to|waited for|worked with|sat next to|apologised to|complained to|heard from|looked for|ran into"
    "|texted|replied to|checked with",
    "talk": "talk to|speak to|write to|call|phone|ask|meet|wait for|check with|work with|forward it to"
    "|send it to|reply to|thank",
    "do": "{newverb}|{newverb}|{newverb}|{newverb}|{newverb}|ask|call|help|thank|inform|remind|invite|check"
    "|open|close|send|fix|move|sign|print|install|update|delete|order|book|cancel|change|replace|return|copy"
    "|find|bring|approve|confirm|reset|restart|add|remove|invite|pay|buy|sell|share|watch|read|write|clean|lock"
    "|unlock|test|repair|borrow|collect|deliver|forward|review|schedule|translate|upload|download|save|count"
    "|carry|try|use|start|stop|see|keep|paint|finish|prepare|explain|visit|follow|choose|compare|describe"
    "|measure|rent|reserve|reach|contact|contact",
    "did": "{newverb}ed|{newverb}ed|{newverb}ed|{newverb}ed|{newverb}ed|{newverb}ed|asked|called|helped|thanked"
    "|informed|reminded|invited|checked|opened|closed|sent|fixed|moved|signed|printed|installed|updated|deleted"
    "|ordered|booked|cancelled|changed|replaced|returned|copied|found|brought|approved|confirmed|reset"
    "|restarted|added|removed|paid for|bought|sold|shared|watched|read|wrote|cleaned|locked|tested|repaired"
    "|borrowed|collected|delivered|forwarded|reviewed|saw|lost|broke|took|left|needed|wanted|forgot|promised"
    "|reported|received|promoted|missed|knew|recommended|used|started|finished|kept|prepared|explained|visited"
    "|chose|described|noticed|promised me|showed me|told me about|gave me|lent me",
    "done": "{newverb}ed|{newverb}ed|{newverb}ed|{newverb}ed|{newverb}ed|{newverb}ed|asked|called|helped"
    "|checked|closed|sent|fixed|moved|signed|printed|installed|updated|deleted|ordered|booked|cancelled|changed"
    "|replaced|returned|copied|found|brought|approved|confirmed|added|removed|paid|bought|sold|shared|written"
    "|read|cleaned|locked|tested|repaired|borrowed|collected|delivered|forwarded|reviewed|lost|broken|taken"
    "|forgotten|reported|used|received|made|drawn up|prepared|explained|chosen|described|noticed|planned"
    "|started|finished|refused|accepted|designed|built",
    "does": "calls|rings|writes|agrees|answers|asks|arrives|leaves|comes back|needs it|knows|has time|is free"
    "|is ready|signs|says yes|says no|wants it|cannot come|does not answer|has left|wants to join|has access"
    "|has no access|works late|pays|replies|helps",
    "vi": "called|rang|left|agreed|is late|is away|is on leave|does not answer|came back|cannot log in"
    "|can't come|has no access|said no|works here|is waiting|wants to talk|did not reply|will help|should know"
    "|might be right|needs help|was here|told me|knows why|asked again|is on the phone|works from home"
    "|sits next to me|forgot|could not do it|has the key|is new|retired|quit|laughed|said it works|said so"
    "|wrote back|wants a new one|is expecting you|is leaving us|starts on {day}|will be there|didn't know",
    "state": "late|ready|broken|slow|away|on leave|free|missing|locked|new|fine|busy|gone|wrong|full|empty|here"
    "|there|in today|out|not working|on holiday|unavailable|stuck|lost|in the office|at home|expensive|cheap"
    "|too small|too big|right|closed|open|offline|online|still there|on the list|not on the list|confirmed"
    "|cancelled|delayed|sold out|updated|frozen|dark|loud|dirty|finished|off",
    "thing": "the {noun}|the {noun}|the {noun}|my {noun}|a {noun}|our {noun}|the {adj} {noun}|a {adj} {noun}"
    "|this {noun}|that {noun}|his {noun}|her {noun}|your {noun}|their {noun}|some {noun}s|the {noun}s"
    "|the {noun} in {place}|the {noun} and the {noun}|{number} {noun}s|no {noun}|any {noun}|another {noun}"
    "|the {noun} {noun}|it|that|this|everything|something|nothing|the {noun} from {team}|{noun}s",
    "year": "1950|1987|1995|2003|2009|2014|2019|2023|2024|2025",
    "fw": "about|above|across|after|against|ago|ahead|all|almost|along|already|also|although|always|among|and"
    "|another|any|anything|anywhere|apart|around|as|aside|at|away|back|be|became|because|become|been|before"
    "|began|behind|being|below|beside|between|beyond|both|but|by|came|can|cannot|could|couldn't|despite|did"
    "|didn't|do|does|doesn't|doing|don't|done|down|during|each|either|else|enough|especially|even|ever|every"
    "|everything|except|far|few|for|forth|from|further|gave|get|getting|given|go|goes|going|gone|got|had|hardly"
    "|has|have|having|hence|here|how|however|i'd|i'll|i've|if|in|indeed|inside|into|is|isn't|it's|itself|just"
    "|kind|knew|know|known|least|less|let|like|likely|little|made|make|makes|making|many|may|maybe|meant|might"
    "|more|moreover|most|mostly|much|must|near|nearly|neither|never|no|none|nor|not|nothing|now|nowhere|of|off"
    "|often|on|once|only|onto|or|other|ought|out|outside|over|own|past|perhaps|please|quite|rather|really|said"
    "|same|saw|say|seem|seems|seen|several|shall|she'd|should|since|so|some|someone|something|somewhere|soon"
    "|still|such|take|taken|than|that|that's|the|them|then|there|there's|therefore|these|they're|they've|this"
    "|those|though|through|thus|till|to|together|too|took|toward|towards|turned|under|unless|unlike|until|up"
    "|upon|us|usually|very|via|wasn't|we'll|we're|we've|well|went|were|what|whatever|when|whenever|where"
    "|whether|which|while|who|whole|whom|whose|why|will|with|within|without|won't|would|wouldn't|yet|you'd"
    "|you'll|you're|yourself|wow|lol|haha|yeah|yep|nope|hmm|oh|cool",
    "noun": "{newnoun}|{newnoun}|{newnoun}|{newnoun}|{newnoun}|{newnoun}|{newnoun}|{newnoun}|{newnoun}"
    "|{newnoun}|{newnoun}|{newnoun}|{newnoun}|{newnoun}|{newnoun}|{newnoun}|{newnoun}|{newnoun}|{newnoun}"
    "|{newnoun}|{newnoun}|{newnoun}|{newnoun}|{newnoun}|{newnoun}|printer|laptop|screen|keyboard|mouse|cable"
    "|charger|phone|headset|file|folder|document|report|invoice|contract|order|form|letter|mail|message"
    "|calendar|meeting|appointment|ticket|account|password|key|badge|card|door|window|lamp|chair|desk|table|cup"
    "|lift|car|bus|train|flight|bike|taxi|hotel|room|restaurant|film|movie|song|book|game|show|concert|museum"
    "|dinner|lunch|breakfast|coffee|tea|pizza|salad|soup|cake|price|bill|payment|refund|discount|budget|project"
    "|plan|list|note|photo|picture|video|server|network|program|update|backup|license|website|page|link|browser"
    "|button|error|problem|question|answer|idea|reason|result|test|training|course|holiday|weekend|party"
    "|present|parcel|box|bag|jacket|shoe|umbrella|coat|machine|tool|battery|camera|speaker|microphone|projector"
    "|toner|paper|pen|stamp|envelope|stapler|scanner|copier|router|switch|adapter|plug|app|version|setting"
    "|option|menu|icon|tab|field|column|row|sheet|table|chart|slide|draft|copy|signature|approval|request"
    "|complaint|offer|deal|sale|shop|store|market|weather|rain|sun|sky|star|moon|planet|animal|dog|cat|bird"
    "|fish|horse|tree|flower|garden|river|lake|beach|mountain|island|country|team|player|season|match|goal"
    "|score|league|coach|album|band|singer|actor|director|story|novel|author|chapter|language|word|name|address"
    "|number|date|time|hour|minute|week|month|year|day|night|morning|evening|job|salary|shift|career|interview"
    "|office|school|class|teacher|lesson|exam|degree|law|rule|policy|right|vote|election|president|government"
    "|history|science|computer|robot|food|drink|water|milk|bread|egg|fruit|apple|sugar|cream|chicken|beef|rice"
    "|sauce|dish|kitchen|house|flat|rent|garage|roof|wall|doctor|health|hand|head|eye|heart|hair|face|voice"
    "|money|bank|cash|coin|tax|insurance|pension|certificate|passport|visa|luggage",
    "adj": "{newadj}|{newadj}|{newadj}|{newadj}|{newadj}|{newadj}|{newadj}|new|old|big|small|good|bad|nice"
    "|great|late|early|red|blue|green|black|white|dark|bright|heavy|light|cheap|expensive|easy|hard|fast|slow"
    "|long|short|high|low|open|free|full|empty|wrong|right|broken|clean|dirty|hot|cold|warm|wet|dry|loud|quiet"
    "|important|urgent|strange|funny|interesting|boring|beautiful|terrible|amazing|perfect|simple|different"
    "|same|special|normal|local|public|private|popular|famous|favourite|best|worst|next|last|first|second|only"
    "|whole|real|true|sure|sorry|happy|sad|angry|tired|sick",
    "adv": "really|very|quite|too|almost|never|always|often|sometimes|maybe|perhaps|probably|actually|finally"
    "|quickly|slowly|together|alone|instead|otherwise|anyway|however|therefore|sure|exactly|definitely|honestly"
    "|unfortunately|luckily|usually|hardly",
    "because": "because of|due to|owing to|on account of|I am away because of|I am off because of|away for"
    "|I need it because of|it is about|it is|I had|since|absent with|I asked for leave because of"
    "|the claim is for|the bill is for|it concerns|off work with",
    "ill": "have|suffer from|was diagnosed with|have been diagnosed with|am recovering from|am on leave with"
    "|came down with|still have|had|live with|caught|was operated for|am in treatment for"
    "|went to the doctor with|got|have chronic|have had|fear it is",
    "illthird": "has|suffers from|was diagnosed with|has been diagnosed with|is recovering from|came down with"
    "|had|lives with|has chronic",
    "worse": "worse|better|bad again|back|under control|acting up|getting worse|painful|terrible|no secret"
    "|a problem at work",
    "bothers": "makes sitting hard|keeps me awake|came back|hurts|is the reason|keeps me from lifting"
    "|got worse {time}|does not let me sleep|needs surgery|stops me from driving|acts up again"
    "|forces me to rest",
    "pills": "take medicine for|see a doctor about|get injections for|was in hospital for|had an operation for"
    "|need leave for|am on medication for|get therapy for|have an appointment for"
    "|am waiting for a bed because of",
    "found": "diagnosed|suspect|detected|confirmed|treated|ruled out|saw",
}  # fmt: skip
