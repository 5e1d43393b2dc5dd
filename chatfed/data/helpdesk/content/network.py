"""Topic sheet: remote access and wireless, mail and calendar."""

SHEET = """
# vpn public
== vpn does not connect
u {I cannot connect to <vpn>|<vpn> does not connect|<vpn> {fails|hangs} {at|when} connecting}
u <vpn> {says|shows} {<errcode>|authentication failed|server not reachable|connection timed out}
u from home {I cannot reach anything|nothing works}, <vpn> {does not start|will not connect}
u how do I connect to <vpn> {from home|from a hotel|on my new laptop}?
q does the internet work otherwise{, for example a web page|}? => {yes, web pages open|no, nothing opens|only
  {slowly|some pages}|yes, everything else}
q where are you {connecting from|at the moment}? => {at home|in a hotel|on a train|in {a café|<town>}}
s make sure that the internet works: open any web page; {if not|otherwise} restart the router first
s {quit|close} the VPN program {completely|in the tray}, start it again and sign in with your {current|full} user name
s {restart|restart the laptop} and connect {before you open other programs|first thing}
s in {hotels and trains|a public network} open a browser first and {accept|click} the {terms|welcome page}, then
  connect
s try the hotspot of your phone; if it works there, {your router blocks it|the network you are in blocks it}
s {check|make sure} that date and time are right and {install pending updates|update the VPN program}
h pick the {north|second|blue} gateway in the Halden list, {the first one is full|Gate <n> is down until <clock>}
h <errcode> means {the Keystone certificate ran out|your <model> missed the <project> update}: {plug in at
  <building>|run Halden Repair from <catalogue>}
x do I need <vpn> for {mail|email|the web}? => no, {mail works without it|only internal systems need it}, {for example
  the shared drives|such as file servers}
x it asks for a {code|second password} => that is the code from {<mfa>|your phone}; {it changes|you get a new one}
  every thirty seconds
y my home address changed, is {the router|the box} sent to @address now? => yes, {the Halden box|it} goes to @address
  {on <weekday>|<when>}
== vpn drops
u <vpn> {drops|disconnects|breaks off} {every few minutes|every time I am in a call|all the time|after an hour}
u I {lose|keep losing} the connection to <vpn>
q are you on {Wi-Fi or a cable|wireless or cable}? => {Wi-Fi|a cable|Wi-Fi, two rooms away|the hotspot of my phone}
s use a cable to the router or {sit|move} closer to it; {weak Wi-Fi|a weak signal} is the usual reason
s {switch off|turn off} power saving of the network adapter in {device manager|the settings}
s update the VPN program {from <catalogue>|} and restart
s {stop|pause} large downloads and {video|film} streams {at home|on the same line} while you work
h set keep alive to <n> in the Halden menu, {<mate>|<team>} found that {in <month>|helps in <town>}
x is there a time limit? => yes, after {ten|twelve} hours {you sign in again|it ends by itself}
== wifi
u {I cannot connect to <wifi>|<wifi> does not work|my <laptop> does not see <wifi>}
u <wifi> is {slow|very weak|unstable} {in the meeting room|on my floor|at my desk|today}
u which {network|Wi-Fi} {do I use|should I take} {in the office|for guests}?
q do other devices {connect|work} there? => {my phone does|no, nothing does|yes|I have not tried}
s {switch off|turn off} Wi-Fi, wait ten seconds, switch it on and {choose|pick} the network again
s forget the network in the settings and {connect|join} again with your {user name and password|account}
s {make sure|check} that flight mode is off {and no cable is plugged in|}
s {restart|restart the laptop}, {move|walk} closer to the access point and {try again|connect again}
h join Alder-Staff with your Keystone name, {never Alder-Guest|guests get Alder-Guest}; trust the certificate of
  {halden|alder}
h <facilities> {painted|moved walls} in <building>, {two access points are off|the <floor> is weak} until <weekday>
x can I {connect|bring} my private phone? => {only in|use} the guest network, {with a day code|not the staff network}
== shared drive
u I cannot {open|reach|find} <drive>
u <drive> {is missing|has a red cross|is gone} {in the explorer|on my <laptop>|this morning}
u a {file|folder} {on <drive>|} {disappeared|was deleted|is read-only}
q are you in the office or {at home|connected through <vpn>}? => {at home|in the office|at home, with <vpn>|on the
  road}
s connect <vpn> first, then open the drive {again|from the explorer}
s right-click {this computer|the computer icon}, choose {map network drive|connect drive} and enter the path
s right-click the folder, choose {previous versions|restore} and {pick|take} {yesterday|a date before}
s {somebody|a colleague} has it open: {wait|ask around}, or save {a copy|it under another name}
h the Granary moved <team> to bay <n>; {run Granary Links from <catalogue>|map it as granary bay <n>}
x how far back can {files|versions} be restored? => {thirty|sixty} days; {older ones|after that} {need a ticket|only
  from tape}
== internet slow
u the internet is {slow|very slow|unusable} {at home|in the office|today}
u {a web page|one site|the supplier portal} {does not open|is blocked|shows a warning}
u video calls {freeze|stutter|break up}
q is it {slow|bad} on {all|other} sites as well? => {all of them|only one|mostly video|I think so}
s {restart|switch off} the router for {a minute|thirty seconds} and wait until {all lights are green|it is back}
s clear the cache of the browser or {try|use} another browser
s turn off the {camera|video} or close other programs {that use the line|}
s measure the speed {with a speed test|on a test page} and {tell me|write down} the {numbers|result}
h blocked pages: ask for it {in <ticketing>|with form W-1}, <team> {opens it|answers} in <n> hours
x who can {unblock|open} a {site|page}? => the security team, {after a short check|when there is a work reason}

# email public
== mail not arriving
u I {do not get|am not receiving} {any|new} {mail|emails} {since this morning|today|}
u {an email|a mail|the <artefact>} from {a customer|<team>|outside} {never arrived|does not arrive}
u <mailapp> {does not update|is stuck|shows no new messages}
q can you see {new mail|it} in the web version? => {yes, there it is|no, not there either|I have not tried|what is the
  web version?}
s make sure that it does not say {working offline|offline} at the bottom; {click|choose} send and receive
s look in the {spam|junk} folder and {in deleted items|the other tab}
s your mailbox may be full: empty {deleted items|the trash} and {large attachments|old sent mail}
s check your rules: one may {move|delete} {the mail|messages}; {switch off|turn off} all and test
s {close|quit} the mail program, {restart|start} it and wait until it {has synchronised|is up to date}
h Postbox moved <team> to {the new store|hub <n>} {on <date>|<onday>}: remove the profile and add it with your
  Keystone name
h the filter holds it: open Postbox Quarantine, {release|tick} the one from <clock>
x how large can {an attachment|a mail} be? => {twenty|twenty-five} megabytes; {for more|otherwise} {share a link|put
  it on the shared drive}
== cannot send
u I cannot send {mails|emails|the <artefact>}, they {stay in the outbox|come back}
u my {mail|message} {came back|was returned} with {<errcode>|an error|undeliverable}
q what does the {message|error} say? => {mailbox full|address not found|{too large|message too large}|<errcode>|relay
  denied}
s {check|make sure} the address for {a typing mistake|a missing letter}, and {delete|remove} the saved suggestion
s the attachment is too large: {compress it|send a link} {instead|}
s open the outbox, drag the mail to drafts and send it again
s {their mailbox is full|the other side refuses it}: {call them|try later}
h mail to {suppliers|outside} with {IBANs|lists} is {held by the Postbox guard|stopped}; add the word {sealed|cleared}
  to the subject
x can I {take back|recall} a mail? => only inside the organisation and while it is unread: open it, {actions|file},
  recall
== out of office
u how do I set {an out of office reply|an automatic reply|my absence message} {for the holidays|}?
u my {automatic reply|out of office} {is still on|was not sent|shows the old dates}
s open settings, automatic replies, {choose|set} {the dates|first and last day} and write {the text|a short text}
s add {who replaces you|a colleague to contact} and {do not say where you are|keep it short}
s {turn it off|switch it off} in the same place, {or set an end date|it then stops at once}
h the house text is on <hr> under {words|texts}: name <mate> or {your stand-in|<team>} and {the desk number|Burrow}
x can my {colleague|assistant} read my mails meanwhile? => {yes, give access|you can share it}: right-click the inbox,
  permissions, add the {person|name}
== mail rules
u how do I {sort|move} mails {into a folder|from <team>} automatically?
u how do I {make|change} a rule for {newsletters|mails from a customer|the <artefact>}?
s right-click a mail, choose {rules|create rule}, {pick|choose} the sender and the folder
s under rules {drag|move} it {up|to the top}, the first rule that fits {wins|is used}
x does it work {on my phone|when the laptop is off}? => yes, when it {runs on the server|says server rule}
h <team> mail is sorted by Postbox {labels|shelves} {already|}, {pick the shelf|ask <mate> for the label}
== calendar
u {I cannot|how do I} share my <calendar> {with a colleague|with <team>}?
u a meeting {disappeared|shows the wrong time|is there twice} in <calendar>
u <calendar> on my phone {does not match|is not in sync}
q is it wrong {on all devices|everywhere}? => {only on the phone|yes, everywhere|just on my laptop|only for {meetings
  others made|one series}}
s right-click the calendar, choose {sharing|share}, {add the name|enter the colleague} and pick {can view|what they
  may see}
s check the time zone {in the settings|on phone and laptop}, {an hour off is nearly always that|both must be equal}
s remove the account on the phone and add it {again|once more}
s {cancel|delete} the series and {make|send} a new one; {changed series|old series} {break|often break}
h Tideline series over <n> months {are cut|end on <date>}: {<mate>|the organiser} has to send it again
x can others see {my private appointments|what I do}? => not when you mark them private; {they see only busy|others
  see that you are busy}
== mailbox full
u my mailbox is {full|almost full|over its limit}
u how do I archive {old mails|last year}?
s sort the inbox by size and {remove|delete} the {largest|big ones}; then empty the trash
s move {mails|everything} older than a year to the archive: {right-click the folder|file}, {archive|auto-archive}
h Postbox gives <n> gigabytes; {form P-3 doubles it|<team> got more in <month>}, {your lead signs|}
x do archived mails {count|use space}? => no, the archive {has its own space|does not count}
== deleted mail
u I {deleted|lost} {a mail|a folder|an important message} {by mistake|}
u {a folder|the mail from <team>} {disappeared|is gone} {from my inbox|}, can it be restored?
s open deleted items, choose recover deleted items, {tick it|select the mail} and restore
s {search|look} in all folders for {the sender|a word of the subject}: it is easily {dragged|moved} into another
  folder
s {deleted mails|it} can be restored for {fourteen|thirty} days, {after that|later} it {is gone|needs a ticket}
h Postbox keeps {everything|it} <n> weeks in the {vault|cold store}, {<mate>|<team>} {fetches|gets} it {<when>|by
  <clock>}
x why did {it|that} happen? => {mostly a rule or the phone|a swipe on the phone is enough}, check both
"""
