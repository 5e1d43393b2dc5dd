"""Topic sheet: travel and expenses, facilities, meeting rooms."""

SHEET = """
# travel house
== book a trip
u how do I book {a train|a flight|a hotel} to <town> {<when>|on <date>|for <project>}?
u I have to {be in|travel to} <town> {by <clock>|for <n> days|with <mate>} {<when>|on <date>}, who books {it|that}?
u can I {take a flight|go first class|use my own car} {to <town>|for <n> nights}?
q which project {pays|is it for}? => {<project>|<team> pays|<project>, <mate> agreed|I think the customer}
q how many {nights|people} {is it|are you}? => {<n>|one night|just me|<mate> and I}
h open <travel>, {new trip|the green button}, {enter <project>|type the code of <project>}, and {your lead|<mate>}
  {agrees|taps yes} in the app
h trains under <n> hours {come before|beat} flights, {first class from <n> hours on|second class}; {R-4 for
  exceptions|<mate> decides}
h hotels in <town>: {the Lamb|the Copper Kettle|Hotel Minster|the Anchor}, <n>0 euros, {our rate is <code>|say
  Compass}
y the ticket should be in the name of @name, phone @phone => booked for @name, {train at <clock>|seat <n><n>}, {the
  code|changes} {goes|go} to @phone
x can I {cancel|change} it? => until {<clock>|<n> hours before} in <travel>, {after that <n>0 euros|free of charge}
== expenses
u how do I {claim|hand in} {my expenses|the taxi|the hotel} {for <town>|of <date>|<amount> euros}?
u my {claim|R-7} {over <amount> euros|from <date>|for <town>} {was refused|is not paid|came back with <code>}
u I lost {the receipt|a receipt} {of <amount> euros|for the taxi in <town>}, what now?
q is it in <travel> {already|}? => {yes, since <date>|no, on paper|<mate> {has|keeps} it|half of it}
h take a photo of each receipt {in Compass|with the app}, add <project>, send form R-7, {within <n> weeks|by the
  <nth>}
h without a receipt use R-9, {up to <n>0 euros|twice a year}, {<mate> signs|your lead signs}
h {treasury|Millrace} pays on <weekday>s, {it takes|allow} <n> days {after the lead agreed|}
y please pay it to @bank => {ok|sure}, <amount> euros are sent to @bank {on <weekday>|with the next run}
x how much is {the daily rate|a meal} {in <town>|abroad}? => <n>0 euros {a day|}, {less <n> for breakfast|half on the
  first day}
== rental car and fleet
u how do I get {a pool car|a rental car|a van} {<when>|for <town>|on <date>}?
u the pool car {does not open|has a scratch|has <n> warning lights|is out of {fuel|power}}
q which {car|number} is it? => {number <n>|the white one|the blue van|the one at <building>}
h book it {in Tideline Cars|through the fleet board}, {key at the gate of <building>|hold your Sable to the
  windscreen}
h {fuel card and code|the card} are in the {glove box|sun visor}, code {<n><n><n>|on the key ring}, {park it at
  <building>|bring it back charged}
h for {damage|an accident}: photos, R-12, call {fleet|<mate> in fleet}, {never sign anything|police above <amount>
  euros}
y my licence is checked? I am @employee => @employee {is fine until <date>|needs a check at the gate, <when>}
== visa and abroad
u do I need a {visa|letter|vaccination} for {<town>|a trip overseas|<project>}?
u {can I|may I} work from abroad {for <n> days|in <month>|from <date>}?
q how long {will you stay|is it}? => {<n> days|from <date> to <date>|<n> weeks|I do not know yet}
h <mate> in <travel> {writes the letter|does the papers}, R-20, <n> weeks before, {passport copy|two photos}
h up to <n> days with T-30, {tax and security look at it|no laptop to some countries: take a loan <model>}
y my private address there is @address => noted, @address is on the T-30, {the insurance knows|<team> keeps it}
x who pays if I {get ill|miss the train}? => {Fernhill Abroad|Compass cover}, {card in the app|call the number on the
  ticket}

# facilities house
== heating light and water
u it is {too cold|too hot|freezing|stuffy} {in <room>|on the <floor> of <building>|at my desk}
u the {light|blind|tap|window|coffee machine|fridge} {in <room>|on the <floor>|in the kitchen of <building>} {is
  broken|leaks|does not close|hums}
u there is {water on the floor|a smell|a mouse|a wasp nest} {in <building>|in <room>|near <team>}
q which room or desk number {is it|}? => {<room>|desk <n><n> in <building>|<floor>, {left|right} of the lifts|the
  whole <floor>}
s {turn|set} the {knob|dial} to three and keep the window {closed|shut} for half an hour
h report it on the {Groundkeep map|map in Orchard}, {tap the room|drop a pin}, the crew {comes|looks} {<when>|by
  <clock>|in <n> hours}
h {heaters in <building>|the air in <building>} {follow|follows} a {night plan|timer}, <facilities> {changes it|sets
  it} {on <weekday>|<when>}
h water: {close the red valve|pull the plug}, ring {the gate|4<n>0}, {stay out of <room>|<mate> is on duty}
x can we {have|get} a {fan|heater} {meanwhile|}? => yes, <n> of them {at|in} {goods in|<room>}, sign for it {with
  <mate>|on the list}
== desk and moving
u {I need|<team> needs} {a desk|<n> desks|a standing desk|a locker} {in <building>|on the <floor>|from <date>}
u we move {from <building> to <building>|to the <floor>} {<when>|on <date>}, who {carries|packs} {the boxes|the <n>
  cupboards}?
u my {chair|desk|locker} is {broken|too low|stuck} {in <room>|}
q how many {people|boxes} {are you|is it}? => {<n>|just me|<n>, with <mate>|about <n>0}
h form G-3 {with the plan|} to <facilities>, <n> days ahead, {boxes stand in <building>|labels from <mate>}, {the crew
  carries|carts at goods in}
h for {a standing desk|your back} {see the works doctor in <room>|G-6}, {<n> weeks|free of charge}
y I need it because of @medical => {of course|understood}, I put @medical {only on the G-6|on the sheet for the works
  doctor}, {the desk comes <when>|<mate> measures it <when>}
x may I {choose|keep} my place? => {in <building> desks are shared|<team> draws the plan}, {book in Tideline|ask
  <mate>}
== cleaning waste and post
u {the bins|the kitchen|the toilets} {in <building>|on the <floor>} {were not cleaned|are full|look bad} {since
  <day>|today|}
u where do I {throw|bring} {batteries|old files|<n> boxes of paper|paint|a broken screen}?
u how do I send {a parcel|a letter|a pallet|the <artefact>} to <town> {today|by <clock>|}?
h {secret paper|files} go in the {grey|locked} bin {by <room>|on each floor}, {<n> boxes: G-8|full ones: ring
  <facilities>}
h the post room in <building> takes it until <clock>, {sticker with <project>|cost centre on it}, {the van leaves at
  <clock>|<mate> weighs it}
h cleaners come to <building> {at <clock>|on <weekday>s}, I {told|asked} {them|<mate>} {to do <room>|<when>}
y a private parcel for me went to <building>, I am @name => a parcel for @name {lies|is} at {goods in|the gate}, shelf
  <n>, {until <date>|id please}
== canteen
u what {is there|do they have} {today|on <weekday>} in the canteen {in <building>|}?
u my {card|Sable} {cannot pay|has no money|was charged twice} in the canteen {of <building>|}
u can we order {lunch|coffee|rolls|cake} for <n> people {in <room>|<when>|at <clock>}?
h load it at the {blue|white} box next to the {till|door}, {notes only|card only}, or {let Millrace fill it|set <n>0
  euros in Beacon}
h {order|ask} on the Ladle page {by <clock>|the day before}, {<project> pays|add the cost centre}, it {comes to
  <room>|waits in <building>}
h {today|<weekday>}: {lentil stew|fish pie|noodles|dumplings|bean curry|leek tart|potato bake} and {plum crumble|apple
  cake|rice pudding| fruit}, until <clock>
x is there {something vegan|anything without nuts|gluten-free food}? => {line <n>|the green line}, {look for the
  leaf|ask <mate> at the till}

# rooms house
== book a room
u how do I book {<room>|a room for <n> people|a room} {in <building>|} {<when>|at <clock>|on <date>}?
u <room> is {taken|booked} {by <team>|by nobody I know|all <weekday>}, {can I have it|who is it}?
u my booking for <room> {is gone|was cancelled|is not on the door} {at <clock>|<when>}
q for how many, and until when? => {<n>, until <clock>|<n> people, an hour|<team>, all morning|only <mate> and me}
h open <roomtool>, {filter by <building>|set <n> seats}, drag from <clock> to <clock>, {done|the door turns red}
h tap the door {within <n> minutes|at the start}, else it {frees itself|goes to the next}, {that happened at
  <clock>|so it was lost}
h {<room>|rooms over <n> seats} {belong|belongs} to {<team>|the board}, ask {<mate>|form L-2}, {free on
  <weekday>s|they answer by <clock>}
x can it be booked {every week|as a series}? => up to <n> weeks, {then renew it|longer with L-2}
== video and projector
u the {screen|camera|projector|microphone} in <room> {does not work|has no picture|shows <errcode>|stays blue}
u {they|<team> in <town>} {cannot hear|cannot see} us in <room>, {the call starts at <clock>|we are <n> people|it is
  urgent}
q what does the {panel|tablet} on the table {show|say}? => {it is dark|<errcode>|sign in|it shows {<team>|the last
  call}|nothing}
s press the {round|middle} button {on the panel|of the remote} until it {beeps|turns green}, wait a minute and join
  again
s {choose|set} the {room|table} microphone in the call, and mute the laptops {around the table|}
s pull the {HDMI|USB-C} plug, {count to ten|wait} and {put it in|plug it in} again, {or use the second cable|}
h <room> has a {Finch box|Finch} {behind the screen|under the table}: {pull its plug|hold the pin} for <n> seconds,
  {it wakes by itself|code <code>}
h take {<room>|<room> next door}, it is free {until <clock>|now}; {<mate>|the Finch crew} {comes to|looks at}
  {yours|it} {<when>|at <clock>}
x can {somebody|<mate>} come {over|up}? => <mate> is {on the way|in <building>, <n> minutes}, {start by phone
  meanwhile|dial in with 7<n>00}
== events and big meetings
u {<team> wants|we plan|we want} {a party|a workshop|a town hall} for <n>0 people {on <date>|in <month>|in <building>}
u who {sets up|brings} {chairs|the stage|coffee|microphones} in {<room>|the hall of <building>} {<when>|at <clock>|}?
q is it {inside|in the hall} or outside? => {the hall|outside, if it is dry|<room> and <room>|we do not know}
h form L-5, <n> weeks before, to {<mate>|the events crew}; {<facilities> sets the chairs|fire watch above <n>0 people}
h the hall costs {<n>0 euros an hour|nothing for staff}, {<project>|cost centre} on the L-5, {keys from <mate>|open
  from <clock>}
x can it be {filmed|streamed}? => with {the Finch crew|<mate>}, {ask all people first|sign L-6}, link on
  {Burrow|Tideline}
"""
