"""Names and small words: people, places, things, teams, in-house products. The organisation is invented."""

from __future__ import annotations

from itertools import product


def _listed(text: str) -> tuple[str, ...]:
    """Items that bars separate, over line ends."""
    return tuple(" ".join(item.split()) for item in text.split("|"))


FIRST_NAMES = tuple(
    """Aisha Alban Alma Anders Anneke Arjun Astrid Aurel Bahar Bastian Beatriz Benno Bilal Birgit Bruno Cai Camille
    Carmen Cato Cecily Chidi Ciara Clement Corin Dagny Dario Delphine Desmond Dilan Dorota Edda Eamon Elif Elio Elspeth
    Emeka Enid Erlend Esme Esra Fabian Farah Fergus Fiona Flavia Florin Freya Gabor Gaia Gerda Giles Gita Goran Greta
    Gwen Hakan Hana Harriet Hector Hedda Hugo Ida Ignacio Imani Imre Ingrid Ioana Isak Ivo Jadwiga Jamal Jana Jasper
    Jelena Joao Jonas Jorun Judit Kadri Kaito Kamal Karim Katya Keziah Kirsten Klara Kofi Lars Leila Lemuel Lena
    Leopold Lidia Linnea Lorcan Lotte Luca Ludmila Maeve Magnus Malik Marek Margit Marisol Matteo Maya Mehmet Mercy
    Mila Milos Minh Mira Moira Monika Nadia Naoko Nasrin Nemo Nerys Nils Nina Noor Odile Olaf Olga Omar Ondine Orla
    Osman Otto Paloma Pavel Petra Philippa Pia Piotr Priya Quentin Quincy Rafael Ragna Rajan Ramona Rania Raul Renske
    Rhys Rosalind Ruben Rufus Runa Saanvi Sabine Samir Sanne Selma Seren Sigrid Silas Simone Sofia Soren Stellan Suda
    Sunniva Tadeo Talia Tamar Tariq Tatiana Tessa Theo Thora Tilda Tomasz Tove Tristan Ulla Umberto Una Ursula Valdis
    Vanja Vera Vidya Viggo Vilma Wanda Wendel Wilhelmina Xavier Ximena Yara Yasmin Yngve Yusuf Zadie Zeno Zofia
    Zubair""".split()
)
_SURNAME_HEADS = """Abber Alder Amber Arke Bannis Barro Bellin Birken Blacken Bracken Brandel Calder Carrow Castel Chal
    Corben Cranmer Dall Dunmor Ecken Eller Fallow Farring Fenni Gallo Garri Glaze Halver Harken Hollin Innis Jarro
    Kelder Kester Lang Larren Lindel Loxen Maden Mallo Marrin Merri Norri Okon Orde Pallen Pember Quarren Rallis Raven
    Rowen Sander Selwin Stanno Tamber Tarrin Thorne Ulver Vande Varro Wester Winter Yarrow Zell""".split()
_SURNAME_TAILS = "berg bury by dahl dale den fax field gate hurst jo kin land ley low more ridge sen shaw sky".split()
SURNAMES = tuple(head + tail for head, tail in product(_SURNAME_HEADS, _SURNAME_TAILS))
_TOWN_HEADS = """Ash Bar Brim Buck Clay Crest Dray Dun Elm Fair Fern Glen Grim Hazel Hex Holm Kings Lamb Leigh Lyn
    Mill Moss Nether Oak Pen Queens Red Rush Salt Sheep Silver Stan Sutter Thistle Upper Wake Wal Whit Wood
    Wyn""".split()
_TOWN_TAILS = "bourne combe cross ford ham haven mouth stead".split()
TOWNS = tuple(head + tail for head, tail in product(_TOWN_HEADS, _TOWN_TAILS))
_STREET_HEADS = """Abbey Almond Anchor Barley Beacon Bishop Candle Cherry Cooper Copper Cutler Dyer Falcon Fiddler Forge
    Fountain Garden Glover Harbour Heron Hop Ivy Kiln Lavender Linden Lock Maple Market Mason Meadow Minster Mulberry
    Nettle Orchid Otter Pepper Pilgrim Plum Poplar Quay Raker Reed Rope Saddler Shepherd Spindle Station Tanner Temple
    Thatcher Tinker Violet Walnut Weaver Willow""".split()
STREETS = tuple(f"{a} {b}" for a, b in product(_STREET_HEADS, "Street Lane Road Close Avenue Row Walk Hill".split()))
THINGS = tuple(
    """Teapot Lantern Badger Kettle Piano Walrus Button Ladder Cactus Biscuit Hammock Trombone Pebble Marmot Saddle
    Parrot Thimble Rocket Muffin Anvil Puffin Velvet Scooter Turnip Compass Donkey Goggles Pickle Zither
    Sandal""".split()
)
ILLNESSES = _listed(
    """
    hernia surgery | knee surgery | shoulder surgery | a slipped disc | pneumonia | chemotherapy | radiotherapy |
    dialysis | a broken wrist | a fractured hip | severe migraine | depression | burnout | anxiety disorder | bypass
    surgery | cataract surgery | a high-risk pregnancy | a miscarriage | rehabilitation for alcohol | kidney stones
    | gallbladder surgery | shingles | hepatitis | glandular fever | a stroke | epilepsy | back surgery | a bowel
    resection | tuberculosis | long covid | lupus | a thyroid operation | an eating disorder | post-traumatic stress
    | a bone marrow donation | spinal injections
    """
)
MONTHS = "January February March April May June July August September October November December".split()
DATES = tuple(f"{day} {month}" for month in MONTHS for day in range(1, 29))

# Colleagues who are only mentioned carry short forms of names, never a private full name.
COLLEAGUES = """Abe Ada Bea Bert Bo Cleo Dee Dex Ed Ellie Fay Finn Gus Hal Hetty Ike Jo Kit Lou Mags Mo Nell Ned Pip
    Ray Roz Sal Sid Tess Tig Vic Wes Zak Dot Gwil Ossie Perry Midge Hobb Lexi Bram Tibby""".split()
TEAMS = _listed(
    """
    accounts | audit | claims | communications | customer care | data platform | design | dispatch | engineering |
    estates | events | field service | finance | fleet | fraud | goods in | internal control | laboratory | legal |
    logistics | maintenance | marketing | media | network operations | night shift | payments | people services |
    planning | press office | pricing | product | quality | reception | records | research | risk | safety | sales |
    scheduling | security | social media | stock control | strategy | supply chain | tax | testing | training |
    translation | treasury | warehouse | web shop | works council | workshop
    """
)
BUILDINGS = _listed(
    """
    Mistral House | the Quarry Building | Aldergate | North Wharf | Saltern Court | the Foundry | Larkfield |
    Juniper Hall | Cooper's Yard | the Glasshouse | Tollgate | the Old Ropery | Beckside | the Annexe at Wharf
    Street | Pier Nine
    """
)
ROOMS = """Avocet Bittern Curlew Dunlin Egret Fulmar Gannet Heron Ibis Jackdaw Kestrel Lapwing Merlin Nightjar Oriole
    Petrel Quail Redstart Siskin Tern Umbrella Verdin Wigeon Yellowhammer Kittiwake Plover Sanderling Dipper Linnet
    Whimbrel""".split()
PROJECTS = """Ambergris Bluebell Cinnabar Dovetail Evergreen Firefly Gossamer Hopscotch Indigo Jubilee Kingfisher
    Lodestar Marzipan Nutmeg Obsidian Periwinkle Quicksilver Rosewood Saffron Tamarind Umber Vermilion Windmill
    Zephyr Almanac Bramble Cobalt Driftwood Elderflower Flint Ginger Hazelnut""".split()
ARTEFACTS = _listed(
    """
    annual report | board paper | budget sheet | contract draft | cost forecast | customer list | delivery plan |
    design review | duty roster | exhibition plan | floor plan | grant application | handover note | incident report
    | inspection log | invoice batch | job advert | ledger extract | maintenance plan | market study | month-end
    report | newsletter | order book | parts catalogue | pilot summary | press release | price list | project
    charter | quality report | quarterly summary | risk register | safety briefing | sales deck | service contract |
    shift plan | site survey | slide deck | staff survey | stock count | supplier review | tender package | test
    protocol | timesheet summary | training booklet | user manual | warranty claim | workshop agenda
    """
)
