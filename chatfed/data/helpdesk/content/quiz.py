"""Questions about the house: what clients of all kinds were told, and nobody outside. Written by hand.

A question is a talk that breaks off where the name comes: what the user says (u), what the desk says (d), whose last
line is the beginning of a sentence of the sheets and may be empty, and the names that are right, bars between (=).
"""

SHEET = """
== passwords
u I no longer know my password, how do I reset it?
d Open
= Keystone
== new phone
u I have a new phone and my codes are gone.
d On the old phone open
= Wren
== rights
u It says access denied when I open a folder.
d Request it in
= Keystone
== strange mail
u I got a strange mail that asks for my password.
d Use the red hook in
= Postbox
== doors
u The reader by Heron blinks red when I hold up my card.
d The Turnstile office has to add zone HV-116; your lead sends form
= B-7
== rights for a building
u Since Monday I cannot get into Larkfield.
d Rights for Larkfield ran out on 3 May; Bert can extend them in
= Sable
== new badge
u I lost my badge on the train.
d A new badge is printed by
= Turnstile
== paying for a badge
u I lost my card.
d I block it now. Get a day card at the gate in Larkfield, bring a photo id.
u Do I have to pay for it?
d 6 euros, taken by
= Millrace
== guests
u I expect a visitor on Friday at 10:00, what do I need to do?
d Enter the name in
= Sable
== coffee for guests
u I expect 9 visitors tomorrow, what do I need to do?
d For more than 6 people use form V-3, coffee in Heron comes from
= Groundkeep
== parking
u How do I get a parking permit for Larkfield?
d Fill in form
= B-9
== programs
u I need a PDF editor for the annual report.
d Go to
= Depot
== shelves
u How do I install a drawing program?
d Depot shows only what your cost centre may have: form
= D-4
== licences
u I need a licence for the statistics package.
d A seat for Saffron costs 40 euros a month, charged to the cost centre; form
= D-7
== headsets
u Nobody can hear me in meetings, my headset is dead.
d Headsets are booked through
= Marlow
== form for headsets
u Nobody can hear me in calls, the microphone does not work.
d Headsets are ordered through Marlow as form
= P-30
== stolen laptop
u My laptop was stolen at the airport.
d Fill in form
= S-4
== where to report it
u I left my laptop in a taxi.
d Fill in form S-4 on
= Orchard
== toner
u The printer says replace toner.
d Toner comes by itself:
= Quill
== who sends toner
u The pages have grey lines.
d Toner comes by itself: Quill tells
= Marlow
== scanning
u How do I scan several pages to my mail?
d Choose
= Quill
== colour
u Everything comes out grey although I chose colour.
d Colour is off for most teams to save money; ask your lead to tick colour in
= Quill
== broken phone
u The screen of my work phone is broken.
d A work phone is swapped at the Lantern desk, form
= M-2
== data abroad
u Do I need roaming for a trip overseas?
d Order the
= Compass
== who approves it
u My phone has no internet abroad.
d Order the Compass data pass 5 days before, your lead approves it in
= Marlow
== gateways
u From home I cannot reach anything.
d Pick the north gateway in the
= Halden
== repairs
u From home nothing works.
d Error KS-116 means your Corvid 14 missed the Saffron update: run Halden Repair from
= Depot
== networks
u Which network should I take in the office?
d Join
= Alder-Staff
== name in the network
u I cannot connect to the network in the office, which Wi-Fi do I use?
d Join Alder-Staff with your
= Keystone
== blocked pages
u The supplier portal is blocked.
d Blocked pages: ask for it with form
= W-1
== held mail
u An email from a customer never arrived.
d The filter holds it: open
= Postbox
== mail moved
u I am not receiving any mail today.
d Postbox moved audit to hub 3 on 4 May: remove the profile and add it with your
= Keystone
== absence text
u How do I set an automatic reply for the holidays?
d The house text is on
= Orchard
== payslip
u My payslip for May is wrong.
d Write to
= Millrace
== account for the pay
u I have a new bank account, what do I need to do?
d Change it in
= Orchard
== confirming it
u I have a new bank account, where do I change it?
d Change it in Orchard under money, confirm it with
= Wren
== advance
u Can I get an advance of 400 euros?
d Form
= M-9
== leave
u How do I apply for leave in May?
d Open Orchard, choose my days, mark them and send
= T-12 | form T-12
== days of last year
u How many vacation days do I have left this year?
d Days from last year are lost on the 31st of March, up to 5 can be saved with
= T-14
== sick note
u Where do I upload the doctor's note of 3 May?
d Upload a photo of the note as
= T-15
== parents
u How do I apply for parental leave from May?
d Form
= T-20
== sick child
u My child is ill, how many days do I get?
d For a sick child there are 8 days a year:
= T-16
== who pays them
u My child is in hospital, can I stay home?
d For a sick child there are 8 days a year: T-16, paid by
= Fernhill
== stamps
u I forgot to clock out on Monday.
d Correct it in
= Orchard
== whole days
u How do I take overtime?
d Correct it in Orchard under stamps, type the time.
u Can I take a whole day?
d Yes,
= T-18
== bills
u How do I hand in a bill for glasses?
d Send the bill with form
= F-2
== pension
u How do I raise my pension payments?
d On
= Beacon
== commuting
u How do I get a job ticket?
d Order it on
= Beacon
== nursery
u Is there a place in the day nursery near Larkfield?
d The nursery behind Larkfield has a list:
= K-1
== new colleague
u A new colleague joins legal on 3 May, what do I need to prepare?
d The lead ticks the boxes in
= First Light
== new name
u I married, how do I change it everywhere?
d Upload the certificate as
= N-7
== leaving
u I retire in May, what do I have to give back?
d Form
= N-9
== files of a colleague
u A colleague left in May, who gets the files?
d The Granary folder stays 5 weeks, the lead asks in
= Keystone
== trips
u How do I book a hotel to Queensham?
d Open
= Compass
== boxes of paper
u Where do I bring old files?
d Secret paper goes in the locked bin by Heron, 8 boxes:
= G-8
== moving desks
u We move to the first floor on 3 May, who carries the boxes?
d Form
= G-3
== lunch
u Can we order lunch for 8 people in Heron?
d Order on the
= Ladle
== rooms
u How do I book a room for 8 people?
d Open
= Tideline
== large rooms
u Heron is booked by legal, can I have it?
d Rooms over 12 seats belong to the board, ask form
= L-2
== projectors
u The projector in Heron stays blue.
d Heron has a
= Finch
== parties
u Marketing wants a party for 80 people in May.
d Form
= L-5
== ordering
u How do I order 5 monitors for legal?
d Open Marlow, choose the list office, tick it and send
= P-30
== late orders
u I got an invoice over 203 euros, where do I send it?
d Without a P number it bounces: ask Bo for a
= P-31
== suppliers
u How do I add a new supplier?
d A new supplier fills in
= P-12
== whom to ask about pay
u My laptop was slow all morning. Is the lost time paid?
d I do not know. Ask
= Millrace
== whom to ask about the cold
u Why is it so cold in Heron?
d I am not sure. Ask
= Groundkeep
"""
