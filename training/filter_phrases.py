"""Sentences, names and illnesses from which the filter's taggers learn besides the generated help desk. All made up.

`{name}` and the like are places of what is marked; sentences without any teach what is not to be held back. Disjoint
from the names, streets, towns and illnesses of the help desk's clients, on which the filter is measured.
"""

from __future__ import annotations


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


ILLNESSES = _lines("""
    diabetes
    asthma
    high blood pressure
    breast cancer
    a heart attack
    multiple sclerosis
    arthritis
    a herniated disk
    an appendectomy
    panic attacks
    bipolar disorder
    schizophrenia
    hiv
    crohn's disease
    ulcerative colitis
    a concussion
    a torn ligament
    hip replacement
    tonsil removal
    infertility treatment
    alcoholism
    a hysterectomy
    prostate cancer
    leukaemia
    parkinson's
    dementia
    a kidney transplant
    pancreatitis
    sleep apnoea
    rheumatism
    a skin graft
    gastric bypass
    ankle surgery
    wrist surgery
    eye surgery
    jaw surgery
    a nervous breakdown
    adhd
    autism
    anorexia
    chronic fatigue
    lyme disease
    malaria
    a blood clot
    a gallstone operation
    physiotherapy
    drug rehabilitation
    a premature birth
    a tumour
    radiation treatment
    a sprained knee
    a broken leg
    a fractured rib
    a hernia operation
""")
KRANKHEITEN = _lines("""
    Diabetes
    Asthma
    Bluthochdruck
    Brustkrebs
    einem Herzinfarkt
    Multipler Sklerose
    Arthrose
    einer Blinddarmoperation
    Panikattacken
    Schizophrenie
    HIV
    Morbus Crohn
    einer Gehirnerschütterung
    einem Bänderriss
    Kreuzbandriss
    einer Hüftoperation
    Alkoholsucht
    Leukämie
    Parkinson
    Demenz
    einer Nierentransplantation
    Rheuma
    einer Augenoperation
    ADHS
    Magersucht
    Borreliose
    einer Thrombose
    Physiotherapie
    einer Frühgeburt
    einem Tumor
    Strahlentherapie
    einem Beinbruch
    einer Leistenoperation
    einer Mandelentzündung
""")

ENGLISH = _lines("""
    my name is {name}
    my name is {name} and I need help with the printer
    hi, {name} here
    hi, {first} here, the mail is slow
    hello {name}, did you see my message?
    hi {first}, thanks for the quick answer
    dear {name}, please find the list below
    this is {name} speaking
    I am {name}
    i'm {name}, we spoke last week
    please ask {name} about it
    {name} told me to write to you
    {first} said it works for him
    {first} and {first} have the same problem
    can you give {name} access to the folder?
    the order is under {name}
    book it for {name} please
    make it out to {name}
    it belongs to {name} in the other office
    you can reach {name} at {phone}
    call {first} on {phone}
    my boss {name} wants it today
    my wife {first} will pick it up
    my son {first} is ill
    my daughter is called {first}
    I met {name} at lunch
    is {first} in today?
    I work with {first} and {name}
    send the report to {name} and to me
    the meeting with {first} was moved
    mr {last} will call you back
    mrs {last} is on leave
    ask dr {last} for the note
    regards, {name}
    best, {first}
    thanks {first}
    cheers
    {first}
    {name}
    it is {name}, {phone}
    I share a desk with {name}
    {name} has left the company
    please remove {name} from the list
    who is {name}?
    {first} is my manager
    {first}'s laptop is broken
    I forgot {first}'s birthday
    yes, {name}, that is right
    my full name is {name}, born in may
    the account of {name} is locked
    send it to {address}
    I live at {address}
    my address is {address}
    the new address is {address}, from june on
    can the parcel go to {address}?
    pick me up at {address} at nine
    we moved to {address} last month
    deliver to {address} please
    I was diagnosed with {health}
    I have {health}
    I am off sick with {health}
    since my {health} I cannot lift anything
    because of {health} I work from home
    I was in hospital for {health}
    it is {health} {dates}
    it is about {health} {dates}
    I need leave because of {health} {dates}
    I had {health} {dates}
    {health} {dates}, please keep that to yourself
    he suffers from {health}
    my doctor says it is {health}
    I am recovering from {health}
    after {health} {dates} I come back half days
    the bill is for {health}
    my password is {password}
    the password is {password}
    i typed {password} and it was refused
    try {password} as the password
    my old password was {password}, the new one is longer
    login is admin, password {password}
    use {password} to get in
    can you set it to {password}?
    I wrote {password} on a note
    my name is on the list
    my name is spelt wrong there
    this is urgent
    this is the third time today
    here is the list that you asked for
    here we go again
    I am tired of this
    I am in the office today
    I am new here
    i'm afraid it does not work
    i'm looking for a good book
    I am not sure what to do
    my password is not accepted
    the password is wrong
    my password was refused twice
    what is a good password?
    I forgot my password again
    please ask them about it
    they told me to write to you
    can you give us access to the folder?
    I live at the end of the line
    I live near the station
    send it to the office
    send it to me please
    the new address is not in the system
    I have a question about the movie
    I have no idea
    I have two tickets for the show
    I have a meeting at nine
    because of the rain I work from home
    I was in town for the concert
    the bill is for the hotel
    do you like to read?
    did you know that trees can talk to each other?
    yes, that is true. I read that the sun is a star
    who is your favourite actor?
    I would like a table for two people please
    do you follow football? I think the game was great
    what kind of music do you like?
    that is interesting, I had not heard of that
    regards
    best wishes
    thanks a lot
    hi there
    hello, how are you today?
    dear all, please find the list below
    ask the team for the note
    my boss wants it today
    my wife will pick it up
    my daughter is at school
    is anybody in today?
    the meeting was moved to friday
    it belongs to the other office
    the doctor is on leave
    use the other door to get in
    the order is under way
    is there a direct flight in the morning?
    please book it for two nights
    it is about the invoice
    it is a nice place with good food
""")

GERMAN = _lines("""
    mein Name ist {name}
    ich heiße {name} und brauche Hilfe mit dem Drucker
    hallo, hier ist {name}
    hier spricht {name}
    {name} hier, der Rechner startet nicht
    guten Tag, ich bin {name} aus der Buchhaltung
    ich bin {name}
    ich bin {name}, wir haben letzte Woche gesprochen
    hallo {first}, danke für die schnelle Antwort
    liebe {first}, kannst du das bitte ansehen?
    sehr geehrter Herr {last}, vielen Dank
    sehr geehrte Frau {last}
    Herr {last} ruft Sie zurück
    Frau {last} ist im Urlaub
    bitte fragen Sie {name}
    {name} hat mir gesagt, ich soll schreiben
    {first} sagt, bei ihm geht es
    {first} und {first} haben das gleiche Problem
    können Sie {name} den Ordner freigeben?
    die Bestellung läuft auf {name}
    buchen Sie es bitte für {name}
    mein Chef {name} braucht das heute
    meine Frau {first} holt es ab
    mein Sohn {first} ist krank
    meine Tochter heißt {first}
    ich habe {name} in der Kantine getroffen
    ist {first} heute da?
    ich arbeite mit {first} und {name} zusammen
    das Konto von {name} ist gesperrt
    bitte nehmen Sie {name} von der Liste
    wer ist {name}?
    mit freundlichen Grüßen, {name}
    viele Grüße {first}
    Gruß, {name}
    danke {first}
    {name}
    {first}
    Sie erreichen {name} unter {phone}
    ruf {first} an, {phone}
    schicken Sie es an die {address}
    ich wohne in der {address}
    meine Adresse ist {address}
    die neue Anschrift lautet {address}
    wir sind in die {address} gezogen
    kann das Paket in die {address}?
    bei mir wurde {health} festgestellt
    ich leide an {health}
    ich bin wegen {health} krankgeschrieben
    seit {health} kann ich nichts heben
    ich war wegen {health} im Krankenhaus
    es geht um {health} {dates}
    ich brauche Urlaub wegen {health} {dates}
    mein Arzt sagt, es ist {health}
    ich erhole mich von {health}
    nach {health} {dates} arbeite ich halbe Tage
    die Rechnung ist für die Behandlung von {health}
    mein Passwort ist {password}
    das Passwort lautet {password}
    ich habe {password} eingegeben und es wurde abgelehnt
    probieren Sie {password} als Kennwort
    mein altes Passwort war {password}
    können Sie es auf {password} setzen?
    Benutzer admin, Kennwort {password}
    mein Name steht auf der Liste
    mein Name ist falsch geschrieben
    das ist dringend
    hier ist die Liste, die Sie wollten
    hier geht nichts mehr
    ich bin müde
    ich bin heute im Büro
    ich bin neu hier
    ich bin mir nicht sicher, was ich tun soll
    mein Passwort wird nicht angenommen
    das Passwort ist falsch
    mein Passwort ist abgelaufen
    ich habe mein Passwort vergessen
    bitte fragen Sie die Kollegen
    können Sie uns den Ordner freigeben?
    ich wohne in der Nähe vom Bahnhof
    schicken Sie es bitte ins Büro
    die neue Anschrift steht noch nicht im System
    ich habe eine Frage zum Urlaub
    ich habe keine Ahnung
    ich habe um neun eine Besprechung
    wegen des Regens arbeite ich von zu Hause
    wegen der Umstellung geht der Drucker nicht
    die Rechnung ist für das Hotel
    mit freundlichen Grüßen
    viele Grüße
    vielen Dank für die schnelle Hilfe
    hallo zusammen, der Drucker im zweiten Stock druckt nicht
    guten Tag, mein Rechner startet seit heute Morgen nicht mehr
    können Sie mir helfen?
    starten Sie den Rechner bitte neu und melden Sie sich wieder an
    haben Sie das Kabel geprüft?
    das VPN trennt sich alle paar Minuten
    ich kann keine Mails mehr senden
    die Besprechung wurde auf Freitag verschoben
    der Bildschirm bleibt schwarz
    welche Meldung sehen Sie?
    danke, jetzt geht es wieder
    bitte öffnen Sie die Einstellungen und wählen Sie Netzwerk
    es geht um die Reisekosten vom März
    mein Chef braucht das heute
    meine Frau holt es ab
    meine Tochter geht zur Schule
    ist heute jemand da?
    der Herr vom Empfang hat angerufen
    die Frau am Schalter war sehr nett
    Liebe Kolleginnen und Kollegen, bitte beachten Sie die neue Regel
    das Treffen ist im großen Saal
    wo finde ich das Formular für den Antrag?
    wie lange dauert das ungefähr?
    der Termin ist am Montag um zehn
    das Update lässt sich nicht installieren
    ich möchte einen Tisch für zwei Personen
    magst du Musik?
    die Lampe am Gerät blinkt rot
""")

VORNAMEN = """Alexander Andreas Anja Anke Anneliese Annette Antje Armin Axel Bernd Bettina Birgit Björn Brigitte Carsten
    Christa Christian Christoph Cornelia Daniela Detlef Dieter Dirk Doris Eberhard Elfriede Elke Erika Ernst Eva
    Florian Franziska Friedrich Gabriele Georg Gerd Gerhard Gisela Gudrun Günter Hannelore Hans Harald Heike
    Heinrich Heinz Helga Helmut Herbert Hermann Holger Horst Ilse Inge Jan Jens Joachim Jochen Johannes Jörg
    Jürgen Jutta Karin Karsten Kathrin Katja Kerstin Klaus Kurt Lisa Ludwig Lukas Manfred Manuela Marion Markus
    Marlies Martina Matthias Melanie Michaela Monika Nadine Nicole Norbert Peter Petra Rainer Ralf Regina
    Reinhard Renate Rolf Rüdiger Sabrina Sebastian Siegfried Silke Simone Stefan Steffen Susanne Sven Tanja
    Thomas Thorsten Torsten Udo Ulrich Ursula Ute Uwe Volker Walter Werner Wilhelm Wolfgang Ayşe Emre Fatma
    Mustafa Zeynep Agnieszka Krzysztof Dragan Goran Ivana""".split()
NACHNAMEN = """Müller Schmidt Schneider Fischer Weber Meyer Wagner Becker Schulz Hoffmann Schäfer Koch Bauer Richter
    Klein Wolf
    Schröder Neumann Schwarz Zimmermann Braun Krüger Hofmann Hartmann Lange Schmitt Werner Krause Meier Lehmann
    Schmid Schulze Maier Köhler Herrmann König Walter Mayer Huber Kaiser Fuchs Peters Lang Scholz Möller Weiß
    Jung Hahn Schubert Vogel Friedrich Keller Günther Frank Berger Winkler Roth Beck Lorenz Baumann Franke
    Albrecht Schuster Simon Ludwig Böhm Winter Kraus Martin Schumacher Krämer Vogt Stein Jäger Otto Sommer Groß
    Seidel Heinrich Brandt Haas Schreiber Graf Schulte Dietrich Ziegler Kuhn Kühn Pohl Engel Horn Busch Bergmann
    Yılmaz Kaya Demir Kowalski Nowak Petrović""".split()
STRASSEN = """Bahnhof Haupt Garten Schul Dorf Berg Linden Kirch Wald Ring Amsel Birken Rosen Goethe Schiller Mozart
    Beethoven
    Mühlen Wiesen Tannen Buchen Eichen Feld Brunnen Post Markt Burg Schloss Ufer Hafen""".split()
STAEDTE = """Berlin Hamburg München Köln Frankfurt Stuttgart Düsseldorf Leipzig Dortmund Essen Bremen Dresden Hannover
    Nürnberg Duisburg Bochum Wuppertal Bielefeld Bonn Münster Karlsruhe Mannheim Augsburg Wiesbaden""".split()
