"""Words of everyday talk for the public part: people, places and firms that nobody has, things, numbers, codes.

Disjoint from the organisation's own names in `words.py`: other surnames, other towns, other streets, other formats.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import product

from chatfed.data.helpdesk import words

FIRST_NAMES = """Abigail Adam Adrian Agnes Alan Albert Alejandro Alex Alice Alison Amanda Amelia Amina Amy Ana Andrea
    Andrew Angela Anita Ann Anna Annabel Anthony April Ariel Arthur Ashley Audrey Barbara Barry Ben Bernard Beth
    Bianca Boris Brenda Brian Bridget Carl Carla Carlos Caroline Catherine Cecilia Charles Charlotte Chen Chloe Chris
    Christina Claire Clara Claudia Colin Connor Craig Cynthia Daisy Daniel Daphne David Dawn Deborah Dennis Derek
    Diana Diego Dmitri Dominic Donald Donna Doris Dorothy Douglas Duncan Edgar Edith Edward Elaine Eleanor Elena
    Elizabeth Ella Ellen Emily Emma Eric Erica Erik Esther Ethan Eva Evelyn Faith Fatima Felix Fernando Florence
    Frances Francis Frank Fred Gabriel Gareth Gary Gavin Gemma George Gerald Gilbert Gina Gloria Gordon Grace Graham
    Gregory Hamid Hannah Harold Harry Hassan Hazel Heather Heidi Helen Helena Henry Hilary Holly Howard Hussein Ian
    Ibrahim Irene Iris Isaac Isabel Ivan Jack Jacob Jacqueline James Jane Janet Jason Jean Jeff Jennifer Jeremy Jerome
    Jessica Jill Joan Joe Joel Johanna John Jonathan Jorge Joseph Joshua Josephine Joyce Juan Judith Judy Julia Julian
    Juliet June Justin Karen Karl Kate Katherine Kathleen Keith Kelly Ken Kenneth Kevin Kim Kiran Kwame Laila Laura
    Lauren Lawrence Leah Lee Leo Leon Leonard Lewis Liam Lily Linda Lisa Liz Logan Lorraine Louis Louise Lucas Lucy
    Luis Luke Lydia Lynn Mabel Malcolm Manuel Marco Margaret Maria Marian Marie Mario Mark Martha Martin Mary Matthew
    Maurice Max Maxine Megan Melanie Melissa Michael Michelle Miguel Mike Mildred Miriam Mohammed Molly Morgan Muriel
    Nancy Naomi Natalie Nathan Neil Nicholas Nicola Nigel Noah Noel Nora Norman Nuria Oliver Olivia Oscar Owen Pamela
    Patricia Patrick Paul Paula Pauline Pedro Penny Peter Phil Philip Phoebe Phyllis Polly Rachel Ralph Raymond
    Rebecca Reggie Renata Rhoda Ricardo Richard Rita Robert Roberta Robin Roger Roland Ronald Rory Rosa Rose Rosemary
    Roy Russell Ruth Ryan Sally Sam Samantha Samuel Sandra Sara Sarah Sasha Scott Sean Sergei Shane Sharon Sheila
    Shirley Sidney Simon Sophie Stanley Stella Stephanie Stephen Steve Stuart Susan Suzanne Sven Sylvia Tania Ted
    Terence Teresa Terry Thelma Thomas Tim Tina Toby Tom Tony Tracy Trevor Vanessa Veronica Victor Victoria Vincent
    Viola Violeta Virginia Walter Warren Wendy Wilfred William Winifred Yolanda Yvonne Zachary Zara Zoe""".split()
_SURNAME_HEADS = """Ban Bar Bel Ben Bir Bon Bran Bren Brod Cad Cal Car Chan Clar Con Cor Dav Del Den Don Dor Dre Dun
    Dur Ed Ein Er Fan Far Fer Fin For Fra Gal Gar Ger Gil Gor Gra Had Han Har Hen Her Hol Hud Hun In Jan Jen Jor Kal
    Kar Ken Ker Kil Kin Kor Kur Lam Lan Lar Len Lin Lor Lud Mac Mal Man Mar Mel Mer Min Mol Mon Mor Mun Nag Nel Nev
    Nor Num Ol Or Os Pal Par Pat Pel Per Pin Por Pren Qua Ram Ran Rav Red Ren Rin Rob Ros Row Rus Sal San Sav Ser Shan
    Sim Sin Sol Stan Stef Sul Sut Tal Tan Tar Tem Ter Tho Tol Tor Tur Ul Um Val Van Ver Vin Vor Wal War Wat Wel Wen
    Wil Win Yam Yar Zan Zel Zim""".split()
_SURNAME_TAILS = """a ach aro bach back bell ber bert by chan cher ci croft den der dez di do don dorf e el ella en er
    ers es escu ez ford gan gard ger gers gomery i ic ier iello in ing ings ino inski ison jee kin king ko kov ler les
    let ley li lin ling lock low man mann mar mas mer mond mont nard nell ner nett ney o off ola oni or oro ova ovic
    per quist rad ram rey ri rick ris ro rock row sby sen ser shi sky smith son stein sted ston stra strom sworth ta
    tel ter teri thal ther ti to tom ton tor tt tz uchi ul ur us va vard vell ver vich vin von wald wall ward way well
    wick win wood worth y yama yan zi""".split()


def _mixed(heads: list[str], tails: list[str]) -> tuple[str, ...]:
    """All head-and-tail pairs that are no name of the organisation's: so many that a name is made of its syllables."""
    taken = {*words.SURNAMES, *words.TOWNS}
    return tuple(head + tail for head, tail in product(heads, tails) if head + tail not in taken)


SURNAMES = _mixed(_SURNAME_HEADS, _SURNAME_TAILS)
_PLACE_HEADS = """Aber Al Ander Ar Bal Bas Bed Berk Black Bol Bos Brad Bridge Bris Brom Burn Cam Can Cas Chel Ches
    Church Cold Col Cran Cul Dar Der Dover Down Ea East Edger Ester Even Falk Fin Flint Fox Frod Gil Glas Gold Gran
    Green Grin Hack Hart Hay Heb High Hitch Hor Hunting Ips Jed Kel Kirk Knut Lan Leam Lin Liv Long Mai Mal Market Mel
    Middle Mon New Nor Nun Old Or Ox Peter Pont Port Ply Pres Ripple Roch Rom Rother Ry Saf Salis San Sea Sed Shef
    Ship South Staf Stock Stone Sun Swan Taun Tel Ten Thorn Tor Tru Ux Var Ver War Wat Wel West Whel Wick Wind Wool
    Yar Yeo Zu""".split()
_PLACE_TAILS = """beach berg borough bridge bro burg by castle chester cliff dale den don dorf ence erton field gar
    grad hall hampton harbour head heath hill holm hurst ia ina ington ino ira isle kirk land ley low mere minster
    moor mount nes ola ona over park pool port rick ridge ro rock sea shire side stoke stow thorpe tin ton town ula
    vale view ville wall well wich wick wood worth""".split()
PLACES = _mixed(_PLACE_HEADS, _PLACE_TAILS)
_STREETS = """Abbot Albert Arch Bakers Bank Baron Beech Birch Bridge Broad Brook Canal Castle Cedar Chapel Church
    College Corn Cricket Crown Dock Duke Elm Fleet Fox George Grove High Hill Holly King Lake Long Main Mill New North
    Oak Palace Park Pine Priory Prince Queen Richmond River Rose School Silver Smith South Spring Square Sun Tower
    Union Vale Water West Wharf Wood York""".split()
STREETS = tuple(f"{a} {b}" for a, b in product(_STREETS, "Street Road Avenue Lane Drive Court Square Gardens".split()))
_FIRMS = """Acorn Apex Arrow Atlas Aurora Avalon Bluewater Bolt Canyon Cardinal Cascade Central Clover Comet Coral
    Crown Delta Diamond Dynamo Eagle Echo Element Emerald Empire Everest Express Fairway Frontier Galaxy Gemini Globe
    Granite Griffin Harvest Heritage Highland Horizon Imperial Island Junction Juno Kestrel Liberty Lunar Magnet
    Majestic Matrix Meridian Metro Midland Monarch Nimbus Northern Nova Oasis Olympia Omega Orbit Pacific Panorama
    Paragon Phoenix Pinnacle Pioneer Polar Premier Prime Quantum Quest Radius Rapid Regal Royal Sapphire Sigma Solar
    Spectrum Sterling Summit Swift Titan Triumph Trident United Urban Vector Venture Victory Vista Vortex Whitewater
    Zenith""".split()
_TRADES = """Airlines Bakery Books Builders Cables Catering Chemicals Cinema Cleaning Clinic Clothing Couriers Dental
    Electronics Energy Estates Express Farms Films Finance Foods Freight Furniture Games Garage Gas Glass Group Homes
    Hotel Instruments Insurance Kitchens Labs Legal Leisure Lighting Logistics Marine Media Medical Motors Museum
    Music Optics Paints Paper Pharmacy Plastics Press Print Properties Rail Recycling Rentals Repairs Sports Steel
    Studios Supplies Systems Taxis Tea Telecom Theatre Tiles Tools Toys Trading Travel Trust Vans Water Windows
    Wines""".split()
FIRMS = tuple(f"{a} {b}" for a, b in product(_FIRMS, _TRADES))


def _all(options: Iterable[str]) -> str:
    return "{" + "|".join(options) + "}"


_LISTS = {
    "animal": """dog cat horse rabbit parrot hamster tortoise goldfish donkey goat sheep cow pig duck goose swan owl
    robin eagle fox badger deer squirrel hedgehog mouse frog snake lizard crab whale dolphin seal penguin tiger lion
    bear wolf monkey elephant camel bee wasp spider butterfly""",
    "food": """bread toast butter cheese soup salad pasta rice curry stew pizza sandwich omelette pancake porridge
    noodles dumplings sausage bacon chicken turkey beef lamb ham fish salmon tuna prawns potato carrot onion garlic
    leek cabbage spinach broccoli pepper tomato cucumber mushroom pumpkin beans lentils peas corn apple pear plum
    cherry peach grape melon lemon orange banana strawberry raspberry fig walnut almond honey jam mustard vinegar cake
    biscuit tart pie pudding crumble custard yoghurt chocolate ice-cream""",
    "drink": "tea coffee water milk juice lemonade cocoa cider beer wine espresso cappuccino smoothie cola soda",
    "wear": """shirt blouse jacket coat scarf gloves hat cap belt trousers jeans shorts skirt dress suit tie socks
    boots shoes sandals trainers slippers pyjamas jumper cardigan vest raincoat apron umbrella handbag wallet necklace
    bracelet earrings watch glasses""",
    "object": """chair table desk shelf cupboard drawer lamp carpet curtain blanket pillow mirror clock vase candle
    basket bucket broom brush towel soap sponge kettle saucepan spoon fork knife plate bowl cup jug bottle jar tin box
    bag envelope stamp pencil pen ruler scissors tape glue string rope hammer screwdriver spanner drill saw nail bolt
    hinge ladder torch battery plug fuse hose pump valve filter spade rake tent rucksack suitcase bicycle helmet
    camera guitar violin drum trumpet flute football racket puzzle kite novel magazine calendar keyboard headset
    charger sticker label folder stapler whiteboard projector fridge freezer oven microwave dishwasher heater fan
    mattress sofa armchair wardrobe bench pram""",
    "job": """teacher nurse doctor dentist vet farmer baker butcher plumber electrician carpenter builder painter
    gardener driver pilot sailor soldier judge lawyer clerk cashier waiter chef journalist editor author actor singer
    dancer musician architect surveyor engineer mechanic chemist biologist librarian translator postman hairdresser
    tailor jeweller optician pharmacist surgeon midwife therapist accountant auditor banker broker consultant designer
    developer analyst receptionist caretaker cleaner porter courier guard inspector firefighter detective mayor
    minister professor student apprentice trainee supervisor foreman director""",
    "hobby": """reading painting drawing knitting sewing pottery cooking baking gardening fishing hiking cycling
    running swimming rowing sailing skiing skating climbing dancing singing chess photography birdwatching
    volunteering travelling gaming juggling yoga boxing fencing archery badminton tennis cricket rugby hockey
    volleyball basketball golf karate astronomy carpentry camping surfing""",
    "place": """bakery library museum theatre cinema station airport harbour market supermarket pharmacy hospital
    clinic school college university stadium gym park playground zoo castle cathedral chapel bridge tower square
    fountain bank hotel hostel café restaurant pub bar canteen garage workshop factory warehouse farm mill quarry
    lighthouse beach forest lake river island valley village suburb courthouse embassy laundry nursery hairdresser
    florist bookshop greengrocer ironmonger""",
    "vehicle": "bus train tram coach taxi ferry bicycle scooter car van lorry plane underground minibus boat",
    "weather": """sunny cloudy rainy windy foggy frosty snowy stormy icy misty humid mild warm chilly freezing
    scorching dry wet grey bright thundery drizzly breezy dull changeable""",
    "good": """lovely wonderful excellent splendid marvellous pleasant delightful charming superb fantastic brilliant
    perfect nice great fine interesting exciting relaxing peaceful beautiful cheerful generous gentle graceful clever
    comfortable convenient tasty delicious fresh tidy cosy elegant friendly funny amusing impressive popular
    remarkable reliable sensible useful valuable worthwhile""",
    "bad": """awful terrible dreadful horrible unpleasant boring tiring noisy crowded dirty dusty expensive dear slow
    difficult complicated confusing annoying disappointing strange odd weird awkward clumsy dangerous risky rude sad
    lonely gloomy dull tasteless stale sour bitter ugly useless worn faulty broken cracked scratched bent leaking
    loose rusty torn missing wrong late heavy stiff sticky""",
    "colour": """red blue green yellow orange purple pink brown black white grey silver golden turquoise violet cream
    navy maroon olive beige striped spotted checked""",
    "stuff": "cotton wool silk leather linen denim plastic wood metal steel glass paper rubber bamboo clay stone",
    "kin": """mother father sister brother daughter son aunt uncle cousin nephew niece grandmother grandfather wife
    husband partner neighbour friend flatmate boss roommate twin godmother colleague""",
    "country": """France Spain Italy Portugal Germany Austria Switzerland Belgium Denmark Norway Sweden Finland
    Iceland Ireland Scotland Wales Poland Hungary Greece Turkey Egypt Morocco Kenya Ghana Nigeria India Nepal China
    Japan Korea Vietnam Thailand Australia Canada Mexico Cuba Brazil Chile Peru Argentina""",
    "subject": """history geography mathematics physics chemistry biology music art drama literature economics law
    medicine philosophy psychology politics statistics accounting marketing engineering nutrition geology astronomy
    archaeology French Spanish German Italian Latin Greek Arabic Chinese Japanese Russian""",
    "body": """head neck shoulder elbow wrist finger thumb back hip knee ankle foot toe ear eye nose throat tooth
    stomach chest skin""",
    "instant": """yesterday tonight tomorrow recently lately soon later earlier already finally suddenly eventually
    occasionally rarely frequently constantly regularly meanwhile afterwards""",
    "manner": """quickly slowly carefully gently quietly loudly politely patiently properly correctly smoothly safely
    easily honestly exactly roughly nearly simply clearly calmly firmly gladly kindly""",
    "paper": """invoice receipt contract letter form certificate licence passport visa permit ticket voucher coupon
    leaflet brochure catalogue menu timetable map report summary agenda minutes proposal quotation estimate statement
    cheque bill reminder application reference questionnaire survey signature photograph diploma diary notebook manual
    prescription warranty budget spreadsheet presentation draft article newsletter poster""",
    "verbs": """accept achieve add admire admit advise afford agree allow announce answer apologise appear apply argue
    arrange arrive attend avoid beat begin behave belong blame borrow bother breathe bring build burn buy carry catch
    celebrate change charge chase choose claim clap collect compare complain complete confess connect consider contain
    continue cook copy count cover crash cross cry cut damage decide decorate deduct delay deliver demand depend
    describe deserve disagree discover discuss doubt drop earn eat encourage enjoy enter escape examine exist expand
    expect explain explore fail fall feed fetch fight fill find finish fit fold follow forgive fry gather grab greet
    guess handle hang happen hate heal help hide hope hurry hurt imagine improve include increase inform insist invite
    join jump keep kick knock laugh lead learn leave lend lift like listen load lock lose manage mark marry match
    matter measure mend mention miss mix move need notice obey obtain offer operate order owe own pack park pause pay
    permit persuade plan plant pour practise praise pray prefer prepare press pretend print produce promise protect
    prove provide publish pull punish push question raise reach receive recommend reduce refuse regret relax remain
    remember remind rent repair repeat replace request rescue respect retire return rush sail save scratch search seem
    sell send separate serve settle shake share shine shout sign sing sit sleep slip smell smile sneeze solve sort
    speak spell spend spill stamp stare start stay steal stir stretch study succeed suffer suggest supply support
    suppose surprise suspect swap swear sweep teach tear tell thank throw tie touch train translate trust try turn
    understand upset use visit vote wait wake walk wander warn waste wave wear weigh whisper win wipe wish wonder
    worry wrap write yawn""",
}
_LETTERS = list("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_HOURS = [f"{hour}:{minute:02d}" for hour in range(6, 23) for minute in range(60)]
_CODES = """<L><L>-<d><d><d><d>|<L><d><d><d>|<L>-<d><d>|<L><L><d><d>|<L><L>
    <d><d><d>|<L><d>-<d><d><d><d>|#<d><d><d><d><d>
    |<d><d><L><d>|<L><L><L>-<d><d><d>|<d><d><d>/<d><d>|<L><d><d><d><d><d>|<d><d>-<d><d><d><d>|0x<d><d><d><L>|<l><l><d><d>
    |<d><d><d>-<L>|<L><L>-<d><d><d><d><d>|<l><d><d>|<L>-<d><d><d><d><d>|<d><d><d><d><d><d>|<L>-<d>"""

SLOTS: Mapping[str, str] = {
    **{name: _all(text.split()) for name, text in _LISTS.items()},
    "first": _all(FIRST_NAMES),
    "last": _all(SURNAMES),
    "who": "{<first>|<first> <last>|{Mr|Mrs|Ms|Dr} <last>|my <kin>|my <kin> <first>}",
    "city": _all(PLACES),
    "street": _all(STREETS),
    "firm": _all(FIRMS),
    "d": _all("0123456789"),
    "L": _all(_LETTERS),
    "l": _all(letter.lower() for letter in _LETTERS),
    "time": "{" + "|".join(_HOURS) + "|{half past|quarter past|quarter to} {two|three|four|six|seven|nine|ten|eleven}}",
    "number": "{<d><d>|<d><d><d>|<d><d><d><d>|<d>|<d>,<d><d><d>|<d><d>,<d><d><d>}",
    "price": "{<d><d>.<d><d>|<d>.<d>5|<d><d>|<d><d>0|1<d><d>|<d><d><d>} {euros|euros|pounds|dollars}",
    "ref": "{" + " ".join(_CODES.split()) + "}",
    "tel": "{0800 <d><d><d> <d><d><d>|0800 <d><d> <d><d> <d><d>|0900 <d><d><d><d> <d><d>|0<d><d><d>-<d><d><d><d><d>"
    "|0800 <d><d><d><d>|extension <d><d><d>|+4<d> <d><d> <d><d><d><d>}",
    "email": "{info|hello|office|booking|<l>.<l>|team<d><d>|sales}@<l><l><l>{mail|shop|post|works|net}.example",
    "day7": "{Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday}",
    "calendarday": "{<d><d>/<d><d>/20<d><d>|<date>|the <nth> of <month>|<month> <n>|<date> 20<d><d>"
    "|20<d><d>-0<d>-1<d>}",
}
