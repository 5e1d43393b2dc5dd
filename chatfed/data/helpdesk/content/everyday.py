"""Everyday talk for the public part, no help desk in it: a scene is turns of a user (u) and of an answer (a)."""

SCENES = """
== hello
u {hi|hello|good morning|good evening|hey}, {I am|my name is|this is|I'm} <first> <last>{ from <city>| from <firm>|}
a {nice|pleased|good|lovely} to meet you, <first>. {I am <first> <last>|my name is <first>|I am the new <job> here}
u {where are you from|do you live near here|have you been here long}?
a {I am from <city>, near <city>|I grew up in <country>, but I live in <city> now|I moved to <city> <n> years ago}
== names in a list
u {who is|can you read me who is|please tell me who is} on the {list|guest list|team list|course list|rota} {for
  <day7>|of <date>|}?
a {there are <n>|these are}: <first> <last>, <first> <last>, <first> <last>, <first> <last> and <first> <last>
u {is|was} <first> <last> {there|on it|invited} {too|as well}?
a {yes, {she|he} {comes|came} at <time>|no, only <first> and <first> <last>|I {do not see|cannot find} that name}
== spelling a name
u how do you {spell|write} {your name|your surname|that}?
a {it is|that is} <last>, {<L>, <L>, <L>, <L>, <L>|<L> as in <first>|with {one|two|a double} <L>}, first name <first>
== small talk
u {how are you|how are things|how was your {weekend|holiday|trip to <city>}|did you have a good {evening|weekend}}
  {today||, <first>}?
a {{very well|fine|not bad|rather tired}, thank you|it was <good>}. we {went to|visited|drove to} <city> {with my
  <kin>|by <vehicle>|to see <first>} and {ate <food> and <food>|saw a <animal> and {a|two} <animal>|walked to the
  <place>}
u {that sounds <good>|oh, that is <good>|how <good>}! {and the weather|did it rain}?
a it was {<weather>|<weather> and <weather>}, but {nobody minded|we had a <good> time|the <place> was <good>}
== weather
u what {is the weather like|will the weather be} {in <city>|tomorrow|on <day7>|<instant>}?
a {it is|it will be} <weather> and <weather>, {about|around|between <d> and} <d><d> degrees, with {some sun|light
  rain|a strong wind|snow on high ground} {in the {morning|evening|afternoon}|after <time>|from the
  {north|south|east|west}}
u {should|shall} I take {an umbrella|my <wear>|a <wear> and a <wear>}?
a {yes, better take it|no, leave it at home|a <wear> is enough}, it {gets|may get} <weather> {later|near the
  {sea|river}}
== arranging to meet
u {can|could|shall} we meet {on <day7>|<when>|on <date>} at <time>{ in room <L><d><d>| in room <d><d><d>|}?
a {<day7>|that} is {difficult|fine|possible}, {I have to <verbs>|I see <who> until <time>}. {what|how} about <time>
  {at the <place>|in room <d>.<d><d>|in the <city> office|}?
u {yes, <time> {is|would be} {fine|better|<good>}|sorry, {I am in <city> then|I have a <hobby> class}, maybe <day7>}
a {good|agreed|done}, {I will {tell|write to|ask} <who>|see you {then|there}|I will send {an invitation|the agenda}}
== moving a meeting
u {hello <first>, |}the meeting {about the <paper>|with <firm>} {has to be|must be} {moved|postponed|cancelled}
a {what a pity|no problem|I see}, {is <day7> at <time> {possible|free}|which day {suits|would suit} you|until when}?
u {<day7> the <d><d>th|<date> at <time>|any time after <time>|before <time>, {if possible|please}}
a {I have {changed|booked} it|noted}: <day7>, <calendarday>, <time>, room <d><d><d>, {<who> will be there|<d><d>
  seats}
== asking the way
u {excuse me, |}{how do I get to|where is|is it far to} the <place>{ in <city>| in <street>|}?
a {go|walk} {straight on|down <street>} {as far as|to} the <place>, {turn|then} {left|right} {into|at} <street>; it is
  {opposite|next to|behind|between} the <place>{ and the <place>|, number <d><d>}
u {can I|could I|is it possible to} {go|get there} by <vehicle>?
a {yes, {take|catch} the <vehicle> {number <d><d>|line <d>|<L><d>} {to|towards} <city> and get off at <street>|no, but
  it is only <number> {metres|steps|yards}}, {it takes|about} <d><d> minutes
== trains
u {when|what time} {does|is} the {next|first|last} <vehicle> {to|for} <city>{ on <day7>|}?
a {it leaves|there is one} at <time> from {platform|stop|bay|gate} <d>{<L>|}, {it arrives|you arrive} at <time>, {change
  in <city>|no change}, {number|line} <ref>
u {and|what about|is there one} {back|later|after <time>}? {how much|what} does {it|a return} cost?
a {there is one|the last one goes} at <time>; a {single|return|day ticket} is <price>, {half price for
  children|<price> with a railcard}
== late
u the <vehicle> {is|was} {late|delayed|cancelled} {again|}, I {will be|arrive} {about <d><d> minutes late|at <time>}
a {thanks for {telling us|letting me know}|do not worry|that is <bad>}, we {start|begin} with {the
  <paper>|<first>|item <d>} and {wait for you|keep your seat|<verbs> the rest later}
== restaurant
u {can|could} I {book|reserve} a table for <n> {on <day7>|tonight|on <date>} at <time>{, the name is <last>|}?
a {certainly|of course|with pleasure}, {inside or outside|near the window|under which name}?
u {inside|outside|by the window|for <first> <last>}, please. {do you have|is there} anything {without
  <food>|vegetarian}?
a {yes, {the|our} <food> {with|and} <food> {is|are} <good>|today we have <food> soup, <food> and <food>}, <price>
== at the table
u {what would you recommend|what is good {here|today}|may I see the menu}?
a the <food> with <food> {is|are} {<good>|very <good>}, and for afters {there is|we have} <food> or <food>. {and to
  drink|a <drink> or a <drink>}?
u {a|one|a large|a small} <drink>{ and a <drink>|}, please. {could we have|and} {the bill|some <food>|another
  <object>}?
a {certainly|right away|here you are}, {that is|it comes to} <price>, {cash or card|service is included|thank you}
== cooking
u how {do I|does one|do you} {cook|make|prepare|bake} <food> with <food>?
a {chop|wash|peel|slice|fry} the <food>, add <d><d>0 grams of <food> and {a spoon of|some|a little} <food>, {stir
  <manner>|cook it for <d><d> minutes|bake it at 1<d>0 degrees}, {then serve with <food>|and taste it}
u {can I use|what about} <food> instead{, I am out of <food>|}?
a {yes, but <manner>|better not, it {gets|tastes} <bad>|that {tastes|is} <good> too}, {cook|leave} it <n> minutes
  longer
== shopping
u {do you {have|sell}|I am looking for|I need|have you got} {a|some} <colour> <object> {made of <stuff>|for my <kin>|}
a {yes, {on|they are on} shelf <L><d>|sorry, {it is|they are} sold out until <day7>|here is {one|a <good> one}},
  {article <ref>|it costs <price>|<price> each, <n> for <price>}
u {that is {too <bad>|<good>}|do you have {it|one} in <colour>|is there a {cheaper|bigger|smaller} one}?
a {the <colour> one {is|costs} <price>|try {the shop|<firm>} in <street>|it comes in <colour>, <colour> and <colour>}
== clothes
u {do you have this|can I try this|is there a} <wear> in {<colour>|size <d><d>|<stuff>}?
a {the changing room is {on the left|over there}|we have {size|only} <d><d> and <d><d>}, {the <wear> is
  <stuff>|<price>}
u {it is {too {tight|long|wide|short}|<good>}|it {fits|suits me}}, {I will take it|what is it made of|can I return it}
a {it is <d><d> per cent <stuff>|keep the receipt, number <ref>|you have <d><d> days}, {wash it at <d>0 degrees|thank
  you}
== returning
u I {bought|ordered} {this|a} <object> {on <date>|last <day7>|from <firm>} and it is {<bad>|<bad> and <bad>}
a {I am sorry|oh, sorry}, do you {have|remember} the {order number|receipt|date}?
u {it is|number|the order is} <ref>{, paid <price>|, <calendarday>|, by card}
a {we {send|post} a new one to {<d><d> <street>, <city>|your address}|you get <price> back}, {it takes <n>
  days|reference <ref>}
== parcel
u where is {my|the} {parcel|order|delivery} <ref>{ from <firm>|}?
a {it {left|reached|is in} <city> {at <time>|on <date>}|the driver {has|signed} it}, {tracking number|code} <ref>, {it
  comes {on <day7>|between <time> and <time>}|call <tel>}
u {can you|please} leave it {with <who> at number <d><d>|in the {porch|shed}|at the <place> in <street>}
a {yes, I {noted|wrote} that|sorry, {it needs a signature|it weighs <d><d> kilos}}, {thank you|the driver knows}
== opening hours
u {when|what time|until when} {does the|is the} <place> {in <street>|in <city>|} {open|close|open on <day7>}?
a {it is open|the <place> opens} from <time> {to|until} <time>, {on <day7> only until <time>|closed on <day7> and
  <day7>|and {it costs <price>|it is free}}
u {is there a telephone number|do I have to book|how do I reach them}?
a {yes, |}{ring|call|try} <tel> or {write|mail} to <email>{, ask for <who>|}
== telephone
u {hello, |good morning, |}{this is|it is} <first> <last> {from|of|at} <firm>, {may|can|could} I speak to <who>{,
  please|}?
a {I am afraid|I am sorry,} {<who> is|the line is} {out|busy|in a meeting|on holiday until <date>}. {may I take a
  message| can I help you|would you like to hold}?
u {please {say|tell them} that {I called|the <paper> is ready}|yes, my number is <tel>|could {she|he} ring me on
  <tel>}
a {let me repeat that|I will {pass it on|tell them}}, <tel>, {extension <d><d><d>|before <time>}, {goodbye|thank you
  for calling}
== wrong number
u {is that|am I speaking to} {<firm>|<who>|<tel>}?
a {no, {this is|you have} <firm>|I am afraid you have the wrong number}, {we are <tel>|please dial <tel>}
u {oh, sorry|I beg your pardon|excuse me}, {I {dialled|tried} <tel>|the {card|page} says <tel>}
a {no harm done|that is an old one|never mind}, {goodbye|the new number is <tel>|try <tel>}
== reading out a code
u {what is|can you read me} the {code|number|reference|serial number|model} {on the {box|label|bill|back|screen}|of
  the <object>|}?
a {it {says|is|reads}|there {is|stands}} <ref>, {below that|then|next to it} <ref>{ and <ref>|}
u {again, please|did you say <ref>|is that <ref> or <ref>}?
a {no, |yes, |}<ref>: {<L>, <d>, <d>, <d>|the digits are <d><d>, <d><d>, <d><d>|<d><d><d> at the end}
== machine
u the <object> {shows|says|displays|blinks} {error <ref>|<ref>|code <ref>|<ref> and then <ref>}{ in room <d><d><d>|}
a <ref> means that the {<object>|door|<object> inside} is {<bad>|<bad> or <bad>}: {clean it <manner>|see page
  <d><d>|turn the knob to <d>|ring the maker, <tel>}
u {and what is|now it says} <ref>?
a {that is|this is} {the {model|batch|part}|a spare part}, {it costs <price>|we have <n> in stock|order number <ref>}
== parts
u {how many|do we have} <object> {parts|packs|kits} <ref> {are left|in stock|}?
a {<number> of <ref>|we have <number>} {in bay <L><d><d>|on shelf <d><d>|at <city>}, {and <number> of <ref>|<price>
  each}
== counting
u {how much|what} is <number> {plus|minus|times|divided by} <number>?
a {let me {see|think}|that is|I make it} {about|roughly|} <number>{, or <number> with tax|}
== prices
u {how much|what} {is|does} {a|the} <object>{ from <firm>|} {cost|at the moment}?
a {it costs|about|that would be} <price>, {with <d><d> per cent off <price>|<price> {a month|a year|a piece}|down from
  <price>}
== money
u {how can I|what helps to|is it hard to} {save|spend less} {money|on <food>|on clothes|on travel}?
a {write down what you {spend|earn} {every {day|week|month}}|set <price> aside {a month|a week}}, {compare
  {prices|rates}| <verbs> before you buy|buy {a used <object>|<food> at the market}}
u {is|what about} {a loan|a credit card|an overdraft|a savings account} {sensible|a good idea|<good>}?
a {only if {the rate is {low|below <d> per cent}|you can <verbs> it}|read the {small print|<paper>} <manner>}, {the
  fee is <price>|ask {a|your} <job> or your bank}
== health
u {my <body> {hurts|aches|is {stiff|sore}}|I {caught a cold|have a headache|feel {ill|sick|dizzy}}} {since
  <day7>|today|}
a {I am sorry|oh dear|poor you}, {rest|drink {plenty of water|warm <drink>}|keep the <body> {warm|still}|get some
  sleep}; {if it {lasts|gets worse}|after <n> days} see {a|your} {doctor|<job>}
u {thank you, I will|do I need {a prescription|an appointment|a certificate}|which medicine helps}?
a {ask at the pharmacy|the surgery is in <street>, <tel>|better {soon|today}|usually not}, {get well soon|take care}
== appointment
u {I would like|I need|can I have} an appointment {with <who>|at the {dentist|clinic|garage|hairdresser}}
a {on <day7> at <time>|{the next|we have} free {one|slot} is <calendarday>, <time>}, {does that suit you|what is it
  about}?
u {it is about my <body>|that {suits me|is fine}|have you anything {earlier|later|after <time>}}
a {then <time> it is|I have put you down for <time>|sorry, only <day7>}, {bring your {card|papers}|ring <tel> if you
  cannot}
== hobbies
u what do you do {in your {free|spare} time|at weekends|after work}?
a I {like|love|enjoy} <hobby> and <hobby>, {<instant> I started <hobby>|my <kin> {taught|showed} me <hobby>|mostly {in
  <city>|near the <place>}}. {and you|what about you}?
u {I prefer <hobby>|<hobby> is {too <bad> for me|<good>}|I {go|went} <hobby> every <day7>} {with <who>|at <time>|}
a {how <good>|that {sounds|must be} <good>}, {is it {expensive|difficult}|where do you do that|I tried it {once|in
  <month>}}
== books and films
u {what are you reading|have you seen {the film|the play|the series}|can you recommend a {book|film|song}}?
a {"The <colour> <object>"|"The <job> of <city>"|"<first> and the <animal>"} by <first> <last>; it is about {a <job>
  who {finds|loses} {a|the} <object>|a <good> <animal> and {a|an} <bad> <job>}
u {is it <good>|how does it end|was it <bad>}?
a {yes, {<good>|quite <good>} and <good>|the {first|second} part is <bad>, then it is <good>|I will not tell you}
== animals
u {we have|I saw|my <kin> has} a {<colour>|small|young|<good>} <animal> {called <first>|in the garden|at home}
a {how <good>|oh, a <animal>}! {what does it {eat|weigh}|is it <good>|how old is it}?
u it {eats|likes|steals} {<food>|<food> and <food>} and {sleeps|hides|sits} {in the <object>|on my <wear>|under the
  <object>}
a {my <animal> {does|did} that too|a <animal> needs {water|a walk|space}|be {gentle|careful}, it may {bite|scratch}}
== family
u {do you have {children|brothers or sisters|a family}|how is your <kin>|is <first> your <kin>}?
a {I have <n> children, <first>, <first> and <first>|my <kin> <first> is {a|the} <job> {in <city>|at <firm>}|{she|he}
  is {well|better|<d><d>}}
u {and what does your <kin> do|how old {is|are} {she|he|they}|say hello to <first>}{, please|?}
a {<first> is <d><d> and {studies <subject>|works at the <place>}|my <kin> {sells <object> sets|drives a <vehicle>}|I
  will}
== work
u what {do you do|is your job}{, <first>|}?
a I am a <job> {at|with} <firm> {in <city>|}, {I {check|write|sort} <paper> after <paper>|we {build|sell|repair}
  {a|the} <object>|before that I was a <job>}
u {is it <good>|do you like it|how long have you {worked|been} there}?
a {<d><d> years {now|in <month>}|since {19|20}<d><d>|it is {<good>|often <bad>}, but {the pay is {good|fair}|the
  people are <good>}}
== school
u {what {do you study|is your subject}|my <kin> {studies|failed|passed} <subject>}
a {<subject> and <subject>|I teach <subject>|<subject> is <good>}, {the exam is {on <date>|in <month>}|page <d><d>,
  exercise <d>|in room <d><d><d>}
u {can you explain|what is} {chapter|lesson|question} <n>{ to me|}?
a {read it <manner>|the answer is <number>|it is about {<country>|<animal> and <animal>}}, then <verbs> {the
  notes|with <first>}
== travel
u {I want to|we are going to|how do I} {go|travel|fly|drive} to <country> {in <month>|for <n> weeks|by <vehicle>}{,
  any tips|}?
a {take {a|your} <wear>, {a|some} <object> and {a|your} <object>|it is <weather> in <month>|visit <city> and the
  <place>}, {you need {a visa|a passport}|learn some <subject>|the {flight|ferry} is <ref> at <time>, <price>}
u {where can {we|I} stay|is it {far|dear|safe}|what do people eat there}?
a {the <firm> in <street> is <good>, <price> a night, room <d><d><d>|they eat <food> with <food>|<number> kilometres}
== hotel
u {do you have|I would like|I booked} a {single|double|quiet} room {for <n> nights|from <date> to <date>|, name
  <last>}
a {yes, room <d><d><d> on the {first|second|third|fourth} floor|we have one for <price>}, {breakfast is from <time> to
  <time>|the key code is <ref>}
u the <object> in {my room|<d><d><d>} is <bad>{ and the <object> is <bad>|}
a {I am very sorry|our <job> {comes|will come} {soon|at <time>}|you can {move to|have} <d><d><d>}, {a <drink> is on
  the house| please ring <d><d>}
== house
u {the <object> {in|of} our {kitchen|bathroom|hall|cellar|garden} is <bad>|I want to {paint|build|repair} a <object>}
a {you need {a <object> and a <object>|<stuff> and {glue|nails}}|ask {a|the} <job>}, {measure it <manner>|<d><d> by
  <d><d> {centimetres|inches}|it takes <n> hours}
u {what colour|which <stuff>|who {can|could} {do|lend me} that}?
a {<colour> or <colour>|<stuff> {lasts|is <good>}|<who> has {a|an old} <object>|try <firm>, <tel>}
== flat
u {is the {flat|house|room} in <street> {still free|to let}|what is the rent}?
a {it is|the rent is} <price> a month, <n> rooms, <d><d> square metres, {<weather> but <good>|near the <place>|no
  {<animal>| smoking}}
u {can I {see|visit} it|who lives {there|next door}|where do I sign}?
a {on <day7> at <time>, <d><d> <street>|<who> {, a <job>,|} {has|holds} the key|send {an application|a <paper>} to
  <email>}
== news
u {what is new|any news|have you heard about <who>}{, <first>|}?
a {<who> {got married|moved to <city>|retired|won {a|the} <object>|is a <job> now}|<firm> {bought|sold} <firm> for
  <number> {million|thousand}|the <place> in <street> {burnt|shut} down}
u {really|no, who told you|that is <good>|how <bad>}{? {when|where} was that|!}
a {<instant>, at <time>|it was in the paper on <date>|<first> {wrote|told me} it|in {19|20}<d><d>, {I think|they say}}
== lost
u I {lost|left|cannot find|forgot} my <colour> <wear> {on the <vehicle>|at the <place>|in <city>}, {did you see
  it|what now}
a {when and where was that|is there {a name|a mark} on it}? {the {lost property|office} is at <d><d> <street>,
  <tel>|we have <n> here}
u {it is <stuff>, with a <object> in the pocket|<last> is written in it|about <time>, seat <d><d><L>}
a {it was {handed in|found} by <who>, number <ref>|nothing so far, we {write to|keep} you|look under the <object>}
== thanks
u {thank you|thanks|many thanks|thank you so much|cheers} for {the <object>|the <paper>|your
  {help|time|patience}|everything}
a {you are {most |very |}welcome|not at all|any time|it was nothing|do not mention it|a pleasure}{, <first>|}
u {bye|goodbye|see you {soon|on <day7>|later|tomorrow}|take care|best wishes|until <day7>}{, <first>|}
a {bye|see you|so long|have a <good> {day|evening|weekend|trip}|all the best{ to your <kin>|}|safe journey}
== sorry
u {sorry|I am {so |very |}sorry|I apologise}, I {broke|dropped|forgot|lost|spilt <drink> over} {your|the} <object>
a {never mind|it does not matter|that {can|could} happen to anybody|do not worry}, {it was <bad> anyway|we have
  another| <who> can mend it}
== congratulations
u {I {passed|got} {the exam|the job}|it is my birthday {today|on <date>}|we {got engaged|had a baby}|we won <d> to
  <d>}
a {congratulations|well done|happy birthday|how <good>}! {let us celebrate|have some <food> and a <drink>|you deserve
  it}
== advice
u {should|shall|may} I <verbs> {or <verbs>|first|it|}?
a {I would <verbs> {first|<manner>}|you should <verbs> and then <verbs>|never <verbs> {when you are <bad>|without a
  <object>}}
u {why|and if I {cannot|do not} <verbs>}?
a {because|since} {nobody {can|will} <verbs>|the <object> {was|were} <bad>|it {helps|might <verbs>}|others
  {<verbs>|wait} too}
== plans
u what {are you going to do|do you want to do|will you do} {tomorrow|on <day7>|in <month>|next {week|year}}?
a {I {want|have|hope|plan|need|used} to <verbs> {my <kin>|the <object>|a <paper>}|we might <verbs>, <verbs> and
  <verbs>}
u {can I {come|join|help}|may <first> <verbs> too|with whom}?
a {of course|certainly|yes, <manner>|sorry, it is full|with <who> and <who>}, {bring {a|your} <wear>|be there by
  <time>}
== words
u {what does "<verbs>" mean|what is {another|a} word for "<good>"|is "<bad>" the {same as|opposite of} "<bad>"|what is
  a <object>}?
a {it is {something|a thing} {a <job>|people} {use|make}, often of <stuff>|it means {to
  <verbs>|"<good>"}|{nearly|almost}: "<bad>" is {stronger|older|rarer}}
== office supplies
u {we need|please order|could you get} <number> {boxes of |packs of |}<object> {labels|sets|covers} {for <first>|for
  room <d><d>|}
a {ordered|done} {from <firm>|}: <number> at <price>, {order|invoice} <ref>, {they come on <day7>|delivery
  <calendarday>}
== papers
u {have you|did you} {read|seen|sign|get|receive} the <paper> {from <who>|about <firm>|of <date>}?
a {yes, {it is <good>|page <d><d> is <bad>}|not yet, {who has it|when is it due}|it {lies|is} on the <object> in room
  <d><d><d>}
u {please {sign|send|copy|check} it {by <time>|<manner>|before <day7>}|it is {urgent|for <firm>}, {number|file} <ref>}
a {I will {do|read|post} it {right now|<instant>|after the meeting}|<who> {signed|corrected} it, version <d>.<d>}
== complaint
u {your|the} {<job>|<firm> in <city>} was <bad> and {the <object> was <bad>|I {waited|paid} <d><d> {minutes|euros} for
  nothing}
a {we are sorry|I apologise}, {that should not {happen|have happened}|thank you for {telling us|writing}}; {we
  {refund|pay back} <price>|our <job>, <who>, will ring you}
u {my number is <tel>|please write to {<email>|<d><d> <street>, <city>}|I {expect|want} an answer by <date>}
a {noted|you will hear from us}, {case|file} <ref>{, before <date>|, within <n> days}
== addresses
u {where do you live|what is the address of {<firm>|the <place>}|where shall I send the <paper>}?
a {to|it is|at} <d><d> <street>, <city>{ <L><L><d> <d><L><L>|, <d><d><d><d><d>|}{, <n>th floor|, flat <d>|}
u {and|is there} {an email address|a phone number|a web page}?
a {<email>|www.<l><l><l><l>{shop|mail|travel}.example|<tel>, or <tel>}{, {or|ask} <first>|}
== sport
u {who won|how did {<city>|your team} play|did you watch the match} {yesterday|on <day7>|last night|}?
a {<city>|we} {won|lost} <d> to <d> {against|at} <city>, <first> <last> {scored|fell|got a card} in the <d><d>th
  minute
== small things
u {could|can|would} you {please |}{lend|pass|give|bring|show} me {the|a|your} {<colour> |}<object>?
a {here you are|of course|sorry, it is <bad>|take {this|that} one}{, but {bring it back by <time>|<verbs> it
  <manner>}|}
u {and do you mind if I {open|close|move} the {window|door|<object>}|it is {<weather>|too <bad>} in here, isn't
  it|thanks}
a {not at all|please do|I would rather not|yes, it is}{, it was <weather> {all day|<instant>}|}
== party
u {would you like to|can you|do you want to} come {to {my|our} {party|wedding|dinner}|for a <drink>} {on <day7>|on
  <date>}?
a {I would love to|with pleasure|sorry, I {must|have to} <verbs>}, {what shall I bring|who else {is
  coming|comes}|where}?
u {some <food>|a <drink>|nothing} {, please|} {, <first>, <first> and <who> {come|are coming} too|, at <d><d>
  <street>}
a {I {look forward to it|cannot wait}|then I {take|bring} {the <vehicle>|a <object>}|is {seven|<time>} all right}?
== sorting things out
u {quick question|quick one|one more thing|a little thing}: {who|which team} {sorted|looks after|had|owns} the <paper>
  {since <date>|last week|for <n> weeks|}?
a {thanks for asking|sure|right|got it|good to hear from you}, <first> {had|sorted|gave back|looked at} it <n>
  {weeks|days|months} ago, {ring {her|him}|try {her|his} box|you can reach {her|him} on <tel>}
u {much appreciated|great stuff|cheers|thanks a lot|lifesaver, thanks|you are a star}{, <first>|}. {glad that is
  sorted|your idea was quick|on <day7> I had given up|that was a lot of {boxes|forms|things}}
a {no worries|any time|glad to {help|hear that}|it is all right|shout if you need more}{, bring the {form|box|things}
  back when you are done|, good luck|, say hi to <who>|}
== forms and fees
u {which form|what form|how much|when} {do I|must I|should we} {fill in|pay|send|bring} for {a|the} <paper>{, and when
  is it due|}?
a {form|use form|that is form} <L>-<d>{, page <n>|}, {it is due|payment is due|pay <price>} {on <date>|by <time>|in
  <n> weeks|<n> weeks after that}; {bring it to room <d><d><d>|post it in the <colour> box|keep your copy}
u {your|the|that} form {asks for|wants} {a lot|my <paper>|a number I do not have|two signatures|the date of the <paper>}
a {leave that box empty|put <ref> there|write the <calendarday>|ask <who>, {she|he} signs it|give the one from your
  {card|letter|badge}}, {it is checked|nobody minds|they will tell you} {<instant>|<manner>|anyway}
== booking a thing
u {can|could} {we|I|my team} {have|get|borrow|book} {a|the} {van|car|bike|projector|parking space|meeting
  room|locker|<object>} {<when>|from <time>|until <date>|for <n> hours}?
a {yes|of course|sure}, {it is free|nobody has it|you are first}, {it stands|it is kept} {by the gate|on the ground
  floor|next to <first>|in the hall|behind the canteen}; {the key is|keys are} in box <d><d>{, tag <ref>|}
u {it is {covered|charged|for a trip|for visitors}|who pays for the fuel|what if it breaks}{, is that all right|}?
a {the team pays|we pay up to <price>|that is covered|take photos and call <tel>|the receipt goes to <first>}, {sign
  here|<who> signs|your lead agrees|I added your name}{, thanks|}
== people at work
u {where is|is|who is} <first> {today|this week|from {sales|finance|marketing|planning|payroll|the warehouse}|on
  shift}{, I had a question|}?
a {off sick|at lunch|on leave|on the third floor|in the other building|with a supplier|on the road|with the new
  employees} until {<time>|<day7>|<date>}, {<first> covers|I can take a message|your best bet is <first>}
u {told you so|someone told me|everybody says|I thought|it was suggested} {she|he} {left|moved|is away|retired} {since
  <month>|in <month>|<n> weeks ago|<instant>}
a {no, only on holiday|yes, {married|happily|sadly} so|{that was someone else|another <first>}, from
  {security|estates|travel|quality}|who told you that}
== neighbours
u {somebody|<who>|that <job>} {is|was} {so|very|rather} <bad> {again|on <day7>|in the {hall|yard|lift}}, {I heard
  {a|the} <animal>|they {moved|shouted about} the <object>}
a {that is <bad>|I heard it too|talk to them <manner>|perhaps they {<verbs>|were <bad>}}, {it ended at <time>|I did
  not sleep}
"""
