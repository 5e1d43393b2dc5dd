"""Topic sheet: pay, leave, benefits and joining or moving inside the organisation."""

SHEET = """
# payroll house
== payslip wrong
u my {payslip|pay} for <month> {is wrong|looks too low|is <amount> euros short}
u {the night|overtime|the shift|the on-call} hours {of <month>|from <project>} are {missing|not} on my payslip
u why {was|were} <amount> euros {taken off|deducted} {in <month>|from my pay}?
q which line {of the slip|} is it? => {line <n>, {overtime|shift bonus}|the tax line|I do not {understand|see} any of
  it|the one with <code>}
s compare the {hours|days} with your time sheet {first|of that month}
h {late|corrected} hours {land|come} in the next run, {Millrace closes on the <nth>|the cut is at <clock> on
  <weekday>}
h write to <pay> with form M-8, {add the slip|name the line}, {<mate>|<team>} answers {in <n> days|by <weekday>}
h line <n> is {the canteen|the bike lease|the <building> car park|Fernhill}; {see the key on <hr>|Orchard explains
  each line}
x when {is|do I get} the difference {paid|}? => with the {<month>|next} pay, or {as an advance, form M-9|earlier when
  it is over <amount> euros}
y I am @employee, {please look|can you see it}? => I see it, @employee: {<n> hours of <month> {came late|were not
  signed}|tax class changed on <date>}; {Millrace|it} pays <amount> euros {back|} {with <month>|on <date>}
== bank details
u I have a new bank account, {where do I change it|what do I need to do}?
u my pay {has not arrived|came back|went to the old account}
q since when is the {new|} account open? => {since <date>|since <month>|I closed the old one on <date>}
h change it {in Orchard|on <hr>} under {pay and bank|money}, confirm it with <mfa>, before the <nth> {of the month|}
h {the run|pay} for <month> is {already out|closed}: keep the old account {open|} until {<date>|the <nth>}
y the new one is @bank, can you {enter|put} it {in|for me}? => I {have put in|entered} @bank, {confirm it in <mfa>|you
  get a letter at home}, {it counts from <month>|first pay on <date>}
y my account number is @bank, did the {money|advance} go there? => yes, <amount> euros {went|were sent} to @bank on
  <date>, {banks need <n> days|look again <when>}
x who {sees|can see} my account? => only {Millrace|<n> people in Millrace}, {not your lead|<team> does not}
== tax and certificates
u I need {a pay certificate|a statement of income|my tax statement} {for the bank|for my landlord|for <month>|for the
  embassy}
u my tax class {changed|is wrong} {since <month>|after the wedding|}
u where {are|do I find} my {old payslips|tax papers} {from <month>|}?
h download it {in Orchard|on <hr>} under papers, {<n> years back|all months}, the code is {in <mfa>|your birth year
  and <n>}
h <pay> {stamps|signs} it, {fetch it in <building>, <room>|it comes by post in <n> days}
y please post it to @address => it goes to @address {<when>|today}, {signed by <mate>|with the stamp of <pay>}
x does it cost {anything|something}? => {no|the first is free}, {two a year|<n> euros from the third on}
== salary advance and loans
u can I get an advance {on <month>|of <amount> euros} {before the holidays|for the move|}?
u how do I {pay back|stop} the {bike lease|advance|staff loan}?
h form M-9, up to <amount> euros {once a year|every <n> months}, paid {in <n> days|on <weekday>}, {taken back in <n>
  parts|<pay> deducts it}
x does my {boss|lead} {know|see it}? => no, it {stays in|goes only to} <pay>
y it is for {the hospital bill|my operation}, {I had|it is about} @medical => I am sorry to hear that, {take care|get
  well}; note @medical on the M-9 {as reason|under hardship} and <pay> {waives the limit|decides in <n> days}

# leave house
== annual leave
u how do I {apply for|request|book} leave {from <date> to <date>|in <month>|for <n> days}?
u how many {days|vacation days} do I have {left|} {this year|until <month>}?
u my leave {from <date>|in <month>} {is still not approved|was refused|shows as <code>}
q who {signs|approves} it{ for you|}? => {<mate>|<mate> from <team>|I have no lead at the moment|it says <mate>, but
  she left}
s {agree|arrange} it with your team {first|before you send it}, so that {somebody covers you|the shift is filled}
h open <hr>, {click|choose} my days, {pick|mark} them and send <leaveform>; {<mate>|your lead} {gets a Burrow ping|has
  <n> days}
h days {from last year|carried over} {end|are lost} on {the 31st of March|<date>}, {up to <n> can be saved with
  T-14|use them first}
h {<team>|<building>} is {closed|locked} from <date> to <date>, those days {are booked for you|count}
x can I take {half a day|an hour}? => yes, {half days in Orchard|type 0.5 in the T-12}, {hours go through flex time|no
  hours}
x what if my lead does not {answer|react}? => after <n> days {it goes to <mate>|it counts as agreed}
== sick leave
u I am {ill|sick} {today|since <day>|until <weekday>}, what do I need to do?
u where do I {send|upload} the {doctor's note|sick note} {of <date>|}?
u I {was|fell} ill during my holiday {in <town>|in <month>}, do I get the days back?
q how long {will you be|are you} away? => {until <weekday>|<n> days|I do not know yet|the doctor says <n> days}
h report it {before <clock>|by <clock>} on <hr>, {sick today|the red button}, and tell {<mate>|your lead}; from day
  {three|four} a note
h upload a photo of the note {as T-15|in Orchard}, {the paper stays with you|no paper any more}
y it is @medical, {who gets to know|does my team see that}? => only {the medical desk|people services} {sees|reads}
  @medical, {your lead sees|<team> sees} just {the dates|that you are away}
y I am {off|away} because of @medical => {get well soon|all the best}, I {entered|noted} @medical {in T-15|for the
  medical desk}; {the pay runs <n> weeks|Fernhill pays after week <n>}
x do I have to {say|tell} what I have? => no, {the dates are enough|only people services may ask for a note}
== parental and care leave
u how do I {apply for|plan} {parental leave|care leave} {from <month>|from <date>|}?
u my {child|mother|father} is {ill|in hospital}, {can I stay home|how many days do I get}?
q when {is the birth due|should it begin}? => {in <month>|on <date>|<n> weeks from now|right away, if possible}
h form T-20, <n> weeks before, {with the birth certificate later|<mate> in people services helps}, {two blocks|up to
  <n> blocks}
h {for a sick child|for care} there are <n> days a year: T-16, {paid by Fernhill|half pay}
y it is for @child => congratulations, I {noted|put down} @child {on the T-20|in Orchard}, {Beacon adds <n> euros a
  month|the cover starts at once}
x can I work part time {after it|meanwhile}? => yes, {<n> to thirty hours|from <n> hours}, {agree it with <mate>|T-22,
  signed by <team>}
== flex time and overtime
u how do I {take|use} {<n> hours of|my} {flex time|overtime}?
u my time account {shows minus <n>|is wrong|lost <n> hours} {since <day>|in <month>|}
u I forgot to {clock in|clock out|stamp} {<onday>|at <clock>|in <building>}
h correct it {in Orchard|on <hr>} under stamps, {type the time|e.g. <clock>}, {<mate> confirms|your lead gets it}
h up to <n> hours {go into|stay in} the account, the rest is {paid with <month>|cut on <date>}
x can I {take|use} a whole day? => yes, T-18, {two a month|<n> days a year}, {not during the <project> launch|agree it
  with <team>}

# benefits house
== health plan
u what does <health> {pay|cover} {for glasses|for the dentist|abroad|for physio|for therapy}?
u how do I {join|leave|change} <health> {from <month>|}?
u Fernhill {refused|did not pay} my {bill|claim} {over <amount> euros|of <date>}
q which {plan|level} are you in? => {basic|the one with the leaf|plus|I do not know, since <month>}
h send the bill {by photo in the Fernhill app|with form F-2}, {<n> days|they pay within <n> days}, {eighty per cent|up
  to <amount> euros a year}
h changes are open {in <month>|until <date>} only, {later with a reason|a wedding or birth opens them}
h {appeal|object} with F-5 to {<mate>|the Fernhill panel}, {add the letter of the doctor|they meet on <weekday>s}
y the bill is for @medical => @medical is {covered in full|covered after <n> days} , {use F-2|send it to the panel},
  {nobody in <team> sees it|it stays confidential}
y can you add @child to my plan? => yes, @child is {in from <date>|insured since <date>}, {free of charge|<n> euros a
  month more}
x who can see {my claims|what I hand in}? => only Fernhill, {not us|neither <pay> nor your lead}
== pension
u how much {do I pay|does the firm add} for the pension?
u how do I {raise|stop|see} my pension {payments|plan} {from <month>|}?
h on <benefits> move the slider, {the firm adds half|<n> per cent are doubled}, {it counts from <month>|until the
  <nth>}
h <mate> {from <team>|at Beacon} {explains|runs a talk} in <room> {<when>|at <clock>}
x what happens if I leave? => you {take it along|keep it}, {after <n> years all of it|letter from Beacon in <n> weeks}
== bike lease and commuting
u how do I get {a bike lease|a job ticket|the commuter pass} {from <month>|}?
u my {job ticket|rail pass} {does not work|has not come|ends on <date>}
h order it on <benefits> {before the <nth>|by <date>}, {Millrace takes|it costs} <n> euros a month, {it comes as a
  code|by post}
h the bike shop in <town> {measures you|orders it}, sign {C-3 in Beacon|the C-3}, {<n> months|three years}
y please send {the pass|it} to @address => it is on its way to @address, {<n> days|by <date>}
x what if the bike is stolen? => {it is insured|police first}, then {C-5|call Beacon} within <n> days
== sports and family
u is there {a gym|a discount for sports|a place in the day nursery} {in <town>|near <building>|}?
u how do I {sign up for|get} {the nursery|holiday care|the running club|yoga in <building>}?
h {sign up|put your name down} on <benefits>, {<n> places|places go out in <month>}, {<mate> runs it|<team> started
  it}
h the nursery {at|behind} <building> has a list: K-1 {with the birth date|}, {<n> months|news in <month>}
y it is for @child, {is there a place|from when}? => @child is {number <n> on the list|in, from <date>}, {bring the
  yellow card|meet <mate> {<when>|at <clock>}}
x what does it cost? => <n>0 euros a month, {half from Beacon|Millrace deducts it}

# onboarding house
== first day
u I {start|begin} {on <date>|<when>} in <team>, where do I have to go?
u {a new colleague|<mate>|a trainee} {starts|joins <team>} {<when>|on <date>}, what do I need to {order|prepare}?
u it is my first {day|week} and I have no {laptop|account|badge|desk} {yet|}
q in which {team|building} {is that|will it be}? => {<team>, <building>|<building>, <floor>|<team> with <mate>|I was
  not told}
h come to {the First Light room|<room>} in <building> at <clock>, {<mate> meets you|ask for <mate>}, {bring an
  id|bring the letter}
h the lead ticks {laptop, Sable and Granary|the boxes} in <starter>, <n> days ahead, {form N-1|then all comes by
  itself}
h the {<model>|laptop} waits at <deskplace>, {first password in the N-2 letter|sign in with the code in the letter}
y my name is @name, {number|} @employee, is {everything|my laptop} ready? => welcome @name, {the <model> is {in
  <room>|here}|your desk is on the <floor> of <building>}, {Sable is printed|bring @employee to the gate}
x who {shows me around|do I ask}? => your {buddy|guide} is <mate> {from <team>|in <room>}, {lunch at <clock>|coffee at
  <clock>}
== trainings
u which {trainings|courses} {are mandatory|do I have to do} {in the first weeks|for <project>|}?
u {the safety|the data protection|the fire} course {does not open|shows <errcode>|is not marked as done}
s use another browser and allow pop-ups, {then|and} start the last chapter again
h open {Ladder|the Ladder page}, <n> courses are red, {finish them by <date>|<n> weeks time}, {<mate> gets the
  list|your lead sees it}
h it {counts|turns green} the next morning; {otherwise|if not} send <code> to {<mate>|the Ladder crew}
x can I do it {at home|in another language}? => yes, {choose the flag|with <vpn>}, {the test is in <building>|all but
  the fire drill}
== moving team or name change
u I {move|change} {from <team> to <team>|to <building>|to <project>} {on <date>|in <month>|}, what changes?
u I {married|changed my name}, how do I change {it everywhere|my mail address}?
q has {your lead|<mate>} {sent|done} the N-5? => {yes, on <date>|not yet|I do not know|what is that?}
h N-5 moves {Granary, Sable and the cost centre|everything} on <date>, {old rights stay <n> days|Keystone drops the
  old rights}
h upload the {certificate|paper} {in Orchard|as N-7}, {Postbox keeps the old address|mail to the old name arrives for
  a year}
y the new name is @name => congratulations, @name {appears in Postbox <when>|is in Orchard from <date>}
x do I keep my {laptop|phone|desk}? => the laptop yes, {the desk no|<facilities> moves the boxes <when>}
== leaving
u I {leave|retire} {on <date>|in <month>}, what do I have to {give back|do}?
u {<mate>|a colleague} left {<onday>|in <month>}, who gets {the mails|the files}?
h form N-9: {laptop, Sable, Ferrier|all things} to <deskplace> {by <clock>|on the last day}, {<mate> signs|you get a
  slip}
h the Granary folder {goes to <mate>|stays <n> weeks}, the lead {asks in Keystone|picks a heir in N-9}
y where will {the papers|the certificate} be sent? I move to @address => to @address, {in <n> weeks|with the last
  Millrace slip}
y my private mail {afterwards|then} is @mail => noted, {the reference|Millrace papers} {comes|come} to @mail {by
  <date>|}
"""
