"""Topic sheet: passwords and accounts, two-factor sign-in, badges."""

SHEET = """
# passwords public
== forgotten password
u I {forgot|forgot|no longer know|cannot remember} my password
u {how do I|where do I} reset my password?
u {I cannot sign in|I am locked out|it does not let me in}, {I forgot my password|the password is refused}
u after {the holidays|my leave|two weeks off} I {forgot|do not remember} my password
q which {account|password} is it{, the computer or another system|}? => {the computer|my {Windows|laptop}
  password|{the mail|email}|all of them, it is one password}
q do you still have your {phone|second factor} {for the code|}? => {yes, it is here|no, {it is new|I changed it}|yes}
s {go to|open} <pwtool>, {click|choose} forgotten password, {enter|type} your user name and {confirm|type} the code on
  your phone
s choose a new password {of at least|with} {twelve|fourteen} characters, {three words are easy to remember|with
  letters and digits}
s {wait|leave it} fifteen minutes; after {five|three} wrong tries the account {locks|is blocked} and {opens|unlocks}
  by itself
s make sure that caps lock is off and {the keyboard language is right|type the password in a visible field first}
s {after the reset|then} {lock|restart} the laptop and sign in with the new password {while you are on the office
  network|}
h on <pwtool> click Lost key, {Wren asks you to confirm|confirm it in <mfa>}; {without <mfa>|else} your lead can vouch
  for you
h I can set a {start|first} password: it is @password, {change it at the first sign-in|valid until <clock>}
x {which rules|what rules} are there for {the new one|the password}? => at least twelve characters, not one of the
  last {five|ten}, and {no names|not your name}
x how long does it take until {it works everywhere|mail knows the new one}? => {up to|about} {ten|fifteen} minutes,
  {the systems copy it|then sign in again}
y can you set it to @password? => I {have set|set} @password {as a start password|for now}; {Keystone|it} asks you to
  change it {at the next sign-in|before <clock>}, and {please do not send passwords {in chat|here}|better not write it
  here}
y my old one was @password, {is that {too short|not allowed}|why is it refused}? => {please change it everywhere now
  that you wrote it here|it is on the list of leaked ones}; @password must not be used again
== account locked
u my account is {locked|blocked|disabled}
u it says {my account is locked|too many attempts} {although I typed it right|again}
u my account {locks|is locked} {every few hours|every time|again and again}
q did you change your password {recently|in the last days}? => {yes, {<onday>|yesterday}|no|it was reset {on
  <day>|last week}}
s wait {fifteen|thirty} minutes, it {unlocks|opens} by itself; then {type|enter} the password slowly
s an old password is {saved|stored} {on your phone or tablet|in the mail app on your phone}: {change|update} it there,
  it {locks|blocks} the account
s unlock it yourself {on|at} <pwtool> {with the code from your phone|}
s {remove|clear} saved passwords in the browser and in the credential manager, then sign in again
h Keystone shows <n> tries from {<building>|the reader in <room>|<town>} at <clock>; {is that you|sign out there}
x can you unlock it now? => {I can, {once|after} you have confirmed who you are|yes, it is {open|unlocked} now}, {try
  again|please sign in}
== two factor
u I have a new phone and {<mfa> does not work|my codes are gone}
u I {do not get|no longer get} {the|any} {code|codes|verification message}
u how do I set up <mfa> {on my new phone|}?
q do you still have the old phone? => {yes, it still works|no, it is {broken|gone|with my {daughter|brother}}|I traded
  it in}
s on the old phone open <mfa>, {choose|click} transfer and scan the {code|picture} with the new one
s {set the clock of the phone to automatic|make sure that the phone sets its time automatically}; codes {fail|are
  refused} when the clock is off
s use one of your backup codes, {sign in|log in} and {add|register} the new phone {under security|in the security
  settings}
s install <mfa> from the app store, {sign in|open} <pwtool>, choose add device and scan the code
h come to <deskplace> with your <card> and {I|<mate>} {link|pair} <mfa> again; {by phone|remotely} only with your lead
  on the line
y I am @name, @employee, the new phone is @phone => {thanks|ok} @name, I have {removed|taken off} the old {phone|Wren}
  and sent {a link|the pairing code} to @phone
x what if I have no phone {with me|today}? => {ask for|we can give you} a one-day code {after checking who you are|}
== shared account or rights
u {I need|can I have} access to {the <artefact>|the shared mailbox|a shared folder|the folder of <team>}
u it says {access denied|I have no permission} when I open {the <artefact>|a folder|the <team> folder}
q which {folder|system} is it {exactly|}, and who owns it? => {the <artefact> folder|the <team> one, <mate> owns it|I
  do not know who owns it|a shared one of {<team>|our department}}
s ask the owner of the {folder|system} to {approve|confirm} it, {then|and} we add you {right away|the same day}
s sign out and in again; new rights {work|are seen} only after {that|a new sign-in}
s {check|make sure} that you use the {right|current} link, {old links point to the archive|the folder has moved}
h request {role <code>|it} in Keystone, {<mate>|the lead of <team>} gets {a Burrow message|a mail} and clicks yes
x how long does {it|that} take? => {usually a day|one working day} after the owner {agreed|said yes}
== suspicious message
u I {got|received} a {strange|suspicious} {mail|email|message} {with a link|that asks for my password|from the
  director}
u I {clicked on a link|opened an attachment} in a {strange|suspicious} mail
q did you {type|enter} {your password|anything} there? => {no, I closed it|yes, {my password|I am afraid so}|I only
  {clicked|opened it}}
s do not {answer|click}, {report it with the report button|forward it as an attachment to security} and {then|} delete
  it
s change your password {right away|now} and {confirm no sign-in you did not start|reject unknown codes}
s disconnect the laptop from the network, {leave it on|do not switch it off} and {call us|wait for our call}
h use the red hook in <mailapp>, <team> {looks at it|blocks the sender} within <n> minutes
y I typed @password there => change it at once on <pwtool>; @password is {burnt|no longer safe} and I {close|end} all
  sessions
x how do I know {such a mail|that it is fake}? => look at the sender address, {the hurry|the threat} and {the link:
  hold the mouse over it|the strange link}

# badge house
== badge does not open
u my <card> does not open {the door|the gate|the lift} {in <building>|on the <floor>|to <room>}
u the {reader|gate} {at <building>|by <room>} {blinks red|beeps|shows <errcode>} when I {tap|hold up} my <card>
u since <day> I {cannot get into|am shut out of} <building> {before <clock>|after <clock>|}
q does it work at other doors? => {yes, only {<building>|the <floor>} fails|no, nowhere|the car park works|{<room>|the
  front door} works}
s hold the <card> flat for three seconds, {away from your phone|without the wallet}
h update it at the {yellow|grey} pillar in <building>: {push it in|lay it on} until the light is green, it {refreshes
  every <n> days|gets the new rights}
h <access> has to {add|tick} zone <code>; {your lead sends form B-7|ask <mate> for the B-7}, {done by <clock>|it works
  {after an hour|<when>}}
h rights for <building> {end|ran out} {with the <project> contract|on <date>}; {<mate>|<team>} can extend them in
  Sable
x can someone let me in {now|meanwhile}? => ring {the gate|<mate> at the gate}, extension {4<n>0|5<n>2}, and
  {show|have} a photo id
y my number is @employee, can you check the zones? => @employee has {zones <n> and <n>|only <building>}, I
  {added|asked for} <building> {until <date>|}
== lost badge
u I {lost|cannot find|left} my <card> {somewhere|on the train|in <town>|at home}
u I forgot my <card> {today|at home}, how do I get in?
q when did you last use it? => {at <clock> in <building>|<onday>|this morning at the gate|I do not know}
h I block it now. get a day card {at the gate|from <mate>} in <building>, {bring a photo id|it costs nothing}, {give
  it back by <clock>|valid until <clock>}
h a new <card> is printed {at <access>|by <access>}, form B-2 and <n> euros, {open <clock> to <clock>|ready <when>}
h if it {turns up|is found}, drop it in the {blue box|letter slot} at <building>, we {unblock|open} it {within the
  hour|}
x do I have to pay {for it|again}? => {the first one is free, then <n> euros|<n> euros, taken by Millrace with the
  next pay}
y I am @name, {number|} @employee, please block it => done, the card of @name is blocked since <clock>, {<mate>
  has|the gate has} a day card for you
== visitors
u I expect {a visitor|<n> visitors|an auditor|a candidate} {<when>|on <weekday> at <clock>}, what do I need to do?
u how do I register {a guest|visitors} for <building>?
u my visitor {stands at the gate|is at reception} and {has no badge|is not on the list}
h enter the name in Sable Guests {by <clock>|a day before}, {choose <building>|pick the gate}, and the guest gets a
  {code|QR code} by mail
h pick them up {in person|yourself}; a guest with a {red|striped} badge {never walks alone|must not go to the <floor>}
h for more than <n> people {send the list to <access>|use form V-3}, {coffee in <room> comes from <facilities>|}
x can they use the wifi? => yes, {Alder-Guest|the guest network}, the code is on {the badge|the receipt} and {ends at
  <clock>|lasts a day}
== parking and bikes
u how do I get a {parking permit|parking space} {at <building>|for <building>}?
u the {barrier|bike cage} {at <building>|} does not open for {my <card>|me}
u {somebody|a van} {parks|stands} {on my space|in front of the bike cage} {at <building>|}
q what is your number plate? => {it is on the B-9 already|I {come by bike|changed cars in <month>}|it is a
  {company|rental} car}
h fill in form B-9 with the plate, {<access> draws lots in <month>|there is a list of <n> weeks}, {car pools come
  first|}
h the barrier reads {plates|the Sable card}: {stop at the line|drive up slowly} and {hold the card to the left|wait
  for the green arrow}
h bike cages are zone <code>, {everybody gets it|tick it in Sable}, {it works after <n> minutes|done by <clock>}
x is there a charger for {electric cars|e-bikes}? => <n> of them {behind|under} <building>, book in {Tideline|Sable},
  <n> hours at most
"""
