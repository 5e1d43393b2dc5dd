"""Topic sheet: laptops and other hardware, printers, phones."""

SHEET = """
# hardware public
== laptop will not start
u my <laptop> {will not|does not} {start|turn on|boot|power up}
u my <laptop> {will not|does not} {start|turn on} {any more|at all|this morning|after the weekend}
u I press the power button {on my <laptop>|and press it again} but {nothing happens|the screen stays black}
u the <laptop> {is dead|seems dead|stays dark} {when I press the button|this morning|since the update}
u {I cannot|how do I} {start|turn on} my <laptop>, the screen {stays black|is dark|shows nothing}
u after {the update|lunch|a restart|the weekend} my <laptop> does not {come on|wake up|start up} {any more|}
q {is|does} the {charging light|small light next to the plug} {on|come on} when you plug in the charger? => {yes, it
  is {orange|white|green}|no, there is no light|it {blinks|flashes} {twice|for a moment} and goes out|the light is on
  but the screen is black}
q do you hear the fan or {see any light|a beep} when you press the power button? => {the fan {spins|runs} but the
  screen {is|stays} black|no, {nothing at all|it is silent}|there is {one beep|two beeps} and then nothing|a light,
  but no sound}
q is it plugged in {with its own charger|at the wall|to a socket} right now? => {yes, with {my|the usual} charger|no,
  it is on battery|it is in the docking station|yes, but I borrowed {the|another} charger}
s press and hold the power button for {ten|fifteen|twenty|thirty} seconds, {release it|let go}, wait {ten|five}
  seconds, and then press it {again|once}
s plug in the charger, {wait|leave it} for {ten|fifteen|twenty} minutes and then {press|try} the power button; {an
  empty battery|a flat battery} {is the usual reason|looks just like this}
s {unplug|disconnect} {everything|the dock, the screen and all USB devices}, plug in only the charger, and {hold|press
  and hold} the power button for {ten|twenty} seconds
s try {another|a different} {charger|socket|power outlet} and make sure that the plug sits {firmly|all the way} in
  {the laptop|the port}
s if the fan runs but the screen is black, {turn up the brightness|connect an external screen} and press the {display
  key|screen key} to see if {a picture|the desktop} appears
s {switch off|shut down} the laptop, {close the lid|leave it closed} for a minute, open it and press the power button
  {once|}
h bring it to <deskplace>; {we|<mate>} can {swap the battery|put in another battery|lend you a <model>} {while you
  wait| in <n> minutes|until <clock>}
h the {Corvid|<model>} has a {tiny|small} reset hole {under|next to} the {left|right} hinge: push {a paper clip|a pin}
  in for <n> seconds and {start|press the button} again
h read me the {asset tag|sticker} {under|on the bottom of} the <model>, then I can see {if it is in warranty|whether
  <team> has a spare} {in <building>|}
x will I lose my {files|documents|work}? => no, {holding the power button does not {delete|touch} files|your saved
  files stay on the disk}; only {work that was not saved|unsaved changes} may be lost
x how long should I {charge it|leave it on the charger}? => at least {twenty|thirty} minutes; {an empty battery|a flat
  battery} needs {a while|some time} before the {laptop|machine} can start
x {now it starts, but|it starts and} {then|after a minute} it {switches off|goes dark} again => {then|in that case} it
  is {too hot or the battery is worn|probably the battery}: {keep the vents free|leave it on the charger} and {have
  the battery checked|bring it in}
y the tag is @asset, {can you see it|is it still in warranty}? => yes, @asset is {a <model> from <month>|in warranty
  until <month>}; {<mate> has put a spare aside|I have ordered a battery|bring it to <deskplace>}
y can you send a loan laptop to my home? => yes, where {to|should it go}? {I can have|<mate> will have} the courier
  there {on <weekday>|by <clock>}
== laptop is slow
u my <laptop> is {very slow|so slow|crawling|terribly slow} {this morning|today|since the update|since <day>}
u {every program|everything|even the browser} takes {ages|minutes|forever} to open on my <laptop>
u the fan is {loud|running all the time} and the <laptop> is {slow|hot|hot and slow}
u why is my <laptop> {so slow|getting slower|freezing {every time|all the time}}?
q when did you last restart it? => {I never do|weeks ago|I only close the lid|{<onday>|yesterday}, I think}
q is it slow in {one program|a single program} or everywhere? => {everywhere|mostly in the browser|only when I open
  {large files|spreadsheets}|in <mailapp>}
s {restart|restart the laptop} and let it {sit|finish} for {a few minutes|five minutes}; {updates that wait|pending
  updates} slow it down
s close {the browser tabs|programs} that you do not need; {each of them|every tab} takes memory
s {open the task manager|look in the task manager} and {see|check} which program {uses|takes} the most
  {memory|processor time}, then {close it|end it}
s free {some|ten gigabytes of} disk space: {empty the recycle bin|delete old downloads|clear the downloads folder}
s make sure that it stands on a {hard|flat} surface and that the vents are {free|not covered}
h {the <project> agent|the backup of <drive>} runs at <clock> and {eats the disk|slows it down}; {pause it from the
  tray icon|let it finish}
h your <model> is {on the list for|due for} {more memory|a swap}; {<mate> does them in <building> <when>|pick a slot
  in <ticketing>}
x can I have {a faster one|more memory|a new laptop}? => {that depends on its age|laptops are replaced after
  {four|five} years}; {ask your manager to request it|your manager has to approve it}
x is it a virus? => {probably not|unlikely}, but {run a full scan|start a scan} {over lunch|tonight} to be sure
== screen or dock
u my {second screen|external monitor|monitor} {is not recognised|stays black|flickers|has no picture}
u the docking station {does not work|does not charge my <laptop>|keeps disconnecting}
u {I cannot|how do I} connect {a second screen|two screens} to my <laptop>
q which cable do you use? => {a USB-C cable|an HDMI cable|the cable that was {here|on the desk}|a display cable}
s {unplug|pull out} the {dock|screen cable} at both ends, wait {ten|thirty} seconds and {plug it in|connect it} again
s press the Windows key and P and {choose|select} extend
s make sure that the screen is {switched on|on} and set to the right input {with the button at the {back|bottom}|}
s take the power away from the dock for {a minute|thirty seconds}, {connect it again|plug it back} and {then|only
  then} connect the laptop
s try {another cable|the other port}, {cables break more often than screens|a worn cable often makes it flicker}
h desks in <building> have {old|grey} docks that need the {blue|short} adapter; {<mate> keeps some|there is a box of
  them} {at <deskplace>|in <room>}
h {log the desk number|tell me the desk number} and <facilities> will {swap the dock|change the screen} {<when>|}
x the picture is {blurry|too small|the wrong way round} => {go to|open} display settings and {set the recommended
  resolution|drag the screens into the right order}
== keyboard or mouse
u my {mouse|wireless mouse|keyboard} {stopped working|does not react|keeps cutting out}
u some keys {on my keyboard|of my <laptop>} {do not work|stick|type the wrong letter}
q is it {wireless or with a cable|connected by cable}? => {wireless|with a cable|it has a small USB plug|Bluetooth}
s {change|replace} the batteries or charge it, then switch it off and on
s plug {it|the receiver} into another USB port, {directly at the laptop|not at the dock}
s {remove|delete} it from the Bluetooth list and pair it again
s check that the keyboard language is right: {press|use} the Windows key and the space bar to change it
h {spare mice|spare keyboards|spares} are in the {drawer|vending locker} at <deskplace>, {tap your <card>|show your
  <card>} and take one
x I spilled {coffee|water|tea} on it => switch it off at once, {turn it upside down|let it dry} for a day and {do not
  charge it|do not switch it on}; then bring it to <deskplace>
== no sound or microphone
u nobody can hear me in {calls|meetings}, {my headset|the microphone} {is dead|does not work}
u there is no sound {from my headset|in calls|on my <laptop>}
q does the headset work {with another device|on your phone}? => {yes, there it works|no, not there either|I have not
  tried}
s {go to|open} sound settings and choose your headset as {input and output|microphone and speaker}
s make sure that the mute {button|switch} on the {cable|headset} is {off|not pressed}
s {leave|close} the call and {let the program use the microphone|allow the microphone} under privacy in the settings
s {unplug|pull out} the headset, wait ten seconds and plug it into another port
h headsets are {ordered|booked} through <buying> as {a small item|form P-30}, it takes <n> days; {<mate> lends you
  one|take a loan one from <deskplace>}
x it {crackles|echoes} => {turn the volume down|mute the other devices in the room} and keep the microphone away from
  your mouth
== lost or stolen device
u {I lost my <laptop>|my <laptop> was stolen} {on the train|at the airport|in a café|in town}
u I left my {<laptop>|bag with the <laptop>} {on the train|in a taxi|at a hotel}
q when did you {last have|see} it? => {about an hour ago|this morning|last night|{<onday>|yesterday}}
s change your password {right away|now} from another device and {sign out|end} all sessions
s {report|tell} the {loss|theft} to the police and {keep|send us} the {report number|reference}; we {lock|block} the
  device remotely
s call the {lost property office|railway|taxi company} and {tell them|give them} the serial number; {we lock it
  meanwhile| meanwhile the device is blocked}
h fill in form S-4 on <hr>, I {wipe|lock} the <model> {through Keystone|} now; {<mate>|<team>} {needs to know|is told}
y it is @asset and my private number is @phone => thanks, @asset is {locked|blocked} {since <clock>|now}; {we
  ring|<mate> rings} @phone {if it is found|when the new one is ready}
x {is my data safe|can somebody read my files}? => the disk is encrypted, so {nobody can read it without your
  password| the files cannot be read}

# printers public
== printer does not print
u {my document does not print|nothing comes out of <printq>|<printq> does not print}
u {I sent|I printed} {the <artefact>|<n> pages} {to <printq>|} but {nothing comes out|nothing happens}
u <printq> is {offline|shown as offline|not responding}
u {I cannot print|I am unable to print|printing does not work} {from my <laptop>|this morning|any more}
q {what does|is there a message on} the {display|small screen} of the printer? => {it says ready|it says {paper
  jam|low toner|offline}|the display is dark|it asks for {a card|a code}}
q can other people print {on it|there}? => {yes, only I cannot|no, nobody can|I do not know|{a colleague|the person}
  next to me can}
s make sure that the printer is {on|switched on}, has paper and shows no {message|red light}
s open the print queue, {remove|cancel} all {jobs|waiting documents} and print {one page|the document} again
s {switch off|turn off} the printer, wait {thirty seconds|a minute}, switch it on and {try again|print again}
s {remove|delete} the printer in the settings and add it again {from the list|}
s {restart|restart your laptop}; {the print service often hangs|that restarts the print service}
s {check|make sure} that you are on {the office network|<wifi>}; {at home|from outside} printing needs <vpn>
h {tap|hold} your <card> {on|against} the reader of <printq>, {Quill keeps jobs for <n> hours|your jobs are released
  there}
h the queue QL-<n> moved to <building> {<when>|in <month>}; add {Quill Follow-Me|the follow-me queue} instead
x how do I {cancel|stop} a {document|print job}? => open the print queue, {click|right-click} the document and choose
  cancel; {or|you can also} press the red button on the printer
x can I print from {home|my phone}? => {yes, connect <vpn> first|only inside the office network}
== paper jam and toner
u there is a paper jam {in <printq>|again|and I cannot find the paper}
u <printq> says {toner low|replace toner|the cartridge is empty}
u the pages have {stripes|grey lines|spots|faded letters}
q is there paper in the {back|side|upper} {door|tray}? => {I see a {corner|torn piece}|no, nothing|yes, it is stuck
  {in the rollers|behind the door}}
s open the {side door|back cover|front cover} and pull the paper out {slowly|with both hands} in the direction {it
  runs|of the arrows}, so that it does not tear
s take out the paper tray, look for {torn pieces|scraps}, {push it back|close it} and {wait|let it restart}
s take out the toner, {shake it gently|rock it from side to side} {five times|} and put it back; {that gives about
  fifty more pages|it lasts some pages more}
s run the cleaning {program|page} from the printer menu under maintenance
s a new cartridge is in the {cupboard|drawer} under the printer; {open the front|pull out the old one}, remove the
  orange {tape|strip} and push the new one in until it clicks
h toner comes by itself: Quill tells <buying> at ten per cent; {there is one in <room>|<mate> has a box in <building>}
x where do I {put|throw} the empty cartridge? => in the {return box|collection box} next to the printer, {it is
  recycled| never in the bin}
== scanning
u how do I scan {a document|the <artefact>|several pages} {to email|to my mail|to a folder}?
u {scanning|scan to email} {does not work|never arrives|gives <errcode>}
q how many pages {is it|do you scan}? => {just one|<n> pages|about forty, both sides}
s put the pages {in the feeder, face up|on the glass}, choose scan to email, enter your address and press start
s {the file may be too large|scans over twenty megabytes are refused}: set 200 dpi and {black and white|grey}
s check the {spam|junk} folder; the sender is the printer {itself|and not you}
h choose Quill Scan, tap your <card>, the file {lands in|goes to} <drive> {under scans|in a folder with your name}
x can it make a text {that I can edit|I can search}? => yes, {choose|tick} searchable PDF {or OCR|} {before you
  start|in the file options}
== printing on both sides
u how do I print {on both sides|double-sided|two pages on a sheet|a booklet}?
u everything {prints|comes out} on one side {only|although I chose both|}
s in the print window {click|open} properties, then layout, and choose print on both sides, {flip on long edge|long
  edge}
s for {two pages on a sheet|a booklet} choose {pages per sheet|booklet} in the same {tab|place}
s {set it as the default|save it} in printer preferences, {then it stays|so that you need not choose it again}
x does it {jam|cost} more? => no, it saves paper; use {normal|eighty gram} paper
h Quill prints {double|both sides} by default, {one side costs <n> points|tick single in the Quill box}
== printing in colour
u how do I print in colour {on <printq>|}?
u everything {prints|comes out} {in black and white|grey} although I {chose|want} colour
s in the print window {click|open} properties, colour, and choose {automatic|colour} and not {grey scale|black and
  white}
s {check|look} on the display whether a colour {cartridge|toner} is empty; {then it falls back to black|then only
  black works}
x which paper {can I use for labels|is allowed}? => only sheets made for laser printers; {others melt|ink-jet labels
  damage the drum}
h colour is {off for most teams|only for <team>, <team>} to save money; {ask your lead|<mate>} to {tick colour in
  Quill|send us the cost centre}

# phones public
== phone cannot call
u my {phone|mobile|desk phone} {has no signal|cannot call|does not ring|drops calls}
u {callers|people} {cannot reach me|say my number is {engaged|not available}}
u {calls|all calls} go {straight|directly} to voicemail
q is it a {mobile or a desk phone|desk phone or a mobile}? => {a mobile|a desk phone|the <phoneapp> on my laptop|both}
s {switch on|turn on} flight mode for {ten|twenty} seconds and off again
s {check|make sure} that quiet mode and call forwarding are off
s take out the SIM card, {wipe|clean} it, put it back and {restart|start} the phone
s {unplug|pull} the network cable of the desk phone, wait a minute and plug it in
s {quit|close} <phoneapp>, sign in again and {test|make a test call}
h your <handset> {is on the old tariff|has to be moved to the new network}: dial star 55 hash and restart it
x how do I {forward|divert} my calls? => in the call settings choose forwarding and {type|enter} the number; {to stop
  it| later} turn it off there
== voicemail
u how do I {listen to|set up} my voicemail?
u I forgot my voicemail {PIN|code}
u how do I change {my greeting|the announcement} {while I am away|for the holidays}?
s press and hold 1, {enter your PIN|follow the voice} and choose the {mailbox|greeting} menu
s in <phoneapp> go to settings, voicemail and {record|upload} a {new greeting|message}
s reset the PIN {in the phone portal|in the settings}; {the new one comes by text message|you get a new one by email}
h dial 7000 from your <handset>, the first code is {the last four digits of your staff number|in Lantern}
x can I get {messages|voicemails} by email? => yes, {turn on|tick} voicemail to email in the same menu
== new or broken mobile
u the {screen|battery} of my {work phone|mobile} is {broken|cracked|bad|swollen}
u I need a {new|replacement} {work phone|mobile|SIM card}
u how do I move {everything|contacts and apps} to my new phone?
q does it still {switch on|charge}? => {yes, but {half the screen is black|only for an hour}|no|sometimes}
s {back it up|make a backup} {over Wi-Fi|tonight} in settings, system, backup {before it gets worse|}
s put both phones next to each other, {start|switch on} the new one and follow {copy from another phone|the transfer
  steps}
s a swollen battery is dangerous: {switch off the phone|do not charge it} and {bring it in|hand it in} {today|}
h a <handset> is {swapped at|replaced at} <deskplace>, form M-2, {signed by your lead|no approval below <n>0 euros}
y {can it be sent to|please post it to} @address? I work from home => {yes|sure}, {the courier|it} comes to @address
  {on <weekday>|<when>}, someone has to sign
x do I keep my number? => yes, the number {stays|moves with the SIM card}
== roaming
u {do I need|must I order} roaming for {my trip|a trip} {abroad|to <town>|overseas}?
u my phone has no {data|internet} abroad
s {switch on|allow} data roaming in the mobile network settings and {restart|start} the phone
s choose {a network|the provider} by hand if automatic {fails|finds none}
s inside the {union|agreed zone} {data is included|it costs nothing extra}; {elsewhere|outside} buy a {week pass|data
  pass} first
h order the <travel> data pass <n> days before, {it is booked on <project>|your lead approves it in <buying>}
x what does {a call|data} cost there? => {the provider sends the price by text|you get a text} when you arrive; calls
  over {Wi-Fi|the internet} are free
"""
