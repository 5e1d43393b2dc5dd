"""Topic sheet: software and licences, office programs, procurement."""

SHEET = """
# software public
== install a program
u how do I install {a program|new software|the spreadsheet program} {on my <laptop>|}?
u I need {a PDF editor|a drawing program|project software|a database client} {for the <artefact>|}
u the installation {stops|fails|is blocked} {with <errcode>|at the end|half way}
u it asks for an administrator password when I install {something|a program}
q which program {is it|do you need} and what for? => {a PDF editor, to fill in forms|something for
  {diagrams|drawings}|the one <team> uses|to open {the <artefact>|files from a supplier}}
s go to <catalogue>, search for the name, click install and {wait|leave it} for {ten|fifteen} minutes
s {restart|restart the laptop} and start the installation again; {another one may be half done|an update may be in the
  way}
s make sure that there is enough disk space, {five|ten} gigabytes {at least|are enough}
s {not listed|if it is not there}: send a request with {the name, the version and the reason|name and purpose};
  security {checks|looks at} it first
s nobody needs administrator rights for programs in <catalogue>; {others we install for you|for others ask us}
h Depot shows only what {<team>|your cost centre} may have: {ask <licensing> to open the <project> shelf|form D-4 adds
  a shelf}
h <errcode> in Depot: the {Corvid|<model>} has an old agent, {run Depot Repair|leave it plugged in over lunch}
x how long does the check take? => {three|five} working days, {faster|less} for programs that {others use already|are
  known}
x may I install {a private program|a game}? => no, {only checked software|that is not allowed on work devices}
== licence
u {it says my licence has expired|my licence has expired|the program wants a licence key}
u I need a licence for {the drawing program|the statistics package|the video tool} {from <month>|}
u it says {no licence available|all licences are in use}
q do you use it {every day|daily} or only sometimes? => {every day|about once a {week|month}|only for the
  <artefact>|my trainee needs it}
s sign out of the program and in again with your work account, {the licence comes with it|it then fetches the licence}
s {wait|try later}: all seats are taken; {close it when you do not need it|most are free after four}
s ask your manager to approve the cost, {then|and} <licensing> {assigns|gives} it {within two days|right away}
s {restart|restart the laptop} and {check|make sure} that the date is right
h a seat for <project> costs <n>0 euros a month, {charged to|from} {<team>|the cost centre}; {form D-7|click rent in
  Depot}
h <mate> {in <team>|} has a free seat, {ask on Burrow|I can move it to you <when>}
x what happens to my files when it ends? => they stay, you can {open|read} them, but not change them
== program crashes
u {the spreadsheet program|the browser|the text program|the PDF reader} {crashes|closes} {every time|when I save|by
  itself}
u a program {hangs|is frozen|does not respond} and I {have not saved|cannot close it}
u I get <errcode> when I {open the <artefact>|start the program|save}
q does it happen with {every file|all files} or only one? => {only with the <artefact>|with all|only with {large|old}
  files|I did not try}
s wait {two|three} minutes; {it may be saving|large files take time}, {then|and} end it in the task manager
s start it again, it {offers|shows} the recovered file {on the left|}: {check it|look through it} and save it with a
  new name
s start it without add-ins: hold the control key {while you click it|at the start}
s install pending updates {from <catalogue>|} and restart
s repair it: {settings, apps, the program, change, quick repair|control panel, programs, repair}
h the {Orchard|Quill|Postbox} add-in {clashes|fights} with version <n>: {untick it|Depot has the fix <code>}
x is my work {lost|gone}? => {probably not|look first}: file, info, manage versions, {shows saved copies|there are
  copies of the last days}
== spreadsheet rows and lists
u how do I {freeze the first row|keep the head row in view|fix the first column} in a spreadsheet?
u {the heading|the first row} {disappears|is gone} when I scroll {in the <artefact>|down}
s click the cell {below and right of|under} what should stay, {go to the view tab|open view}, freeze panes
s {on the view tab|under view} choose {freeze top row|freeze first column}; to undo it choose unfreeze
x does it {print|show} on every page too? => not by itself: page layout, print titles, {pick|choose} the row
h <team> gives a {spreadsheet hour|clinic} in <room> {every <weekday>|on <weekday>s at <clock>}, {<mate> runs it|bring
  your file}
== spreadsheet duplicates and lists
u how do I remove {duplicates|double rows} {in a spreadsheet|in the <artefact>|from a list}?
u how do I {make|add} a drop-down list {in a cell|in a spreadsheet}?
s for duplicates: {click in the list|mark the columns}, data tab, remove duplicates, {tick the columns|confirm}
s for a drop-down: data tab, data validation, {allow list|list}, and {type|enter} the entries with commas
x can I see {the duplicates|them} first? => yes: home, conditional formatting, {highlight|duplicate values}
h the <artefact> template {on the Granary|of <team>} has the list {already|built in}, ask {<mate>|<team>}
== formula wrong
u my formula {shows|gives} {a hash sign|an error|the wrong sum} {in the <artefact>|}
u the {sum|total} {is zero|is wrong|does not change} {in my spreadsheet|in the <artefact>}
q what {exactly|} does the cell show? => {only hashes|a zero|{an error|a word} with a hash in front|a number that is
  too small}
s hashes mean that the column is too narrow: double-click the {border|edge} of the column head
s numbers {stored as text|with blanks} are not added: select them, {click the mark|data, text to columns}, convert to
  number
s {turn on|set} automatic calculation: formulas tab, calculation options, automatic
s {click the cell and look|check} which cells the formula {takes|adds}: formulas, trace precedents
h the <project> sheet links to {the Granary|<team>}: {open <vpn>|data, edit links} and {update|take the new path}
x is there a course {for that|for beginners}? => yes, short films are in the learning portal, {ten minutes each|search
  for spreadsheets}
== text documents
u how do I {number pages|make a table of contents} in {a text|the <artefact>|my report}?
u the page numbers {are wrong|start at zero|are missing} {in the <artefact>|}
s for the contents: {mark|give} headings {with|the} heading styles, then references tab, table of contents, {pick a
  style|choose one}
s for page numbers: insert tab, page number, {bottom of page|pick a place}; {start at one|the first number} under
  format page numbers
x how do I {update it|bring it up to date}? => click into it and press F9, {update the entire table|choose all}
h use the {house|Mistral} template {from the Granary|in <drive>}, it {numbers by itself|has the styles of <team>}
== compare and comments
u how do I {compare two versions|accept all changes|remove all comments} {in a text|of the <artefact>|}?
u the <artefact> is full of {red lines|comments|marks}, how do I {remove|hide} them?
s review tab, {accept|accept all changes|the arrow under accept, all changes}, and stop tracking
s review tab, compare, choose the {old and the new|two} files and confirm
s {comments go with|remove comments under} review, delete, delete all comments
x can others {still see|find} the old {text|comments}? => run file, info, inspect document {before you send it|first}
h <team> wants {clean files|no marks} in {the <project> folder|<drive>}, {<mate> sends them back|save as PDF}
== updates
u my <laptop> {wants to restart|asks for an update} {all the time|in the middle of work|again}
u an update {hangs|failed|does not finish} {at thirty per cent|since an hour|with <errcode>}
u since the update {the menu|my browser|the printer} {looks different|does not work|is gone}
q how long has it been {running|like that}? => {an hour|all morning|{two|three} hours|since <day>}
s leave it plugged in and {wait|let it run} up to two hours; {never switch off during an update|do not close the lid}
s choose {restart tonight|a time} in the update settings, {working hours are kept free|it then waits}
s {restart|restart once more}, open updates and click {try again|search again}
s {remove|uninstall} the {last|latest} update: settings, update history, uninstall updates
h ring {<n>|two} gets it on <weekday>, {<team> is ring one|<project> laptops wait}; {<mate> can put you in a later
  ring|form D-9}
x can I {skip|postpone} it? => up to {three|five} days, security updates {come anyway|cannot wait}

# procurement house
== order something
u how do I order {a chair|<n> monitors|business cards|safety shoes|a whiteboard|pens and paper} {for <team>|for
  <mate>|}?
u <team> needs {<n> headsets|a projector|lab gloves|a label printer|toner|a shredder} {by <date>|for <project>}
u who {approves|signs} an order of <amount> euros {for <project>|from <team>|}?
q which cost centre {pays|is it on}? => {<team>|<project>, I think|<mate> knows|the same as for the <artefact>}
s compare two offers {above five hundred euros|}, {keep|attach} both
h open <buying>, choose the {shelf|list} {office|lab|workshop}, {put it in the basket|tick it} and send P-30 to {your
  lead|<mate>}
h under <n>00 euros your lead clicks yes, above that {<team>|treasury|the board} {signs|decides on <weekday>s}
h {chairs|furniture} comes {from the store in <building>|through <facilities>}, try {it|one} in <room> first
h we have a frame contract with {Yarrow & Sons|Pallen Supplies|Redholm Trading|Fairstead Office}, {their catalogue
  is|pick them} in <buying>
x how long until it {comes|arrives}? => {from the store <n> days|about <n> weeks from {Redholm|Pallen|Yarrow}}, {the
  date is in <buying>|delivered to <building>}
y can it be sent to my home? I work at @address => yes, {put|I put} @address {as delivery place|in line <n> of the
  P-30}; {somebody must sign|from <weekday> on}
== invoice and supplier
u {a supplier|Redholm|Pallen|Yarrow} {asks|is asking} {when we pay|for the order number|why {invoice|bill} <code> is
  open}
u I {got|have} an invoice over <amount> euros, {where do I send it|who books it}?
u how do I {add|set up} a new supplier {from <town>|for <project>}?
q does it carry {a P number|an order number}? => {yes, P-<amount>|no, it was {by phone|urgent}|I cannot find
  any|<mate> ordered it}
h mail it as PDF to the Marlow inbox with {the P number|P and cost centre}, {treasury|<team>} pays {on <weekday>s|in
  <n> days}
h without a P number it {bounces|goes back}: {make a late order P-31|ask <mate> for a P-31}, {your lead explains
  why|one page}
h a new supplier fills in P-12 and <team> {checks|screens} it, <n> days, {longer from abroad|no order before}
x can we {pay|settle} it by card? => up to <n>00 euros with the team card {of <team>|that <mate> keeps}, {keep the
  slip|P-33 with the slip}
== delivery wrong
u {the parcel|my order} {from Redholm|from Pallen|P-<amount>} {is late|has not arrived|is incomplete|is broken}
u I got {<n> boxes too many|the wrong size|someone else's order|only half} {from Yarrow|from Fairstead|today}
q is there a delivery note? => {yes, it says <n> pieces|no, only a label for <building>|wet and torn|<mate> has it}
h {take a picture|keep the box}, {log it|open a return} in <buying> under R, the {driver|courier} {fetches|takes} it
  {<when>|at goods in}
h parcels {for <team>|without a name} wait at goods in, <building>, shelf <n>; {bring your card|<mate> has the key}
x when will {the rest|the right one} come? => {Redholm|Pallen|Yarrow} says {<weekday>|<date>|in <n> days}, {I chase
  them|you get a mail}
== return leased things
u the lease of {our printer|the <model>|a van|the coffee machine} ends {on <date>|in <month>}, what now?
u how do I {give back|return} {<n> laptops|an old monitor|furniture} {of <team>|from <project>|}?
h put a {green|Marlow} sticker with the {tag|P number} on it, {<facilities>|the crew} {collects|fetches} it {<when>|on
  <weekday>}
h {lease ends|for leases}: {<mate>|<team>} decides by <date> {to buy, extend or return|what happens}; form P-40
x may I buy it {myself|for my kids}? => {sometimes, there is a sale in <building> in <month>|ask <mate>, {<n>0
  euros|cash} for the charity box}
"""
