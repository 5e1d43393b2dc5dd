"""A grammar of German requests from which the filter's tagger learns: every noun has a capital, few of them are names.

Read as filter_english.py says; `~` joins two words to a compound ("Arbeits~Vertrag"). m, f, n, pl: nouns by gender;
N, A, D: their nominative, accusative and dative with an article. Written for this purpose; none is a sentence that the
filter is measured on.
"""

from __future__ import annotations

GERMAN_SENTENCES = (
    "{subject} {vi}|{subject} {vi} {time}|{time} {verb3} {subject} {A}|{subject} {verb3} {A}"
    "|{subject} hat {A} {done}|{subject} hat {time} {A} {done}|{time} hat {subject} {A} {done}"
    "|{A} hat {subject} {done}|hat {subject} {A} {done}?|{N} wurde von {who3} {done}|{N} ist von {who3}"
    "|{N} wurde {time} von {who3} {done}|kann {subject} {A} {do}?|kannst du {who4} {do}?"
    "|können Sie {who4} {do}?|können Sie {who3} {A} {give}?|könntest du {who3} {A} {give}?"
    "|bitte {A} {who3} {give}|bitte {A} an {who4} {send}|schick {A} bitte an {who4}|geben Sie {who3} bitte {A}"
    "|sagen Sie {who3}, dass {N} {state} ist|wenn {subject} {verbend}, bitte {A} {do}"
    "|sobald {subject} {verbend}, {verb1} ich {A}|ich glaube, dass {subject} {A} {done} hat"
    "|weil {subject} {state} ist, {verb3} {subject} {A}|{subject} meint, {N} sei {state}"
    "|{subject} sagt, {N} ist {state}|ob {subject} {verbend}?|ist {subject} {state}?|{subject} ist {state}"
    "|{subject} war {time} {state}|wo ist {subject}?|wer ist {subject}?|kennen Sie {who4}?"
    "|ich habe {who4} {time} {met}|wir haben {who4} {met}|ich habe mit {who3} {talked}"
    "|wir haben {time} mit {who3} {talked}|haben Sie mit {who3} {talked}?|ich {verb1} {who4} {time}"
    "|ich warte auf {who4}|ich suche {who4}|ich habe {A} von {who3} {gotten}|{N} ist für {who4}"
    "|{N} gehört {who3}|{N} von {who3} ist {state}|{N} für {who4} ist {state}|ohne {who4} geht es nicht"
    "|mit {who3} habe ich {A} {done}|laut {who3} ist {N} {state}|bei {who3} ist {N} {state}"
    "|dank {who3} ist {N} wieder {state}|außer {who3} hat jeder {A}|{subject} und ich haben {A} {done}"
    "|{subject} oder {subject} kann {A} {do}|weder {subject} noch {subject} {verb3} {A}|es war {subject}"
    "|das hat {subject} {done}|das war {subject}|{N} steht auf {who4}|Termin mit {who3} {time}"
    "|Besprechung mit {who3}|Anruf von {who3} {time}|Rückruf an {who4}|Vertretung: {name}"
    "|Ansprechpartner: {name}|Name: {name}|von: {name}|an: {first}|z. Hd. {name}|{role}: {name}"
    "|Benutzer: {name}|Betreff: {mfn} {state}|Betreff: {mfn} von {name}|AW: {mfn} für {name}"
    "|WG: {mfn} {prep} {D}|cc {name}|{hello} {first}|{hello} {first}, {N} ist {state}"
    "|{hello} {name}, können Sie {A} {do}?|{hello}, hier ist {name} aus {team}|{hello} {people}"
    "|{hello} {people}, {N} ist {state}|{hello}, {N} ist {state}|{hello}, ich brauche {A}|{bye} {first}"
    "|{bye}, {name}|{bye}|{bye} aus {town}|{bye}, {name}, {role}|{bye} {name}|{bye} Ihr {name}"
    "|{bye} deine {first}|{bye} vom {m0}|{name}, {team}|- {first}|{name} ({team})|i. A. {name}|gez. {name}"
    "|{first} ({phone})|Sehr geehrter Herr {last}|Sehr geehrte Frau {last}|Sehr geehrte Frau Dr. {last}"
    "|Sehr geehrte Damen und Herren|{title} {last} {vi}|{title} {last} hat {A} {done}"
    "|ich habe mit {title} {last} {talked}|{title} {name} ist {state}|ist das {title} {last}?"
    "|für {title} {last}|der Herr {prep} {D} ist {state}|die Frau {prep} {D} hat {A} {done}"
    "|eine Frau hat {done}|ich bin {name} und brauche {A}|ich bin {first}, {poss} neue {rolef}|ich bin {state}"
    "|ich bin {role} in {team}|ich bin {who1o}|hier {name}|mein Name ist {name}, {N} ist {state}"
    "|man nennt mich {first}|alle nennen mich {first}|ich heiße {first}|er heißt {name}|sie heißt {first}"
    "|{poss} {rolef} heißt {name}|{poss} {kinf} heißt {first}|{poss0} {kinm} heißt {first}"
    "|das ist {poss} {kinf} {first}|das ist {poss0} {kinm} {first}|{N} heißt {brand}|wie heißt {N}?"
    "|der Name von {D} ist falsch|auf den Namen {name}|auf den Namen {last} {done}|unter dem Namen {last}"
    "|im Auftrag von {name}|{first}, geboren im {month}|{first} ist zwei Jahre alt|für {poss4} {kinf} {first}"
    "|für meinen {kinm} {first}|{poss0} {kinm} {first} ist {state}|ich fahre {time} nach {town}"
    "|{N} in {town} ist {state}|wir kommen aus {town}|von {town} nach {town}|ich arbeite bei {brand}"
    "|wir nutzen {brand}|{brand} ist {state}|{N} von {brand} ist {state}|kennen Sie {brand}?|öffnen Sie {brand}"
    "|am {day} ist {N} {state}|bis {day}|im {month} war {N} {state}|ich wohne {inaddress}"
    "|wir wohnen jetzt {inaddress}|{N} {inaddress}|bitte {A} an die Adresse {address} {send}"
    "|Anschrift: {address}|Adresse: {address}|{subject} wohnt {inaddress}|{N} soll in die {address}"
    "|wir sind {inaddress} zu finden|Lieferung an {address}|zu Hause: {address}"
    "|{address} ist meine neue Adresse|ich habe {health}|ich habe {time} {health} bekommen"
    "|{subject} hat {health}|{subject} leidet an {health}|ich leide seit {month} an {health}"
    "|{who1o} ist {because} {health} {off}|ich bin {because} {health} {off}|{because} {health} {dates}"
    "|{because} {health} kann ich nicht {do}|ich war {because} {health} im Krankenhaus"
    "|ich war {because} {health} beim Arzt|bei mir wurde {health} {found}|bei {who3} wurde {health} {found}"
    "|man hat {health} {found}|der Arzt hat {health} {found}|{pills} {health}|{poss} {health} wird schlimmer"
    "|{poss} {health} macht mir zu schaffen|{poss0} {health} ist wieder da"
    "|mit {poss3} {health} kann ich nicht {do}|trotz {health} habe ich {A} {done}|Diagnose: {health}"
    "|Grund: {health} {dates}|Krankmeldung: {health} {dates}|nach {health} bin ich noch {state}"
    "|{subject} fehlt mit {health}|{subject} ist mit {health} {off}|mit {health} liege ich im Bett"
    "|die Operation an {health}|wird {health} bezahlt?|Verdacht auf {health}|ich habe {A}"
    "|ich habe {time} {A} bekommen|{subject} hat {A}|ich bin {because} {D} {off}"
    "|{because} {D} kann ich nicht {do}|Grund: {mfn}|bei mir wurde {N} {found}|man hat {A} {found}"
    "|mit {D} kann ich nicht {do}|{subject} ist mit {D} {off}|trotz {D} habe ich {A} {done}"
    "|{because} {mfn} {time}|ich brauche Urlaub {because} {D}|nach {D} bin ich noch {state}"
    "|{poss0} {m} ist wieder da|{poss} {f} wird schlimmer|ich habe es auf {password} geändert"
    "|melden Sie sich mit {password} an|mit {password} geht es|der Code {password} wurde angenommen"
    "|meine PIN war {password}|ich habe zweimal {password} getippt|ist {password} sicher?"
    "|{password} ist mein Passwort|tippen Sie {password} ein|ich nehme überall {password}"
    "|das Kennwort von {D} ist {state}|ich habe es auf {A} geändert|mit {D} geht es|PW: {password}"
    "|ich habe {A} {done}|wir haben {A} {time} {done}|{N} ist {state}|{N} ist {time} {state}|bitte {A} {do}"
    "|{A} {do} und dann {A} {do}|{pl} {do}|wo finde ich {A}?|wie kann ich {A} {do}?|was ist {N}?"
    "|wann wird {N} {done}?|ich brauche {A} {time}|ich brauche {A} für {A}|es gibt {A} in {D}"
    "|{N} {prep} {D} ist {state}|{N} und {N} sind {state}|ich möchte {A} {do}|ich will {time} {A} {do}"
    "|kein {m} und keine {f}|{mfn} {state}|{mfn} und {mfn}|{number} {pl} bitte|{N} kostet {number} Euro"
    "|ich mag {pl}|{pl} sind {adj}|{adj}e {pl}|es geht um {A}|es liegt an {D}|{mfn} {time}|{mfn}?|{mfn} fehlt"
    "|nein, {N} ist {state}|ja, {time}|gut, {N} ist {adj}|welcher {m} ist das?|welche {f} meinen Sie?"
    "|haben Sie {A} {done}?|hast du {A}?|gibt es {A}?|der {m} des {m}s|die {f} der {f}|zum {m}|zur {f}|beim {m}"
    "|ins {n}|im {m} {prep} {D}|per {m0}|ohne {mfn}|mit {pl}n|{mfn} für {mfn}|Frage zu {D}"
    "|in {D} steht, dass {N} {state} ist|{poss} {f} funktioniert nicht|{poss0} {m} startet nicht"
    "|{N} lässt sich nicht {do}|{N} zeigt {A}|{N} macht {A}|starten Sie {A} neu|wählen Sie {A} und dann {A}"
    "|klicken Sie auf {A}|prüfen Sie {A}|unter {mfn} finden Sie {A}|dort steht {N}|Dank der {f} ist {N} {state}"
    "|{fw} {N} {fw} {state}|{fw} {fw} {verb3} {N} {fw} {fw} {A}|{N} {verb3} {fw} {fw}"
    "|{fw} ist {N} {fw} {adj}, {fw} {fw} {N} {fw}|{mfn}, {mfn} und {mfn}"
    "|{fw} {number} {pl} {fw} {prep} {D} {done}|{fw} im Jahr {year} {N} {fw} {done}|{A} {done}, {fw} {adj}"
    "|{fw} {fw} {adj} {fw}|{fw}, {fw} {fw} {N}?|{year} {verb3} {N} {fw} {A}|von {year} bis {year}"
    '|{number} Prozent {fw} {pl}|am {number}. {month} {year} {fw} {N}|"{mfn}" {fw} {fw}|({mfn}) {fw}'
)

GERMAN_GRAMMAR = {
    "subject": "{who1}|{who1}|{who1}|{who1o}|{who1o}",
    "who1": "{named}|{named}|{poss} {rolef} {name}|{poss0} {rolem} {name}|{poss0} {rolem} {first}"
    "|{poss} {kinf} {first}|{poss0} {kinm} {first}|{poss} {rolef}, {name},|{poss0} {rolem}, {name},"
    "|der neue {rolem} {first}|die neue {rolef} {name}|die {first}|der {first}|{who1o}|{who1o}",
    "who3": "{named}|{named}|{named}|{poss3f} {rolef} {name}|{poss3} {rolem} {first}|{poss3f} {kinf} {first}"
    "|{poss3} {kinm}, {name},|dem {first}|der {rolef}|dem {rolem}|{poss3f} {rolef}|{poss3} {rolem}|ihm|ihr|uns"
    "|mir|jemandem|niemandem|allen|Ihnen|den {rolef}nen|{team}",
    "who4": "{named}|{named}|{named}|{poss} {rolef} {name}|meinen {rolem} {first}|{poss} {kinf} {first}"
    "|die {rolef} {name}|den {first}|die {rolef}|den {rolem}|{poss} {rolef}|meinen {rolem}|ihn|sie|uns|mich"
    "|jemanden|niemanden|alle|Sie|die {rolef}nen|{team}",
    "who1o": "der {rolem}|die {rolef}|{poss} {rolef}|{poss0} {rolem}|{poss} {kinf}|{poss0} {kinm}|jemand"
    "|niemand|keiner|er|sie|ich|wir|man|die {rolef}nen|das Team|{team}|die Leute {prep} {D}|der {adj}e {rolem}"
    "|eine {rolef}|ein {rolem}|die andere {rolef}",
    "named": "{name}|{name}|{name}|{name}|{first}|{first}|{first}|{title} {last}|{title} {last}|{title3} {last}"
    "|{first} aus {team}|{name} aus {team}|{first} und {first}|{name} und {name}|{role} {name}"
    "|{name} {prep} {D}|{name} ({team})|{name}, {role},|{first} {last}",
    "hello": "Hallo|Hi|Hey|Guten Tag|Guten Morgen|Guten Abend|Moin|Servus|Grüß Gott|Grüezi|Liebe|Lieber|Danke"
    "|Vielen Dank|Sorry|Tschüss|Bitte|Entschuldigung|Mahlzeit|Ja|Nein",
    "people": "zusammen|alle|Team|Leute|an alle|liebes Team|Kollegen|Kolleginnen und Kollegen|nochmal|Support"
    "|in die Runde|ihr Lieben|Freunde",
    "bye": "Viele Grüße|Grüße|Gruß|Beste Grüße|Liebe Grüße|Mit freundlichen Grüßen|Freundliche Grüße"
    "|Herzliche Grüße|Schöne Grüße|LG|VG|MfG|Danke|Vielen Dank|Danke und Gruß|Bis bald|Schönen Tag"
    "|Gesendet von unterwegs|Herzlich|Ihr|Deine|Danke im Voraus|Schönes Wochenende",
    "title": "Herr|Frau|Herr|Frau|Dr.|Prof.|Herr Dr.|Frau Dr.|Frau Prof.|Fr.|Hr.|Tante|Onkel|Schwester|Familie"
    "|Eheleute",
    "title3": "Herrn|Frau|Herrn Dr.",
    "poss": "meine|deine|unsere|seine|ihre|eine|Ihre|eure|die|diese|keine",
    "poss0": "mein|dein|unser|sein|ihr|ein|Ihr|euer|der|dieser|kein",
    "poss3": "meinem|deinem|unserem|seinem|ihrem|einem|Ihrem|dem|diesem",
    "poss3f": "meiner|deiner|unserer|seiner|ihrer|einer|Ihrer|der",
    "poss4": "meine|deine|unsere|seine|ihre",
    "kinm": "Mann|Sohn|Bruder|Vater|Partner|Onkel|Neffe|Cousin|Enkel|Opa|Freund|Schwager|Papa|Zwillingsbruder"
    "|Verlobter",
    "kinf": "Frau|Tochter|Schwester|Mutter|Partnerin|Tante|Nichte|Cousine|Enkelin|Oma|Freundin|Schwägerin|Mama"
    "|Verlobte|Familie|Jüngste",
    "rolem": "Chef|Kollege|Techniker|Mitarbeiter|Praktikant|Auszubildende|Lehrer|Arzt|Nutzer|Kunde|Gast"
    "|Besucher|Betreuer|Vorgesetzte|Leiter|Trainer|Hausmeister|Vermieter|Mieter|Fahrer|Bote|Berater|Entwickler"
    "|Ingenieur|Verkäufer|Schüler|Student|Anwalt|Direktor|Betriebsrat|Administrator|Zeuge|Vertreter|Bewerber"
    "|Koch|Handwerker|Elektriker|Teamleiter|Abteilungsleiter|Werkstudent|Mitbewohner|Bekannte|Pate",
    "rolef": "Chefin|Kollegin|Technikerin|Mitarbeiterin|Praktikantin|Auszubildende|Lehrerin|Ärztin|Nutzerin"
    "|Kundin|Besucherin|Betreuerin|Vorgesetzte|Leiterin|Trainerin|Vermieterin|Mieterin|Fahrerin|Beraterin"
    "|Entwicklerin|Ingenieurin|Verkäuferin|Schülerin|Studentin|Anwältin|Direktorin|Vertreterin|Bewerberin"
    "|Köchin|Teamleiterin|Assistentin|Sekretärin|Bekannte|Patin|Hebamme|Putzfrau",
    "role": "{rolem}|{rolef}",
    "team": "der Buchhaltung|dem Vertrieb|dem Einkauf|der Personalabteilung|der IT|dem Lager|der Kantine"
    "|dem Empfang|der Produktion|dem Labor|der Werkstatt|der Verwaltung|der Technik|dem Versand"
    "|dem zweiten Stock|der Rechtsabteilung|dem Betriebsrat|der Filiale|der Zentrale",
    "day": "Montag|Dienstag|Mittwoch|Donnerstag|Freitag|Samstag|Sonntag|Wochenende",
    "month": "Januar|Februar|März|April|Mai|Juni|Juli|August|September|Oktober|November|Dezember|Sommer|Winter"
    "|Herbst|Frühling",
    "time": "heute|gestern|morgen|seit gestern|am {day}|im {month}|letzte Woche|nächste Woche|heute Morgen"
    "|heute früh|seit {month}|seit heute|um neun|um zehn Uhr|in der Pause|nach dem Essen|am Abend|am Wochenende"
    "|vorhin|gleich|bald|schon|wieder|immer noch|jeden Tag|seit Wochen|vor zwei Tagen|letzten {day}"
    "|nächsten {day}|bis {day}|ab {month}|den ganzen Tag|mehrmals|neulich|später|erst {day}|diesen {month}|noch",
    "number": "zwei|drei|vier|fünf|sechs|zehn|zwölf|zwanzig|hundert|2|3|5|10|100|mehrere|viele|einige|alle"
    "|keine|ein paar|beide",
    "prep": "in|mit|von|aus|bei|zu|auf|unter|neben|hinter|vor|an|nach",
    "because": "wegen|aufgrund|infolge|seit|nach|wegen meiner|wegen einer|wegen eines",
    "off": "krankgeschrieben|krank|ausgefallen|zu Hause|im Krankenhaus|arbeitsunfähig|in Behandlung|nicht da"
    "|in Reha|abwesend|freigestellt",
    "found": "festgestellt|diagnostiziert|entdeckt|gefunden|vermutet|behandelt|operiert|erkannt|nachgewiesen",
    "pills": "ich bekomme Tropfen wegen|ich bekomme Spritzen gegen|ich bin in Behandlung wegen"
    "|ich war beim Arzt wegen|ich habe einen Termin wegen|ich erhole mich von|ich kämpfe mit|ich bin an"
    "|ich erkrankte an|ich schlucke Pillen gegen",
    "give": "geben|schicken|zeigen|leihen|bringen|freigeben|weiterleiten|erklären|zuschicken|überlassen"
    "|mitteilen|ausrichten",
    "send": "schicken|senden|weiterleiten|geben|liefern|schreiben|adressieren|übergeben|zustellen",
    "do": "prüfen|öffnen|schließen|schicken|bestellen|löschen|ändern|finden|holen|bringen|reparieren|drucken"
    "|installieren|aktualisieren|freigeben|sperren|buchen|verschieben|absagen|anrufen|fragen|informieren"
    "|erinnern|einladen|unterschreiben|kopieren|speichern|suchen|testen|starten|beenden|einrichten|anmelden"
    "|abmelden|erreichen|bezahlen|kaufen|verkaufen|lesen|schreiben|sehen|nutzen|ersetzen|messen|planen"
    "|verlängern|beantragen|ausfüllen|übersetzen|zurückgeben|abholen|mitnehmen|erklären|herunterladen|hochladen"
    "|anschließen|arbeiten",
    "done": "{newdone}|{newdone}|{newdone}|{newdone}|{newdone}|{newdone}|{newdone}|{newdone}|{newdone}"
    "|{newdone}|geprüft|geöffnet|geschlossen|geschickt|bestellt|gelöscht|geändert|gefunden|geholt|gebracht"
    "|repariert|gedruckt|installiert|aktualisiert|freigegeben|gesperrt|gebucht|verschoben|abgesagt|angerufen"
    "|gefragt|informiert|erinnert|eingeladen|unterschrieben|kopiert|gespeichert|gesucht|getestet|gestartet"
    "|beendet|eingerichtet|angemeldet|abgemeldet|erreicht|bezahlt|gekauft|verkauft|gelesen|geschrieben|gesehen"
    "|genutzt|ersetzt|verloren|vergessen|geplant|verlängert|beantragt|ausgefüllt|übersetzt|gemeldet|abgeholt"
    "|mitgenommen|erklärt",
    "met": "getroffen|gesehen|angerufen|gefragt|eingeladen|gesucht|informiert|erreicht|gesprochen|angeschrieben"
    "|erwischt|befördert|vermisst",
    "talked": "gesprochen|telefoniert|geredet|gearbeitet|gegessen|geschrieben|verhandelt|gestritten|gechattet"
    "|gerechnet",
    "gotten": "bekommen|erhalten|gehört|geliehen|gekauft|übernommen|abgeholt",
    "verb1": "prüfe|öffne|schicke|bestelle|ändere|hole|bringe|brauche|suche|frage|rufe|sehe|treffe|nehme|nutze"
    "|lese|kenne|vermisse|mag|starte",
    "verb3": "prüft|öffnet|schickt|bestellt|ändert|holt|bringt|braucht|sucht|fragt|sieht|nimmt|nutzt|liest"
    "|kennt|hat|macht|zeigt|findet|bekommt|startet|verliert|vergisst|druckt|repariert|will|möchte|übernimmt"
    "|verlangt|benötigt|meldet|unterschreibt|versteht|bearbeitet|vertritt",
    "verbend": "kommt|zusagt|fragt|schreibt|Zeit hat|da ist|antwortet|zustimmt|es braucht|fertig ist|geht"
    "|Bescheid weiß|sich meldet|unterschreibt",
    "vi": "ruft an|kommt später|ist im Urlaub|antwortet nicht|hat angerufen|meldet sich nicht|weiß Bescheid"
    "|kommt nicht weiter|sagt nein|arbeitet hier|wartet schon|kann sich nicht anmelden|hat keinen Zugriff"
    "|hat Zugriff|braucht Hilfe|sitzt neben mir|ist neu|hilft Ihnen|hat gekündigt|fängt am {day} an"
    "|geht in Rente|war hier|weiß warum|lacht|möchte sprechen|hat zugesagt|hat es vergessen|fragt nach",
    "state": "da|weg|defekt|kaputt|langsam|leer|voll|gesperrt|offen|zu|neu|alt|falsch|richtig|fertig|bereit"
    "|krank|im Urlaub|zu Hause|im Büro|nicht da|nicht erreichbar|verschwunden|zu klein|zu groß|teuer|billig"
    "|laut|dunkel|schmutzig|abgelaufen|ungültig|möglich|nötig|wichtig|dringend|frei|besetzt|belegt|unterwegs"
    "|verspätet|ausgefallen|bestätigt|abgelehnt|geklärt|unklar|verloren|noch offen|zuständig|verantwortlich"
    "|müde|stumm",
    "adj": "{newadj}|{newadj}|{newadj}|{newadj}|{newadj}|{newadj}|neu|alt|groß|klein|gut|schlecht|schön|schnell"
    "|langsam|lang|kurz|rot|blau|grün|schwarz|weiß|leer|voll|schwer|leicht|laut|ruhig|wichtig|dringend|seltsam"
    "|günstig|einfach|schwierig|warm|kalt|offen|frei|früh|spät|ganz|letzt|nächst|erst|zweit|ander|eigen|richtig"
    "|falsch|aktuell",
    "N": "der {m}|die {f}|das {n}|ein {m}|eine {f}|ein {n}|mein {m}|meine {f}|mein {n}|unser {m}|unsere {f}"
    "|dieser {m}|diese {f}|jedes {n}|Ihr {m}|der {adj}e {m}|die {adj}e {f}|das {adj}e {n}|ein {adj}er {m}"
    "|eine {adj}e {f}|kein {m}|die {pl}|alle {pl}|{pl}|meine {pl}|das|es|nichts|alles|{mfn}",
    "A": "den {m}|die {f}|das {n}|einen {m}|eine {f}|ein {n}|meinen {m}|meine {f}|mein {n}|unseren {m}|Ihre {f}"
    "|diesen {m}|den {adj}en {m}|die {adj}e {f}|ein {adj}es {n}|keinen {m}|keine {f}|die {pl}|{number} {pl}"
    "|{pl}|es|das|etwas|nichts|{mfn}|den {m} und die {f}|seinen {m}|ihre {f}",
    "D": "dem {m}|der {f}|dem {n}|einem {m}|einer {f}|einem {n}|meinem {m}|meiner {f}|meinem {n}|unserem {m}"
    "|Ihrer {f}|diesem {n}|dem {adj}en {m}|der {adj}en {f}|den {pl}n|keinem {m}|{pl}n|seinem {n}|ihrem {m}",
    "mfn": "{m}|{f}|{n}|{pl}",
    "m": "{m0}|{m0}|{m0}|{part}~{m0}|{part}~{m0}|{newm}",
    "f": "{f0}|{f0}|{f0}|{part}~{f0}|{part}~{f0}|{newf}",
    "n": "{n0}|{n0}|{n0}|{part}~{n0}|{newm}",
    "pl": "{pl0}|{pl0}|{part}~{pl0}|{newf}n|{newm}e",
    "year": "1950|1987|1995|2003|2009|2014|2019|2023|2024|2025",
    "fw": "aber|auch|als|also|anders|außerdem|bald|bereits|besonders|bis|bisher|da|dabei|dadurch|dafür|dagegen"
    "|daher|dahin|damals|damit|danach|daneben|dann|daran|darauf|daraus|darin|darüber|darum|davon|davor|dazu"
    "|denn|dennoch|derzeit|deshalb|deswegen|dort|durch|eben|ebenfalls|ehemals|eher|eigentlich|einfach|einmal"
    "|einst|endlich|entlang|erneut|erst|etwa|etwas|fast|ferner|folglich|für|ganz|gar|gegen|gegenüber|genau|gern"
    "|gerne|gewesen|gleich|gut|halt|heute|hier|hiermit|hinter|hinzu|immer|immerhin|indem|innerhalb|insgesamt"
    "|inzwischen|ja|je|jedoch|jemals|jetzt|kaum|kurz|lange|leider|letztlich|mal|mehr|meist|meistens|mindestens"
    "|mitten|möglichst|nachdem|nachher|nahezu|nämlich|nicht|nie|niemals|nirgends|noch|nun|nur|ob|obwohl|oft"
    "|ohne|ohnehin|plötzlich|rein|rund|schließlich|schon|sehr|seitdem|selbst|selten|sicher|so|sobald|sofort"
    "|sogar|solange|solche|sondern|sonst|sowie|sowohl|stets|teils|trotzdem|über|überall|überhaupt|um|umso"
    "|unbedingt|und|ungefähr|unten|unter|viel|vielleicht|völlig|voran|vorbei|vorher|vorn|während|wann|warum"
    "|weil|weit|weiter|weiterhin|weniger|wenigstens|wenn|wieder|wie|wirklich|wo|wobei|wodurch|woher|wohin|wohl"
    "|womit|worauf|wurde|wurden|würde|zeitweise|ziemlich|zudem|zuerst|zufällig|zugleich|zuletzt|zumindest"
    "|zunächst|zurück|zusammen|zuvor|zwar|zwischen|hatte|hatten|hätte|waren|wäre|werden|worden|sein|haben"
    "|müssen|können|sollen|dürfen|wollte|sollte|konnte|musste|durfte|sei|bin|bist|seid|habt|sind|gibt|gab|kam"
    "|ging|stand|lag|blieb|ließ|kommen|gehen|stehen|bleiben|lassen",
    "part": "Arbeits|Dienst|Urlaubs|Netz|Bild|Reise|Kunden|Haus|Tages|Wochen|Monats|Jahres|Daten|Ausweis|Lager"
    "|Büro|Schul|Wasser|Strom|Auto|Bahn|Geschäfts|Personal|Abteilungs|Rechnungs|Vertrags|Steuer|Kranken|Unfall"
    "|Haupt|Neben|Fern|Not|Sonder|Ersatz|Probe|Zeit|Geld|Hand|Kopf|Druck|System|Telefon|Mail|Web|Online|Test"
    "|Team|Projekt|Betriebs|Sicherheits|Gesundheits|Wohnungs|Fahr|Spiel|Sport|Musik|Fest|Grund|Sammel",
    "m0": "Drucker|Rechner|Bildschirm|Ordner|Anhang|Antrag|Vertrag|Termin|Kalender|Raum|Schlüssel|Ausweis|Stuhl"
    "|Tisch|Aufzug|Anruf|Brief|Zettel|Plan|Preis|Server|Zugang|Zugriff|Fehler|Hinweis|Bericht|Urlaub|Tag|Abend"
    "|Morgen|Monat|Stock|Parkplatz|Kaffee|Tee|Kuchen|Film|Roman|Zug|Bus|Flug|Koffer|Mantel|Schuh|Hund|Baum"
    "|Garten|Fluss|See|Berg|Wald|Regen|Schnee|Wind|Himmel|Kopf|Arm|Fuß|Finger|Platz|Weg|Eingang|Ausgang|Stecker"
    "|Akku|Knopf|Link|Browser|Text|Satz|Name|Betrag|Rabatt|Kauf|Markt|Laden|Betrieb|Auftrag|Vorschlag|Grund"
    "|Zweck|Teil|Punkt|Schritt|Wert|Stand|Ton|Lüfter|Scanner|Beamer|Kurs|Test|Versuch|Umzug|Besuch|Beginn"
    "|Schluss|Wunsch|Rat|Ärger|Spaß|Stress|Lohn|Kredit|Verein|Sport|Ball|Sieg",
    "f0": "Rechnung|Bestellung|Lieferung|Meldung|Nachricht|Mail|Adresse|Nummer|Datei|Seite|Liste|Tabelle|Karte"
    "|Tür|Lampe|Tasche|Kiste|Straße|Stadt|Woche|Stunde|Minute|Uhr|Zeit|Pause|Besprechung|Sitzung|Schulung"
    "|Prüfung|Frage|Antwort|Lösung|Idee|Aufgabe|Anleitung|Einstellung|Verbindung|Leitung|Maus|Tastatur|Kamera"
    "|Taste|Software|Anwendung|Version|Lizenz|Sicherung|Störung|Wartung|Warnung|Änderung|Genehmigung|Anmeldung"
    "|Abteilung|Firma|Küche|Kantine|Werkstatt|Heizung|Wohnung|Miete|Versicherung|Bank|Steuer|Gebühr|Zahlung"
    "|Überweisung|Erstattung|Reise|Fahrt|Bahn|Schule|Sprache|Musik|Kunst|Natur|Sonne|Nacht|Luft|Hand|Stimme"
    "|Gesundheit|Arbeit|Ruhe|Hilfe|Freude|Sorge|Angst|Meinung|Mühe|Lust|Ahnung|Möglichkeit|Sicherheit|Freiheit"
    "|Wahrheit|Gesellschaft|Mannschaft|Situation|Funktion|Information|Reparatur|Garantie|Quittung|Unterschrift"
    "|Vollmacht|Kopie",
    "n0": "Passwort|Kennwort|Programm|Fenster|Gerät|Kabel|Telefon|Handy|Netz|Netzwerk|Konto|Büro|Haus|Zimmer"
    "|Lager|Formular|Dokument|Protokoll|Paket|Buch|Bild|Foto|Video|Spiel|Lied|Konzert|Fest|Essen|Wasser|Brot"
    "|Obst|Fleisch|Restaurant|Hotel|Auto|Fahrrad|Geld|Gehalt|Angebot|Projekt|Problem|Ergebnis|Ziel|Thema|Wort"
    "|Zeichen|Feld|Blatt|Papier|Postfach|Verzeichnis|Laufwerk|Update|System|Menü|Symbol|Zertifikat|Treffen|Ende"
    "|Jahr|Wetter|Land|Dorf|Tier|Kind|Herz|Auge|Ohr|Knie|Leben|Glück|Recht|Gesetz|Amt|Unternehmen|Gebäude|Dach"
    "|Schloss|Licht|Mikrofon|Headset|Team",
    "pl0": "Drucker|Rechner|Ordner|Termine|Anträge|Rechnungen|Bestellungen|Nachrichten|Mails|Dateien|Seiten"
    "|Karten|Schlüssel|Stühle|Tische|Kabel|Geräte|Fenster|Fragen|Antworten|Fehler|Daten|Zahlen|Namen|Preise"
    "|Kosten|Stunden|Tage|Wochen|Leute|Kinder|Bücher|Bilder|Filme|Spiele|Pakete|Briefe|Unterlagen|Einstellungen"
    "|Rechte|Regeln|Updates|Lizenzen|Verträge|Angebote|Projekte|Probleme|Aufgaben|Ideen|Zimmer|Räume|Schuhe"
    "|Blumen|Hunde|Katzen|Autos|Züge|Eltern|Ferien|Möbel|Medikamente|Grüße|Wünsche|Gründe|Punkte|Schritte|Werte"
    "|Getränke|Tomaten|Kartoffeln|Äpfel|Eier",
    "inaddress": "in der {address}|in der {address}|{amstreet}|{amstreet}",
}  # fmt: skip
