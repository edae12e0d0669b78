#!/usr/bin/env python3
"""storygen.py - writes the text that the embedded model is trained on.

Short stories for children, and conversations about them, from a grammar written for rill. The same
(seed, index) gives the same document on every machine: random numbers are counter based, and
nothing but the standard library is used. No text of anybody else's is read.

    storygen.py --stories 5              five raw stories, one per paragraph
    storygen.py --chats 5                five conversations, one JSON line each
    storygen.py --split heldout ...      from the indices that training never sees

A document is ("story", text) or ("chat", [{"role", "content"}, ...]).
"""

import argparse
import json
import re
import sys

MASK = (1 << 64) - 1
HELDOUT = 1 << 40      # documents of the held-out split are numbered from here


class Rng:
    """splitmix64 over a counter: the n-th draw depends on (seed, index, n) only."""

    def __init__(self, seed, index):
        self.key = self.mix(self.mix(seed & MASK) ^ (index & MASK))
        self.n = 0

    @staticmethod
    def mix(z):
        z = (z + 0x9E3779B97F4A7C15) & MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        return z ^ (z >> 31)

    def below(self, n):
        self.n += 1
        return self.mix((self.key + self.n * 0xD1342543DE82EF95) & MASK) % n

    def chance(self, percent):
        return self.below(100) < percent

    def pick(self, items):
        return items[self.below(len(items))]

    def some(self, items, k):
        """k different items, in random order."""
        items = list(items)
        return [items.pop(self.below(len(items))) for _ in range(k)]


# The world: who lives where, and what there is. --------------------------------------------------

GIRLS = """Rosa Lily Mia Anna Nora Ella Lucy Ruby Daisy Molly Clara Emma Sara Zoe Ivy Tilly Bella Nina
Luna Poppy Hazel Maya Olive Penny Wendy Greta Holly Kiki Lola Pia Alice Grace Amy Jane Ada Eva""".split()
BOYS = """Tom Ben Max Sam Leo Finn Tim Jack Oscar Otto Hugo Felix Pip Milo Theo Bruno Toby Oliver Charlie
Henry Jasper Rusty Barney Gus Walter Emil Noah Paul Robin Peter Bob Bill Dan Nick Ted Fred""".split()
SYLLABLES = """ba be bi bo da de di do fa fi ga go ka ki ko la le li lo ma me mi mo na ne ni no pa pe pi po
ra re ri ro sa se si so ta te ti to va vi wa wi za zo bra fla gri klo mar nel pol ran tis vel zan""".split()

# biome: (in it, who lives there, places as (preposition, noun), things one loves to do there)
BIOMES = {
    "forest": (["in a green forest", "in a quiet forest", "in the big forest", "in an old forest"],
               "fox rabbit bear squirrel hedgehog owl deer badger mouse mole raccoon wolf bee girl boy".split(),
               [("under", "the old oak tree"), ("behind", "the big rock"), ("near", "the stream"),
                ("inside", "a hollow log"), ("beside", "the berry bush"), ("in", "the tall grass"),
                ("on top of", "the little hill"), ("at", "the edge of the forest"),
                ("inside", "a small cave"), ("under", "the wooden bridge")],
               ["pick berries", "climb the hill", "listen to the birds", "jump over logs",
                "play in the leaves", "look for mushrooms"]),
    "farm": (["on a small farm", "on a sunny farm", "on an old farm", "on a farm near the hills"],
             "cat dog goat lamb pony duck mouse pig donkey cow horse sheep chicken goose girl boy".split(),
             [("behind", "the red barn"), ("under", "the hay"), ("beside", "the well"),
              ("in", "the vegetable garden"), ("near", "the gate"), ("under", "the old cart"),
              ("next to", "the pond"), ("inside", "the stable"), ("under", "the apple tree"),
              ("behind", "the stone wall")],
             ["run across the fields", "roll in the hay", "chase butterflies", "smell the flowers",
              "sit in the sun", "watch the clouds"]),
    "pond": (["by a quiet pond", "by a blue lake", "by a wide river", "near a little pond"],
             "frog duck otter beaver turtle swan rat heron fish snail girl boy".split(),
             [("among", "the reeds"), ("beside", "the water lilies"), ("under", "the little bridge"),
              ("on", "the muddy bank"), ("behind", "the willow tree"), ("under", "a flat stone"),
              ("inside", "an old boat"), ("near", "the waterfall"), ("on", "the small island"),
              ("behind", "the tall ferns")],
             ["splash in the water", "float on the waves", "jump from stone to stone",
              "look at the fish", "sail little boats", "sing in the evening"]),
    "village": (["in a little village", "in a busy town", "in a small village", "in a village on a hill"],
                "cat dog mouse robot pigeon rabbit kitten puppy bird hamster girl boy".split(),
                [("under", "the bench in the park"), ("behind", "the bakery"), ("near", "the fountain"),
                 ("at", "the market"), ("under", "the stone bridge"), ("behind", "the school"),
                 ("in", "the garden"), ("on top of", "the roof"), ("inside", "the toy shop"),
                 ("beside", "the clock tower")],
                ["play in the park", "draw pictures", "walk along the streets", "ride the swing",
                 "visit the bakery", "feed the birds"]),
    "sea": (["in a house by the sea", "in a bay by the sea", "on a small island", "near a sandy beach"],
            "crab seal turtle penguin otter dolphin gull whale girl boy".split(),
            [("on", "the beach"), ("behind", "the dunes"), ("near", "the lighthouse"),
             ("inside", "a small boat"), ("under", "the pier"), ("among", "the rocks"),
             ("beside", "the tide pool"), ("inside", "a big shell"), ("under", "the palm tree"),
             ("inside", "the sea cave")],
            ["collect shells", "build castles of sand", "play in the waves", "watch the ships",
             "dig in the sand", "listen to the sea"]),
    "mountain": (["on a high mountain", "on a snowy mountain", "in a valley in the mountains", "on a cold mountain"],
                 "goat bear wolf dragon fox rabbit eagle giant girl boy".split(),
                 [("inside", "a dark cave"), ("behind", "a tall pine tree"), ("in", "the deep snow"),
                  ("near", "the frozen lake"), ("on top of", "the high rock"), ("under", "the rope bridge"),
                  ("beside", "the mountain stream"), ("behind", "the wooden hut"), ("in", "the valley"),
                  ("at", "the foot of the mountain")],
                 ["slide down the snow", "climb the rocks", "look at the stars", "shout and hear the echo",
                  "run down the path", "make snowballs"]),
    "jungle": (["in a warm jungle", "in a green jungle", "in the deep jungle", "in a jungle far away"],
               "monkey elephant lion tiger parrot turtle zebra giraffe snake panda hippo girl boy".split(),
               [("under", "the banana tree"), ("behind", "the waterfall"), ("near", "the river"),
                ("among", "the big leaves"), ("on top of", "the tall tree"), ("inside", "the old temple"),
                ("beside", "the mud pool"), ("under", "the thick vines"), ("behind", "the green bush"),
                ("near", "the water hole")],
               ["swing from tree to tree", "look for bananas", "swim in the river", "listen to the rain",
                "hide among the leaves", "dance in the rain"]),
}
KINDS = {k for b in BIOMES.values() for k in b[1]} - {"girl", "boy"}
RARE = """knight wizard dinosaur ghost fairy king queen princess prince pirate kangaroo koala camel worm butterfly spider
bat ant lizard octopus witch pig doll farmer baker teacher toad crocodile""".split()      # may be anywhere, as heroes
GIRL_KINDS, BOY_KINDS = {"girl", "queen", "princess", "witch"}, {"boy", "king", "prince"}
TRAITS = "little small young kind curious shy clever brave cheerful gentle playful quiet happy friendly".split()
COLORS = "red blue yellow green white orange purple golden silver brown".split()
TOYS = """ball kite hat scarf bell drum boat blanket book button lantern whistle balloon basket
ribbon cup umbrella flute top bag""".split()
FOODS = """apples berries bread cheese cake carrots nuts pie soup pancakes cookies plums pears honey
bananas cherries""".split()
MORNINGS = ["One sunny morning", "One day", "One bright day", "One morning", "One windy day", "One warm afternoon",
            "One cold morning", "One spring day", "One fine day", "One summer day", "One autumn day"]


def toy(r):
    return r.pick(COLORS) + " " + r.pick(TOYS)


class Being:
    """A character. Name and gender go together, so that pronouns stay right."""

    def __init__(self, name, girl, kind):
        self.name, self.girl, self.kind = name, girl, kind


def new_name(r, girl, odd=12):
    if r.chance(odd):           # names that exist nowhere teach the model to copy, not to remember
        s = "".join(r.pick(SYLLABLES) for _ in range(1 + r.below(2))) + r.pick("l n m r t".split())
        return (s + ("a" if girl else "o")).capitalize()
    return r.pick(GIRLS if girl else BOYS)


class Story:
    """Grows sentence by sentence; keeps the facts that questions can be asked about."""

    def __init__(self, r, avoid=()):
        self.r = r
        self.v = {}                 # what {names} in templates stand for
        self.text = []              # sentences or groups of them
        self.facts = []             # (question, answer), templates
        self.after = []             # what happened next, templates
        kind = r.pick(RARE) if r.chance(9) else new_name(r, r.chance(50), 100).lower() if r.chance(3) else None
        biomes = [b for b in BIOMES if kind in BIOMES[b][1]] or list(BIOMES)
        self.biome = r.pick(biomes)
        b = BIOMES[self.biome]
        self.v["home"] = r.pick(b[0])
        self.v["love"], self.v["love2"] = r.some(b[3], 2)
        for i, (prep, noun) in enumerate(r.some(b[2], 6)):
            self.v["P%d" % i], self.v["N%d" % i] = prep + " " + noun, noun
        names, kinds = set(), list(b[1])
        for tag in "XYZ":
            k = kind if kind and tag == "X" else r.pick(kinds)
            if tag == "X":
                kinds = [o for o in kinds if o not in ("girl", "boy")]
            kinds = [o for o in kinds if o != k]
            girl = k in GIRL_KINDS or (k not in BOY_KINDS and r.chance(50))
            name = new_name(r, girl)
            while name in names or name in avoid:
                name = new_name(r, girl)
            names.add(name)
            self.cast(tag, Being(name, girl, k))
        adj = r.pick(TRAITS)
        self.v["Xadj"], self.v["Yadj"] = adj, r.pick([t for t in TRAITS if t != adj])
        self.v["O"] = toy(r)
        self.v["F"] = r.pick(FOODS)
        self.v["day"] = r.pick(MORNINGS)
        self.v["kin"] = r.pick(["mother", "father", "grandmother", "grandfather"])
        she = self.v["kin"] in ("mother", "grandmother")
        self.v["khe"], self.v["kHe"] = ("she", "She") if she else ("he", "He")
        self.v["khim"], self.v["khis"] = ("her", "her") if she else ("him", "his")

    def cast(self, tag, b):
        g = b.girl
        self.v.update({tag: b.name, tag + "k": b.kind, tag + "he": "she" if g else "he",
                       tag + "He": "She" if g else "He", tag + "him": "her" if g else "him",
                       tag + "his": "her" if g else "his", tag + "His": "Her" if g else "His"})
        setattr(self, tag, b)

    def fill(self, t):
        return expand(self.r, t, self.v)

    def say(self, *templates):
        for t in templates:
            s = self.fill(t)
            if s:
                self.text.append(s)

    def maybe(self, percent, *templates):
        if self.r.chance(percent):
            self.say(*templates)

    def fact(self, q, a):
        self.facts.append((q, a))

    def sentences(self):
        return split_sentences(" ".join(self.text))


CHOICE = re.compile(r"\[([^\[\]]*)\]")
SLOT = re.compile(r"\{(\w+)\}")
ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])")


def expand(r, t, v):
    """[a|b] is a choice, {x} a value; then articles and capitals are put right."""
    while True:
        t, n = CHOICE.subn(lambda m: r.pick(m.group(1).split("|")), t)
        if not n:
            break
    while True:
        t, n = SLOT.subn(lambda m: v[m.group(1)], t)
        if not n:
            break
    t = ARTICLE.sub(r"\1n ", re.sub(r"  +", " ", t).strip())
    t = re.sub(r'^("?)([a-z])', lambda m: m.group(1) + m.group(2).upper(), t)
    return re.sub(r'([.!?] "?|\." )([a-z])', lambda m: m.group(1) + m.group(2).upper(), t)


def split_sentences(text):
    """Cuts after . ! ? and their closing quote, where a capital begins something new."""
    parts, at, quoted = [], 0, False
    for i, c in enumerate(text):
        if c == '"':
            quoted = not quoted
        if c == " " and not quoted and text[i - 1] in '.!?"' and (i + 1 == len(text) or text[i + 1] in
                '"ABCDEFGHIJKLMNOPQRSTUVWXYZ') and (text[i - 1] != '"' or text[i - 2] == "."):
            parts.append(text[at:i])
            at = i + 1
    return parts + [text[at:]]


# Pieces that every plot uses. --------------------------------------------------------------------

def intro(s):
    who = "{Xadj} {Xk}"
    if s.r.chance(6):
        s.say("{day}, a " + who + " [named|called] {X} [went for a walk|woke up early|looked out of the window|sat in front of the house]."
              " {XHe} lived {home}.")
        s.v["day"] = s.r.pick(["Later that day", "That day", "That afternoon", "A little later"])
        return
    s.say("[Once upon a time|Once upon a time|Once upon a time|Once upon a time|Long ago|Once], there [was|lived] a "
          + who + " [named|named|called] {X}. [{XHe}|{XHe}|{X}] lived {home}."
          if s.r.chance(45) else
          "[Once upon a time|Once upon a time], {home}, there lived a " + who + " [named|called] {X}."
          if s.r.chance(40) else
          "[{X} was a " + who + " who lived {home}.|{home} there lived a " + who + " named {X}."
          "|There was once a " + who + " [named|called] {X}. {XHe} lived {home}."
          "|A " + who + " [named|called] {X} lived {home}.]")
    s.maybe(60, "[{XHe} loved to {love}.|{X} loved to {love} [and to {love2}|all day long|every day]."
            "|Every day {Xhe} liked to {love}.|Most of all, {Xhe} loved to {love}.|{XHe} liked to {love} with {Xhis} friends.]")
    s.fact("[Who was the story about?|Who is the story about?|What was the name of the {Xk}?|What was the {Xk} called?]",
           "[The story was about a {Xk} named {X}.|The {Xk} was named {X}.|{XHis} name was {X}.]")
    s.fact("Where did {X} live?", "[{X}|{XHe}] lived {home}.")
    if s.X.kind in KINDS:
        s.fact("[What kind of animal was {X}?|What was {X}?]" if s.X.kind not in ("robot", "dragon", "giant") else "What was {X}?",
               "{X} was a {Xk}.")


def moral(s, *lessons):
    lesson = s.r.pick(lessons)
    s.v["lesson"] = lesson
    s.say("[From that day on, {X} knew that {lesson}.|{X} had learned that {lesson}.|And {X} never forgot that {lesson}."
          "|That day {X} learned that {lesson}.|Now {Xhe} knew that {lesson}.]")
    s.fact("[What did {X} learn?|What did {X} learn in the story?|What is the lesson of the story?]", "{X} learned that {lesson}.")


def ending(s):
    s.maybe(45, "[They lived happily ever after.|That night {Xhe} slept very well.|And they were friends forever."
            "|{X} went to bed with a [big|happy] smile.|And so the day ended happily.|It was the best day of all."
            "|The end.]")


def happy_next(s):
    s.after += ["The next day, {X} and {Y} met again {P5}. They [played|laughed and played] together until the sun went down. "
                "[Then they went home and dreamed of new adventures.|{X} was [very |]happy to have such a good friend.]",
                "After that, {X} and {Y} [often visited each other|saw each other every day]. [One day they found a {O} {P4} and shared it|"
                "They liked to {love} together], and they were never lonely.",
                "The next morning, {X} took some {F} to {Y}. {Y} said, \"Thank you, {X}! You are a good friend.\" "
                "Then they sat {P5} and ate together."]


def meet(s, tag):
    """How a friend comes into the story."""
    t = tag
    return ("[{%s} the {%sk}|{Xhis} friend {%s} the {%sk}|a {%sk} named {%s}]" % (t, t, t, t, t, t))


# Plots. Each writes the middle and the end; the facts it notes are those its sentences tell. -------

def plot_lost(s):
    s.say("[{XHe} had a {O} that {Xhe} loved very much.|{X} had a beautiful {O}. It was a gift from {Xhis} {kin}."
          "|{XHis} favorite thing was a {O}.|{X} took {Xhis} {O} everywhere.]")
    s.say("{day}, {X} [went to play|was playing] {P0}. [When {Xhe} wanted to go home|After a while|Suddenly], the {O} was gone!")
    s.say("[\"Oh no! Where is my {O}?\" {X} cried.|\"Oh no!\" said {X}. \"I lost my {O}!\"|{X} began to cry. \"Where is my {O}?\" {Xhe} said."
          "|{X} was very sad and sat down on the ground.]")
    s.fact("[What did {X} lose?|What was lost?]", "{X} lost {Xhis} {O}.")
    s.fact("[Why was {X} sad?|Why did {X} cry?|Why was {X} unhappy?]", "{X} was sad because {Xhe} lost {Xhis} {O}.")
    s.say("[{XHe} looked {P1}, but it was not there.|First {Xhe} looked {P1}. It was not there.|{X} searched {P1}, but found only [a leaf|a stone|an old shoe].]")
    s.maybe(50, "[Then {Xhe} looked {P2}, but there was nothing.|Then {Xhe} searched {P2}. There was no {O} there.|{XHe} looked {P2} too, but could not see it.]")
    s.say("[Then|Soon|Just then] " + meet(s, "Y") + " came by. [\"Why are you sad?\" asked {Y}.|\"What is wrong, {X}?\" asked {Y}.|{Y} asked, \"Can I help you?\"]")
    s.say("[\"I lost my {O},\" said {X}. \"I cannot find it.\"|\"My {O} is gone,\" {X} said.|{X} told {Y} about the {O}.]")
    s.say("[\"Do not worry,\" said {Y}. \"We will look for it together.\"|\"Let us look together!\" said {Y}.|\"I will help you,\" said {Y}. \"Two can see more than one.\"]")
    s.say("[They looked and looked.|They walked along the path and looked everywhere.|Together they looked high and low.] "
          "[At last {Y} looked {P3}, and there was the {O}!|Then {X} saw something {P3}. It was the {O}!|Finally they found the {O} {P3}!|\"Look!\" said {Y}. There was the {O}, {P3}!]")
    s.fact("[Where did [they|{X}] find the {O}?|Where was the {O}?]", "[They found it|The {O} was] {P3}.")
    s.fact("Who helped {X}[| find the {O}]?", "{Y} the {Yk} helped {Xhim}.")
    s.say("[{X} was so happy that {Xhe} danced.|{X} hugged {Y}. \"Thank you!\" {Xhe} said.|\"Thank you, {Y}!\" said {X} with a big smile.|{X} jumped for joy and thanked {Xhis} friend.]")
    s.maybe(50, "[Then they played with the {O} together until evening.|They played together all afternoon.|{X} let {Y} play with the {O} too.]")
    moral(s, "a good friend always helps", "it is good to ask for help", "one should never give up", "looking together is better than looking alone", "one should take good care of things")


FEARS = [
    ("the dark", "When the sun went down, {Xhe} always hid under the blanket.",
     "One night the lamp went out, and everything was black.",
     "\"The dark is only the day asleep,\" said {Y}. \"Look up, and you will see the stars.\"",
     "{X} [slowly opened {Xhis} eyes|took a deep breath] and looked up. The stars were shining like little lamps.",
     "\"The dark is beautiful!\" said {X}.", "the dark can be beautiful"),
    ("the water", "{XHe} never went near it, not even on hot days.",
     "One hot day all {Xhis} friends went swimming, and {X} sat alone.",
     "\"Put one foot in first,\" said {Y}. \"I will stay next to you.\"",
     "{X} put in one foot, and then the other. The water was cool and soft. Soon {Xhe} was splashing and laughing.",
     "\"I can swim!\" cried {X}.", "small steps can lead to big things"),
    ("thunder", "When the clouds were gray, {Xhe} ran home and hid.",
     "One evening there was a big storm. Boom! went the thunder, and {X} began to shake.",
     "\"It is only the clouds playing the drums,\" said {Y}. \"Let us play with them!\"",
     "They took a pot and a spoon. Each time the thunder said boom, {X} said boom too. Soon {Xhe} was laughing.",
     "\"The storm is a song!\" said {X}.", "loud things are not always bad"),
    ("high places", "{XHe} never climbed anything, and {Xhe} always stayed on the ground.",
     "One day the {O} of {Xhis} friend {Y} was stuck high above {N1}.",
     "\"Do not look down,\" said {Y}. \"Take one step, and then one more.\"",
     "{X} climbed up, step by step. At the top {Xhe} took the {O}. From there {Xhe} could see the whole world.",
     "\"How wonderful it is up here!\" said {X}.", "one can do more than one thinks"),
    ("singing in front of others", "{XHe} only sang when nobody was near.",
     "One day there was a big party, and everyone wanted to hear a song from {X}.",
     "\"Look only at me,\" said {Y}. \"Sing as if we were alone.\"",
     "{X} looked at {Y} and began to sing very softly. Then {Xhe} sang louder and louder. Everyone clapped.",
     "\"That was fun!\" said {X}.", "a friend can make us brave"),
    ("the cold wind", "{XHe} stayed at home when the trees were moving.",
     "One day the wind was blowing, and all the others were flying kites {P1}.",
     "\"The wind only wants to play,\" said {Y}. \"Hold this kite with me.\"",
     "{X} held the string. The kite went up and up, and the wind carried it high into the sky.",
     "\"The wind is my friend now!\" said {X}.", "new things can be fun"),
]


def plot_fear(s, which=None):
    fear, habit, event, advice, act, cry, lesson = which or s.r.pick(FEARS)
    s.v["fear"] = fear
    s.say("[But {X} was afraid of {fear}.|There was only one thing that {Xhe} did not like: {Xhe} was afraid of {fear}.|{X} had a secret. {XHe} was afraid of {fear}.]")
    s.say(habit)
    s.fact("[What was {X} afraid of?|What did {X} fear?]", "{X} was afraid of {fear}.")
    s.say(event)
    s.say("[\"I am so scared,\" {Xhe} said.|{X} wanted to run away.|{XHis} heart went thump, thump.|\"I cannot do it,\" said {X}.]")
    if "{Y}" in event:
        s.say("[{Y} the {Yk} came to {Xhim} and smiled.|Then {Y} the {Yk} took {Xhim} by the side.]")
    else:
        s.say("[Then|Just then] " + meet(s, "Y") + " came [to {Xhim}|along]. [\"Are you afraid?\" asked {Y}.|\"I know what to do,\" said {Y}.|{Y} saw that {X} was afraid.]")
    s.say(advice, act, cry)
    s.fact("[Who helped {X}?|Who was with {X}?|Who made {X} brave?]", "{Y} the {Yk} helped {Xhim}.")
    s.say("[{Y} was proud of {Xhim}.|{Y} smiled. \"I knew you could do it,\" {Yhe} said.|\"You are very brave,\" said {Y}.]")
    s.maybe(70, "[After that, {X} was not afraid anymore.|From then on, {X} was not afraid of {fear}.|And {X} was never so scared again.]")
    s.fact("[Was {X} still afraid at the end?|Is {X} still afraid?]", "No, {X} was not afraid [anymore|of {fear} anymore].")
    moral(s, lesson, "it is brave to try", "a good friend gives us courage")


def plot_share(s):
    s.say("{day}, [{Xhis} {kin} gave {Xhim} some {F}|{X} found some {F} {P0}|{X} made some {F}]. [It smelled so good!|{X} was very happy.|There was a lot of it.]" if s.v["F"] in ("bread", "cheese", "cake", "pie", "soup", "honey") else
          "{day}, [{Xhis} {kin} gave {Xhim} some {F}|{X} found some {F} {P0}|{X} got a big basket of {F}]. [They smelled so good!|{X} was very happy.|There were so many of them.]")
    s.say("[{XHe} wanted to eat everything alone.|\"This is all for me,\" {X} thought.|\"I will not give any to the others,\" said {X}.]")
    s.say("[On the way home|{P1}|Soon], {Xhe} met " + meet(s, "Y") + ". [{Y} looked tired and hungry.|{Y} was thin and hungry.] "
          "[\"May I have some of your {F}?\" asked {Y}.|\"I have not eaten all day,\" said {Y}. \"Can you give me a little?\"]")
    s.say("[\"No,\" said {X}. \"It is mine.\"|\"No! I need it all,\" said {X}.|But {X} shook {Xhis} head and walked on.] [{Y} walked away sadly.|{Y} looked down and said nothing.|{Y} was sad.]")
    s.fact("[What did {X} have?|What did {X} have to eat?]", "{X} had some {F}.")
    s.fact("[Who was hungry?|Who asked {X} for food?|Who wanted some {F}?]", "{Y} the {Yk} was hungry.")
    s.fact("Why was {Y} sad?", "{Y} was sad because {X} did not want to share the {F}.")
    s.say("{X} sat down {P2} and began to eat. But [the {F} did not taste good|{Xhe} was not happy|{Xhe} felt bad inside]. [{XHe} thought of {Y}.|All {Xhe} could think of was the sad face of {Y}.|\"It is no fun to eat alone,\" {Xhe} thought.]")
    s.say("[So {X} ran back and looked for {Y}.|{X} stood up and went to find {Y}.|So {Xhe} took the {F} and ran after {Y}.] {XHe} found {Yhim} {P3}.")
    s.say("[\"I am sorry,\" said {X}. \"Please eat with me.\"|\"Here, let us share the {F},\" said {X}.|\"Come, there is enough for both of us,\" said {X}.]")
    s.fact("Where did {X} find {Y}?", "{X} found {Yhim} {P3}.")
    s.say("[{Y} smiled and thanked {Xhim}.|\"Thank you!\" said {Y} with a big smile.|{Y} was so happy that {Yhe} gave {X} a hug.] [They ate together and told funny stories.|Together they ate and laughed.|Now the {F} tasted better than ever.]")
    s.fact("What did {X} [share|give to {Y}]?", "{X} shared {Xhis} {F} with {Y}.")
    moral(s, "sharing makes everyone happy", "food tastes better with a friend", "it is good to share", "a shared meal is the best meal")


BUILDS = [
    ("boat", "sail on the water", "paper", "it got wet and sank", "leaves", "the wind blew them apart", "wood from an old box", "it floated like a duck"),
    ("kite", "fly it high in the sky", "a heavy cloth", "it did not go up", "leaves", "they broke in the wind", "thin paper and a long ribbon", "it flew up to the clouds"),
    ("house in a tree", "see far away", "thin sticks", "they broke", "grass", "the wind blew it away", "strong boards and a rope", "it was strong and dry"),
    ("bridge", "cross the stream", "a long stick", "it was too thin and broke", "mud", "the water washed it away", "flat stones", "everyone could walk over it"),
    ("swing", "swing up and down", "a piece of string", "it was too weak and broke", "grass", "it fell apart", "a strong rope and a board", "it went higher and higher"),
    ("cart", "carry heavy things", "a box without wheels", "it did not move", "round apples for wheels", "they rolled away", "four wooden wheels", "it rolled down the path"),
    ("drum", "make music", "a paper bag", "it broke", "a bowl of mud", "it made no sound", "a round pot and a dry skin", "it went boom, boom, boom"),
]


def plot_build(s, which=None):
    thing, dream, m1, f1, m2, f2, m3, win = which or s.r.pick(BUILDS)
    s.v.update(B=thing, dream=dream, m1=m1, f1=f1, m2=m2, f2=f2, m3=m3, win=win)
    s.say("[{X} had a dream. {XHe} wanted to build a {B}.|{day}, {X} said, \"I want to build a {B}!\"|{day}, {X} had an idea. {XHe} would build a {B}.] [{XHe} wanted to {dream}.|With it {Xhe} could {dream}.]")
    s.fact("What did {X} [want to build|build|make]?", "{X} built a {B}.")
    s.say("[First {Xhe} made it from {m1}|{X} took {m1} and began to work|At first {X} used {m1}]. But {f1}.")
    s.say("[\"I will try again,\" said {X}.|{X} was sad, but {Xhe} did not give up.|\"Oh dear,\" said {X}.] [Then {Xhe} used {m2}, but {f2}.|The next time {Xhe} took {m2}. But {f2}.]")
    s.say("[{X} sat down {P1} and sighed.|{X} was tired and wanted to stop.|\"I will never have a {B},\" {Xhe} said.] [Then|Just then] " + meet(s, "Y") + " came along. [\"What are you making?\" asked {Y}.|\"Can I help?\" asked {Y}.|{Y} looked at the work and thought.]")
    s.say("[\"I know what we need,\" said {Y}. \"I have {m3} {P2}.\"|\"Let us use {m3},\" said {Y}. \"I saw some {P2}.\"|{Y} went away and came back with {m3}.]")
    s.say("[They worked together all day.|Together they worked until evening.|{X} held and {Y} tied, and they worked for a long time.] [When the {B} was ready, {win}!|At last it was done, and {win}!|And this time {win}!]")
    s.fact("Who helped {X}[| build the {B}]?", "{Y} the {Yk} helped {Xhim}.")
    s.fact("What did they use[| in the end| at last]?", "They used {m3}.")
    s.fact("[What did {X} use first?|What went wrong first?|Why did it not work at first?]", "First {X} used {m1}, but {f1}.")
    s.say("[\"We did it!\" cried {X}.|\"Hooray!\" they shouted.|{X} and {Y} laughed with joy.] [\"Thank you, {Y}. I could not do it alone.\"|Everyone came to see the {B}.|They took turns until the sun went down.]")
    moral(s, "it is good to try again", "together we can do great things", "one should not give up", "a good idea is worth a lot")


RESCUES = [
    ("stuck in the mud", "{X} pulled and pulled, but {Xhe} was not strong enough", "a long rope", "{X} tied the rope to a tree and {Y} held on. They pulled, and pop! {Y} was free"),
    ("caught in a thorn bush", "{X} tried to pull the thorns away, but they were too sharp", "a pair of thick gloves", "{X} put on the gloves and moved the thorns, one after another. At last {Y} was free"),
    ("at the bottom of a deep hole", "{X} reached down, but the hole was too deep", "a long branch", "{X} put the branch into the hole. {Y} climbed up, step by step, and then {Yhe} was free"),
    ("stuck under a fallen tree", "{X} pushed the tree, but it was too heavy", "a strong stick", "{X} pushed the stick under the tree and lifted it a little. {Y} crawled out and was free"),
    ("caught in an old net", "{X} pulled the net, but it only got tighter", "a sharp stone", "{X} cut the net with the stone, string by string. At last {Y} was free"),
    ("locked in an old hut", "{X} pushed the door, but it did not open", "a rusty key", "{X} put the key into the lock and turned it. The door opened and {Y} was free"),
]


def plot_rescue(s, which=None):
    trouble, first, tool, act = which or s.r.pick(RESCUES)
    s.v.update(trouble=trouble, tool=tool)
    s.say("{day}, {X} was [walking|playing|sitting] {P0} [when {Xhe} heard a cry|when {Xhe} heard a small voice]. \"Help! [Help!|Please help me!|Is anybody there?]\"")
    s.say("[{X} followed the sound and found a {Yk}.|{X} ran to see. It was a {Yadj} {Yk}.|{XHe} looked around and saw a {Yadj} {Yk}.] The {Yk} was {trouble}. [\"My name is {Y},\" said the {Yk}.|\"I am {Y},\" said the {Yk}. \"I cannot get out.\"]")
    s.fact("[Who cried for help?|Who needed help?|Who was in trouble?]", "It was {Y} the {Yk}. {YHe} was {trouble}.")
    s.fact("[What happened to {Y}?|What was wrong with {Y}?|Why did {Y} cry for help?]", "{Y} was {trouble}.")
    s.say("[\"Do not be afraid,\" said {X}. \"I will help you.\"|\"Wait, I will get you out!\" said {X}.|\"Poor {Y}!\" said {X}.] " + first + ".")
    s.say("[{X} thought hard.|{X} did not give up.|\"I need something,\" {X} thought.] [{XHe} ran and looked {P2}. There {Xhe} found {tool}.|Then {Xhe} remembered that there was {tool} {P2}. {XHe} ran to get it.|{XHe} looked around and found {tool} {P2}.]")
    s.say(act + "!")
    s.fact("What did {X} [find|use to help {Y}|use]?", "{X} used {tool}.")
    s.fact("Where did {X} find {tool}?", "{XHe} found it {P2}." if not tool.endswith("gloves") else "{XHe} found them {P2}.")
    s.fact("Who [helped|saved] {Y}?", "{X} the {Xk} [helped|saved] {Yhim}.")
    s.say("[\"Thank you for saving me!\" said {Y}.|{Y} hugged {X} and thanked {Xhim}.|\"You are so kind,\" said {Y}. \"Thank you!\"] [\"I will never forget it.\"|\"Now we are friends.\"|\"Come and visit me soon.\"]")
    s.maybe(60, "[The next day {Y} brought {X} some {F} to say thank you.|Then they walked home together.|They played together until the evening.]")
    moral(s, "it is good to help others", "a clever idea can be stronger than big muscles", "even someone small can be a big help", "kindness makes friends")


FINDS = ["golden key", "silver ring", "blue purse", "music box", "little letter", "shiny coin", "old map", "red book", "small lamp", "pocket watch"]


def plot_owner(s):
    s.v["T"] = s.r.pick(FINDS) if s.r.chance(60) else s.v["O"]
    s.say("{day}, {X} found a {T} {P0}. [\"How pretty it is!\" said {X}.|{XHe} had never seen anything so beautiful.|It was shining in the sun.]")
    s.fact("What did {X} find?", "{X} found a {T}.")
    s.fact("Where did {X} find [it|the {T}]?", "{X} found it {P0}.")
    s.say("[{X} wanted to keep it.|\"Now it is mine,\" {Xhe} thought.|\"May I keep it?\" {Xhe} thought.] [But then {Xhe} thought, \"Somebody may be sad without it.\"|But {Xhis} {kin} said, \"Somebody has lost it. You should look for the owner.\"|But then {Xhe} thought of the one who had lost it.]")
    s.say("[So {X} went to {Z} the {Zk}.|First {Xhe} asked {Z} the {Zk}.] \"Is this your {T}?\" asked {X}. \"No, it is not mine,\" said {Z}. [\"Ask somebody else.\"|\"Maybe you should ask {Y}.\"|\"But I saw {Y} looking for something {P1}.\"]")
    s.say("[Then {Xhe} came to {N1} and saw|{P1} {Xhe} met|So {X} walked on and met] {Y} the {Yk}. {Y} was [crying|very sad|looking around sadly]. \"I have lost my {T},\" said {Y}. [\"It was a gift from my grandmother.\"|\"I have looked for it everywhere.\"]")
    s.fact("Why was {Y} sad?", "{Y} was sad because {Yhe} had lost {Yhis} {T}.")
    s.fact("[Whose {T} was it?|Who was the owner of the {T}?|Who had lost the {T}?]", "It was the {T} of {Y} the {Yk}.")
    s.say("[\"Is it this one?\" asked {X}.|\"I have found it!\" said {X}.|{X} smiled and held out the {T}.] [{Y} jumped for joy.|{Y} could not believe it.|{Y} laughed and cried at once.] [\"Thank you, thank you!\" {Yhe} said.|\"You are so honest,\" said {Y}.]")
    s.say("[To say thank you, {Y} gave {X} some {F}.|{Y} invited {X} to {Yhis} home, and they ate {F} together.|{Y} gave {X} a big basket of {F}.]")
    s.fact("[What did {Y} give [to {X}|{X}]?|What did {X} get?]", "{Y} gave {Xhim} some {F}.")
    moral(s, "it feels good to be honest", "giving back is better than keeping", "honesty makes friends", "making others happy makes us happy")


def plot_race(s):
    win = s.r.chance(50)
    s.say("{day}, there was a big race from {N0} to {N2}. [Everyone wanted to win the {O}.|The winner would get a {O}.|The prize was a {O}.] [{X} wanted to run too.|\"I want to win,\" said {X}.]")
    s.say("[But {X} was not very fast.|But {X} had the shortest legs of all.] [\"You will never win,\" laughed {Y} the {Yk}.|{Y} the {Yk} laughed. \"You are too slow,\" {Yhe} said.|{Y} the {Yk} was the fastest of all.]")
    s.fact("[What was the prize?|What could the winner get?]", "The prize was a {O}.")
    s.fact("[Who was the fastest?|Who ran against {X}?|Who else was in the race?]", "{Y} the {Yk} was in the race too.")
    s.say("[{X} practiced every day.|So every morning {X} ran to {N3} and back.|{X} did not listen. {XHe} practiced day after day.] [Slowly {Xhe} got better.|{XHe} ran in the sun and in the rain.|{XHe} fell, but {Xhe} always got up again.]")
    s.say("[On the day of the race, everyone came to watch.|Then the great day came.] \"One, two, three, go!\" called {Z} the {Zk}. [{Y} was the first.|{Y} ran as fast as the wind.|{Y} was far ahead.]")
    if win:
        s.say("[But near {N1}, {Y} stopped to rest. \"I have a lot of time,\" {Yhe} thought.|{Y} was so sure to win that {Yhe} sat down {P2} to eat.] [{X} ran and ran and did not stop.|Step by step, {X} came closer.] [{X} passed {Yhim} and won the race!|When {Y} looked up, {X} was already at the end!]")
        s.fact("Who won the race?", "{X} won the race.")
        s.say("[Everyone cheered, and {X} got the {O}.|\"Hooray for {X}!\" everyone shouted.] [\"I am sorry that I laughed,\" said {Y}.|{Y} said, \"You are a true winner.\"]")
        moral(s, "slow steps can win a race", "practice makes us strong", "one should never laugh at others", "one should never give up")
    else:
        s.say("[But near {N1}, {Y} fell down and hurt {Yhis} leg.|Suddenly {Y} fell over a stone {P2}.] [\"Ouch!\" cried {Y}.|{Y} could not get up.] [{X} could have won now, but {Xhe} stopped.|{X} did not run on. {XHe} stopped.] [\"Lean on me,\" said {X}.|\"I will help you,\" said {X}.]")
        s.say("[Slowly they walked to the end together.|Side by side they came to the end, last of all.] [But everyone cheered for them.|Still, everyone clapped for {X}.] [{Z} gave {X} the {O}. \"You have the biggest heart,\" {Zhe} said.|\"The {O} is for {X},\" said {Z}, \"because {Xhe} was so kind.\"]")
        s.fact("[What happened to {Y}?|Why did {X} stop?]", "{Y} fell down, and {X} stopped to help {Yhim}.")
        s.fact("Who got the [prize|{O}]?", "{X} got the {O} because {Xhe} was so kind.")
        moral(s, "helping is better than winning", "a kind heart is the best prize", "friends are more important than prizes")


def plot_lonely(s):
    s.say("[But {X} had nobody to play with.|{X} was often alone and had no friends.|But {Xhe} felt lonely.] [\"I wish I had a friend,\" {Xhe} said [every night|to the moon|to the stars].|All day long {Xhe} played alone.]")
    s.fact("[Why was {X} sad?|Why was {X} lonely?]", "{X} was lonely because {Xhe} had no friends.")
    s.say("{day}, a new neighbor came. It was {Y} the {Yk}. [{Y} moved into a house {P0}.|{YHe} had a new home {P0}.]")
    s.fact("[Who was the new neighbor?|Who came to live there?]", "The new neighbor was {Y} the {Yk}.")
    s.fact("Where [did {Y} live|was the house of {Y}]?", "{Y} lived {P0}.")
    s.say("{X} [wanted to say hello, but {Xhe} was too shy|was too shy to speak]. [{XHe} hid {P1} and watched.|{XHe} only looked from far away.] [{Y} was sitting alone and looked sad too.|{Y} was playing alone with a {O}.]")
    s.say("[Then {X} had an idea.|{X} thought and thought.|\"Maybe {Yhe} is lonely too,\" thought {X}.] [{XHe} took some {F} and put it in front of the door.|{XHe} made a gift of {F} and brought it to {Y}.|{XHe} took some {F} and knocked at the door.]")
    s.fact("What did {X} [bring|give to {Y}]?", "{X} brought {Yhim} some {F}.")
    s.say("[The door opened. \"Is this for me?\" asked {Y}.|{Y} came out and smiled. \"For me?\" {Yhe} asked.] [\"Yes,\" said {X}. \"Do you want to play with me?\"|\"Yes. I am {X}. I live near you,\" said {X}.] [\"Oh yes!\" said {Y}. \"I was so alone here.\"|\"I would love to be your friend,\" said {Y}.]")
    s.say("[They played together the whole day.|Together they went to {N2} and played until dark.|They liked to {love} together.] [{X} was not lonely anymore.|Now they both had a friend.|From then on they met every day.]")
    moral(s, "a small gift can start a big friendship", "it is good to say hello first", "being brave can bring a friend", "others may be lonely too")


def plot_lostway(s):
    s.v["lure"] = s.r.pick(["blue butterfly", "white feather", "shiny beetle", "rolling ball", "red leaf in the wind", "little bird", "yellow balloon"])
    s.say("{day}, {X} saw a {lure}. [\"Wait for me!\" {Xhe} called and ran after it.|{XHe} wanted to catch it and ran after it.|It was so pretty that {Xhe} followed it.] [{XHe} ran past {N0} and on and on.|{XHe} went farther and farther away from home.]")
    s.fact("What did {X} [follow|run after|see]?", "{X} [followed|ran after] a {lure}.")
    s.say("[When {X} stopped, {Xhe} did not know where {Xhe} was.|Then the {lure} was gone, and {X} was all alone.|Suddenly {X} did not know the way.] [It was getting dark.|The sun went down.|The sky turned black.] [\"I want to go home,\" {Xhe} cried.|{X} was scared and began to cry.|\"How can I find my way home?\" {Xhe} said.]")
    s.fact("[Why was {X} scared?|Why was {X} afraid?|Why did {X} cry?]", "{X} was scared because {Xhe} was lost and it was getting dark.")
    s.say("[{XHe} went left, but there was only {N1}.|{XHe} walked to {N1}, but that was not the way.] [{XHe} went right, but nothing looked like home.|Then {Xhe} came to {N2}, but everything looked strange.]")
    s.say("[Then {Xhe} saw a small light. It was " + meet(s, "Y") + " with a lantern.|Then a soft voice said, \"Are you lost?\" It was " + meet(s, "Y") + ".|{P3} {Xhe} met " + meet(s, "Y") + ".] [\"I can show you the way,\" said {Y}.|\"Come with me,\" said {Y}. \"I know the way.\"|\"Do not cry,\" said {Y}. \"I will take you home.\"]")
    s.fact("Who [helped {X}|showed {X} the way|took {X} home]?", "{Y} the {Yk} showed {Xhim} the way home.")
    s.say("[They walked side by side under the stars.|They sang a song so that {X} was not afraid.|{Y} went first, and {X} stayed close.] [Soon {X} saw {Xhis} house.|At last they were there.|After a while they saw a light in the window of the house.]")
    s.say("[{XHis} {kin} ran out and hugged {Xhim}. \"I was so worried!\" {khe} said.|\"There you are!\" said {Xhis} {kin} and gave {Xhim} a big hug.] [They gave {Y} some {F} to say thank you.|\"Thank you, {Y},\" said {X}. \"You are a good friend.\"|{Y} stayed for dinner, and they all ate {F}.]")
    moral(s, "one should not run too far away from home", "there is always someone who can help", "one should look at the path before running", "home is the best place of all")


SKILLS = [
    ("whistle", "only air came out", "\"Make your mouth small and round,\" said {Y}.", "a clear sound came out"),
    ("swim", "{Xhe} went under like a stone", "\"Lie on your back and breathe slowly,\" said {Y}.", "{Xhe} floated on the water"),
    ("dance", "{Xhe} fell over {Xhis} own feet", "\"Listen to the music and count to four,\" said {Y}.", "{Xhe} danced as lightly as a leaf"),
    ("bake bread", "the bread was black and hard", "\"You must wait until it has grown,\" said {Y}.", "the bread was soft and golden"),
    ("draw", "{Xhis} picture looked like a potato", "\"Look first, and then draw what you see,\" said {Y}.", "the picture looked just like {Y}"),
    ("skate", "{Xhe} sat down hard on the ice", "\"Bend your legs and look forward,\" said {Y}.", "{Xhe} went over the ice like the wind"),
    ("sing", "it sounded like an old door", "\"Breathe in deeply and open your mouth,\" said {Y}.", "a lovely song filled the air"),
    ("ride a bicycle", "{Xhe} fell into the grass", "\"Look ahead and do not stop,\" said {Y}.", "{Xhe} rode all the way to {N3}"),
    ("read", "the letters danced before {Xhis} eyes", "\"Say each letter slowly,\" said {Y}.", "{Xhe} read the whole page"),
    ("play the flute", "it made a terrible noise", "\"Blow softly, like a warm wind,\" said {Y}.", "the flute sang like a bird"),
]


def plot_learn(s, which=None):
    skill, fail, advice, win = which or s.r.pick(SKILLS)
    s.v.update(skill=skill, fail=fail, win=win)
    s.say("[{X} wanted to learn to {skill}.|More than anything, {X} wanted to {skill}.|All the others could {skill}, but {X} could not.] [{day}, {Xhe} tried for the first time, but {fail}.|{XHe} tried it {P0}, but {fail}.]")
    s.fact("What did {X} [want to learn|learn to do|want to do]?", "{X} wanted to learn to {skill}.")
    s.say("[{X} tried again and again.|{XHe} tried a second time. It was no better.|{XHe} tried ten times.] [\"I will never learn it,\" {Xhe} said.|\"It is too hard for me,\" said {X} sadly.|Then {Xhe} sat down and was sad.]")
    s.fact("Why was {X} sad?", "{X} was sad because {Xhe} could not {skill}.")
    s.say(meet(s, "Y") + " saw {Xhim}. [{Y} knew how to {skill} very well.|\"Nobody can do it on the first day,\" said {Y}.|\"Shall I help you?\" asked {Y}.]")
    s.say(advice + " [\"And never give up.\"|\"Try it once more.\"|\"I will show you.\"]")
    s.fact("Who [helped|taught] {X}?", "{Y} the {Yk} [helped|taught] {Xhim}.")
    s.say("[They practiced together every day {P1}.|Every morning they met {P1} and practiced.|So they practiced for many days.] [Some days were hard, but {X} went on.|Slowly it got better.|{X} worked very hard.]")
    s.say("[Then one day|At last|One morning], {win}. [\"I can do it!\" cried {X}.|\"Look, {Y}! I can do it!\" {Xhe} shouted.|{X} could not believe it.] [{Y} clapped and laughed.|\"I am proud of you,\" said {Y}.|\"You see?\" said {Y}.]")
    s.fact("[Did {X} learn it?|Could {X} {skill} in the end?]", "Yes, in the end {X} could {skill}.")
    moral(s, "practice makes everything easier", "everyone starts small", "it is good to have a patient teacher", "one should never give up")


def plot_birthday(s):
    s.say("[It was the birthday of {X}.|{day}, {X} woke up and smiled. It was {Xhis} birthday!|Today was a special day. It was the birthday of {X}.] [{XHe} waited for {Xhis} friends, but nobody came.|\"Will anyone remember it?\" {Xhe} thought.]")
    s.say("[{X} went to {Y} the {Yk}.|On the way {Xhe} met {Y} the {Yk}.] [\"Hello, {Y}! Do you know what day it is?\" asked {X}.|\"Good morning, {Y}! Today is a special day,\" said {X}.] [\"No. I have no time,\" said {Y} and ran away.|\"Is it? I must go now,\" said {Y} quickly.]")
    s.say("[Then {Xhe} saw {Z} the {Zk} {P0}.|Then {X} went to see {Z} the {Zk}.] [But {Z} was busy too.|But {Z} only waved and went away.|But {Z} said nothing about the birthday.] [\"They all forgot me,\" thought {X}.|{X} was very sad. \"Nobody remembers my birthday,\" {Xhe} said.]")
    s.fact("Why was {X} sad?", "{X} was sad because {Xhe} thought that everyone forgot {Xhis} birthday.")
    s.say("[In the evening {X} walked home slowly.|{X} walked around alone until the evening.] [When {Xhe} came to {N1}, {Xhe} heard a noise.|When {Xhe} opened the door, it was very dark.] \"Surprise!\" [everyone shouted|called {Y} and {Z}|shouted all {Xhis} friends].")
    s.say("[There were lights and music and a big table with {F}.|There were balloons everywhere, and there was a lot of {F}.] [\"We wanted to surprise you,\" said {Y}.|\"We did not forget you,\" said {Y}. \"It was a secret!\"] [{Y} gave {X} a {O}.|Then {X} got a {O} from {Y}.]")
    s.fact("What did {X} get[| for {Xhis} birthday| from {Y}]?", "{X} got a {O}.")
    s.fact("Who gave {X} [the {O}|a gift]?", "{Y} the {Yk} gave it to {Xhim}.")
    s.fact("What [did they eat|was on the table]?", "There was a lot of {F}.")
    s.say("[{X} laughed with joy.|{X} was so happy that {Xhe} cried a little.|\"You are the best friends in the world!\" said {X}.] [They danced and sang until late at night.|They ate and played games until the moon was high.]")
    moral(s, "true friends never forget", "a secret can be a nice surprise", "it is good to trust one's friends")


BREAKS = [("blue vase", "broke into pieces"), ("favorite cup", "broke into three pieces"), ("big window", "broke with a loud crash"),
          ("old lamp", "fell down and broke"), ("flower pot", "broke, and the earth was everywhere"), ("wooden chair", "lost a leg"),
          ("clay bowl", "broke on the floor"), ("new mirror", "broke with a crash")]


def plot_honest(s):
    s.v["B"], s.v["crash"] = s.r.pick(BREAKS)
    s.say("{day}, {X} was playing with {Xhis} {O} in the house. [\"Do not play in here,\" {Xhis} {kin} had said.|{XHe} ran and jumped and did not look.] [Suddenly {Xhe} hit the {B} of {Xhis} {kin}.|Then the {O} hit the {B} of {Xhis} {kin}.] It {crash}.")
    s.fact("[What did {X} break?|What broke?]", "{X} broke the {B} of {Xhis} {kin}.")
    s.say("[{X} was very scared.|\"Oh no! What have I done?\" said {X}.|{X} did not know what to do.] [{XHe} hid the pieces {P0}.|Quickly {Xhe} put everything {P0}.]")
    s.fact("Where did {X} hide the pieces?", "{X} hid the pieces {P0}.")
    s.say("[When {Xhis} {kin} came home, {khe} asked, \"Where is my {B}?\"|In the evening {Xhis} {kin} asked, \"Who has seen my {B}?\"] [\"I do not know,\" said {X}.|\"Maybe the wind took it,\" said {X}.|{X} looked at the floor and said nothing.]")
    s.say("[That night {X} could not sleep.|{X} had a bad feeling inside and could not eat.] [{XHe} went to {Xhis} friend {Y} the {Yk} and told {Yhim} everything.|{XHe} talked to {Y} the {Yk} about it.] [\"You should tell the truth,\" said {Y}.|\"The truth is hard to say, but then you will feel better,\" said {Y}.]")
    s.fact("Who [told {X} to tell the truth|helped {X}|did {X} talk to]?", "{X} talked to {Y} the {Yk}.")
    s.say("[So {X} went to {Xhis} {kin}.|{X} ran home.] [\"I broke your {B}. I am so sorry,\" {Xhe} said.|\"It was me,\" said {X}. \"I broke the {B}, and I am sorry.\"] [{XHis} {kin} was quiet for a moment. Then {khe} smiled.|{XHis} {kin} gave {Xhim} a hug.] [\"Thank you for telling me the truth,\" {khe} said.|\"I am glad that you told me,\" {khe} said.]")
    s.say("[Together they put the pieces back in place.|Together they made a new one.|They fixed it together, and it looked almost new.] [{X} felt light and happy again.|Now {X} could sleep well.]")
    s.fact("[Was the {kin} angry?|What did the {kin} say?|What did {Xhis} {kin} say?]", "{XHis} {kin} was glad that {X} told the truth.")
    moral(s, "it is always better to tell the truth", "the truth makes the heart light", "everyone can make a mistake", "saying sorry is brave")


def plot_sick(s):
    s.say("{day}, {X} wanted to play with {Xhis} friend {Y} the {Yk}. [But {Y} did not come.|{XHe} waited {P0}, but {Y} did not come.] [\"Where can {Yhe} be?\" thought {X}.|{X} was worried and went to see {Yhim}.]")
    s.say("[{Y} was in bed.|{XHe} found {Y} in bed.] [\"I am sick,\" said {Y}. \"I cannot play.\"|\"My head hurts, and I am cold,\" said {Y}.|\"I feel so weak,\" {Yhe} said.] [\"Poor {Y}!\" said {X}.|{X} was sorry for {Yhim}.]")
    s.fact("[Who was sick?|Who was in bed?]", "{Y} the {Yk} was sick.")
    s.fact("[Why did {Y} not come?|Why could {Y} not play?|Why was {Y} in bed?]", "{Y} could not come because {Yhe} was sick.")
    s.v["cure"] = s.r.pick(["hot soup", "warm tea with honey", "fresh flowers", "a warm blanket", "hot milk", "sweet berries"])
    s.say("[\"What can I do?\" thought {X}.|\"I will help you,\" said {X}.] [{XHe} asked {Z} the {Zk}.|On the way {Xhe} met {Z} the {Zk} and asked {Zhim}.] [\"{Y} needs {cure},\" said {Z}.|\"Bring {Yhim} {cure},\" said {Z}.] [\"You can find it {P1}.\"|\"I have some {P1}.\"|\"Look {P1}.\"]")
    s.fact("[What did {X} bring[| to {Y}]?|What helped {Y}?]", "{X} brought {Yhim} {cure}.")
    s.fact("Who told {X} what to do?", "{Z} the {Zk} told {Xhim}.")
    s.say("[It was a long way, and it began to rain.|The way was long, and the wind was cold.] [But {X} did not turn back.|But {X} thought of {Xhis} friend and walked on.] [{XHe} got {cure} and ran back to {Y}.|{XHe} found {cure} and hurried back to {Y}.]")
    s.say("[\"This will make you feel better,\" said {X}.|{X} sat by the bed and told a funny story.|\"Here, this is for you,\" said {X}.] [{Y} smiled for the first time that day.|\"Thank you,\" said {Y} softly.] [The next morning {Y} was well again.|After two days {Y} could get up.|Soon {Y} was strong again.]")
    s.say("[They went out and played in the sun.|\"Now let us play!\" said {Y}.|They danced around the room.]")
    moral(s, "a good friend is the best medicine", "it is good to take care of others", "friends help each other", "a little kindness can do a lot")


SEEDS = [("pumpkin", "a big orange pumpkin", "pumpkin soup for everyone"), ("sunflower", "a tall sunflower", "a beautiful place to rest"),
         ("apple", "a little apple tree", "a sweet apple for everyone"), ("strawberry", "a bush of red strawberries", "a sweet cake for everyone"),
         ("bean", "a long green bean plant", "a big pot of soup"), ("melon", "a round green melon", "a sweet lunch for everyone")]


def plot_seed(s, which=None):
    seed, plant, gift = which or s.r.pick(SEEDS)
    s.v.update(seed=seed, plant=plant, gift=gift)
    s.say("{day}, [{Xhis} {kin} gave {Xhim} a {seed} seed|{X} found a {seed} seed {P0}|{Y} the {Yk} gave {Xhim} a {seed} seed]. [\"It is so small,\" said {X}.|\"What will it be?\" asked {X}.]")
    s.say("[{X} dug a little hole {P1} and put the seed in.|{XHe} put the seed into the earth {P1}.] [Then {Xhe} gave it water.|Then {Xhe} sat down and waited.] [The next day {Xhe} looked, but there was nothing.|{XHe} looked every hour, but nothing happened.]")
    s.fact("What did {X} plant?", "{X} planted a {seed} seed.")
    s.fact("Where did {X} [plant the seed|put the seed]?", "{X} planted it {P1}.")
    s.say("[\"Why does it not grow?\" asked {X}.|\"It is a bad seed,\" said {X}.|{X} was angry and wanted to dig it out.] [\"You must be patient,\" said {Y} the {Yk}.|{Y} the {Yk} laughed. \"Good things need time,\" {Yhe} said.|\"Give it sun and water and time,\" said {Y} the {Yk}.]")
    s.fact("[What did {Y} say?|Who told {X} to wait?]", "{Y} the {Yk} told {Xhim} to be patient.")
    s.say("[So {X} waited.|So every morning {X} gave water to the seed.|Day after day {X} took care of it.] [It rained, and the sun was shining.|Days went by, and then weeks.|One week went by, and then another.] [Then one day a small green leaf came out of the earth!|One morning {Xhe} saw a tiny green leaf.]")
    s.say("[\"Look, {Y}!\" cried {X}. \"It is growing!\"|{X} danced around it.] [It grew and grew.|Every day it was a little bigger.] [In the end it was {plant}.|At last it was {plant}.]")
    s.fact("[What did the seed [become|grow into]?|What grew?]", "It grew into {plant}.")
    s.say("[{X} was very proud.|{X} had never been so proud.] [{XHe} called all {Xhis} friends.|{XHe} invited {Y} and {Z} the {Zk}.] [And there was {gift}.|So there was {gift}.]")
    moral(s, "good things need time", "it is good to be patient", "small things can grow big", "care and time make things grow")


def plot_storm(s):
    s.say("{day}, [a big storm came|the wind began to blow and the sky turned black]. [The rain fell and the trees bent down.|The rain did not stop, and the thunder was loud.] [{X} was warm and dry in {Xhis} house.|{X} sat at home and drank warm milk.]")
    s.say("[Then somebody knocked at the door.|There was a loud knock, knock, knock.] [It was {Y} the {Yk}, and {Yhe} was all wet.|There stood {Y} the {Yk}, cold and wet.] [\"The wind took the roof of my house,\" {Yhe} said.|\"My house is full of water,\" said {Y}.|\"A tree fell on my house,\" said {Y}.] [\"May I come in?\"|\"I do not know where to go.\"]")
    s.fact("[Who knocked at the door?|Who came to {X}?]", "It was {Y} the {Yk}.")
    s.fact("[What happened to {Y}?|Why did {Y} come?]", "{Y} came because the storm had broken {Yhis} house.")
    s.say("[\"Of course! Come in and sit by the fire,\" said {X}.|\"Come in quickly!\" said {X}.] [{XHe} gave {Yhim} a blanket and some {F}.|{XHe} made hot tea and put {F} on the table.] [{Y} stopped shaking and smiled.|Soon {Y} was warm again.]")
    s.fact("What did {X} give [to {Y}|{Y}]?", "{X} gave {Yhim} some {F}.")
    s.maybe(60, "[In the night {Z} the {Zk} came too.|Then {Z} the {Zk} knocked at the door too.] [The house was small, but there was room for all.|\"There is room for one more,\" said {X}.]")
    s.say("[They told stories until they fell asleep.|They sang songs, and nobody was afraid of the storm.] [In the morning the sun came out.|The next day the sky was blue again.]")
    s.say("[\"Now we will fix your house,\" said {X}.|Then they all went to the house of {Y}.] [{X} brought wood from {N1}, and {Y} took the hammer.|They took wood and nails and worked all day.] [In the evening the house was as good as new.|At last the house was even better than before.]")
    s.say("[\"Thank you, {X},\" said {Y}. \"My door is always open for you.\"|{Y} hugged {X}. \"I will never forget this,\" {Yhe} said.]")
    moral(s, "a warm heart is better than a big house", "friends help each other in hard times", "there is always room for a friend", "after the rain comes the sun")


PLOTS = [  # plot, weight, what a request can call it
    (plot_lost, 10, ["a lost {O}", "a {Xk} who lost {Xhis} {O}", "losing something", "a {O}"]),
    (plot_fear, 8, ["being brave", "a {Xk} who is afraid", "a {Xk} who was afraid of {fear}", "courage"]),
    (plot_share, 8, ["sharing", "a {Xk} who did not want to share", "{F}", "sharing {F}"]),
    (plot_build, 8, ["a {B}", "a {Xk} who builds a {B}", "building something"]),
    (plot_rescue, 8, ["helping others", "a {Xk} who helps a {Yk}", "a {Xk} and a {Yk}"]),
    (plot_owner, 7, ["a {T}", "being honest", "a {Xk} who finds a {T}"]),
    (plot_race, 7, ["a race", "a slow {Xk}", "a {Xk} in a race"]),
    (plot_lonely, 7, ["a new friend", "friendship", "a lonely {Xk}", "a {Xk} without friends"]),
    (plot_lostway, 7, ["getting lost", "a {Xk} who got lost", "finding the way home"]),
    (plot_learn, 8, ["learning to {skill}", "a {Xk} who wanted to {skill}", "learning something new"]),
    (plot_birthday, 6, ["a birthday", "a surprise", "a party"]),
    (plot_honest, 6, ["telling the truth", "a broken {B}", "a mistake"]),
    (plot_sick, 6, ["a sick friend", "a sick {Yk}", "taking care of a friend"]),
    (plot_seed, 6, ["a seed", "a {seed}", "being patient", "a garden"]),
    (plot_storm, 6, ["a storm", "the rain", "helping a neighbor"]),
]
PLOT_BAG = [i for i, p in enumerate(PLOTS) for _ in range(p[1])]


def make_story(r, avoid=()):
    s = Story(r, avoid)
    plot, _, topics = PLOTS[r.pick(PLOT_BAG)]
    intro(s)
    plot(s)
    ending(s)
    happy_next(s)
    s.topics = topics
    return s


# Conversations. ----------------------------------------------------------------------------------

ASK = ["Tell me a story about {it}.", "Tell me a story about {it}.", "Tell me a story about {it}.", "Can you tell me a story about {it}?",
       "Please tell me a story about {it}.", "Write a story about {it}.", "Write a short story about {it}.",
       "I want a story about {it}.", "I would like to hear a story about {it}.", "A story about {it}, please.",
       "Could you write a story about {it}?", "Do you know a story about {it}?", "tell me a story about {it}",
       "Make up a story about {it}.", "{it}", "story about {it}", "tell me about {it}", "Tell us about {it}.", "write me a story about {it}"]
ASK_ANY = ["Tell me a story.", "Tell me a story, please.", "Can you tell me a story?", "Please tell me a short story.", "Write a story.",
           "I want to hear a story.", "A story, please!", "Do you know a story?", "Tell me a bedtime story.", "tell me a story",
           "Write a short story.", "Can I have a story?", "Tell me something nice."]
IT = ["a {Xk} named {X}", "a {Xk} named {X}", "a {Xk} called {X}", "{X} the {Xk}", "a {Xk}", "a {Xk}", "a {Xadj} {Xk}", "{X}", "{X} and {Y}",
      "a {Xadj} {Xk} named {X}", "a {Xk} {home}", "a {Xk} and a {Yk}", "a {Xk} named {X} and a {Yk} named {Y}", "{X} the {Xk} and {Y} the {Yk}"]
CONTINUE = ["{o}", "{o}", "{o}", "{o}", "Continue this story: {o}", "Please continue: {o}", "How does this story go on? {o}",
            "Finish this story: {o}", "Go on with this story. {o}", "{o} What happens next?"]
AGAIN = ["Tell me another story.", "Another one, please!", "Another story, please.", "Can you tell me another one?", "One more story, please.",
         "Tell me a different story.", "More, please!", "Tell me another.", "Now tell me another story."]
AGAIN_IT = ["Now tell me a story about {it}.", "And now a story about {it}, please.", "Tell me another one, about {it}.", "Another story, about {it}."]
NEXT = ["What happened next?", "What happened then?", "And then?", "What did they do next?", "Go on.", "What happened after that?",
        "Please go on.", "Continue.", "Tell me more."]
THANKS = ["Thank you!", "Thanks!", "Thank you for the story.", "That was a nice story.", "I liked the story.",
          "What a lovely story!", "Thank you very much.", "Great story!", "That was fun."]
WELCOME = ["You are welcome! [Would you like to hear another story?|I am glad that you liked it.|Come back soon for more stories.]",
           "I am glad that you liked it. [Shall I tell you another story?|I have many more stories.]",
           "Thank you! [I love to tell stories.|Shall I tell you another one?]"]
HELLO = ["Hello!", "Hi!", "Hello", "hi", "Hi there!", "Good morning!", "Good evening!", "Hey!", "Hello there.", "hello", "Hello, how are you?", "Hi, how are you?"]
HELLO_BACK = ["Hello! [Would you like to hear a story?|Shall I tell you a story?|What story would you like to hear?]",
              "Hi! [I can tell you a story. What should it be about?|Would you like to hear a story?]",
              "Hello! It is nice to meet you. [Would you like to hear a story?|I tell little stories.]"]
HELLO_FINE = ["Hello! I am well, thank you. [Would you like to hear a story?|Shall I tell you a story?]",
              "I am very well, thank you. [Would you like to hear a story?|What story would you like to hear?]"]
WHO = ["Who are you?", "What are you?", "What is your name?", "who are you", "Are you a robot?", "Are you a person?", "Who made you?", "What is rill?",
       "Tell me about yourself.", "Are you human?"]
WHO_ME = ["I am a small story model that comes with rill. [I tell little stories.|Would you like to hear one?|I can tell you a story.]",
          "I am the small story model of rill. [I write little stories about animals and children.|I know many little stories.]",
          "I am rill tales, a small model that tells stories. [Would you like to hear one?|I come with rill.]"]
CAN = ["What can you do?", "What do you know?", "Can you help me?", "How does this work?", "What can I ask you?", "help", "Help me."]
CAN_DO = ["I can tell you a little story, or go on with a story that you begin. [You can also ask me about the story.|What should it be about?]",
          "I tell little stories. Begin a story, and I will go on with it. [Or ask me for a story about an animal.|Then you can ask me about it.]"]
DUNNO = ["I am only a small story model, and I do not know that. [Would you like to hear a story?|But I can tell you a story.|Shall I tell you a story?]",
         "I am sorry, I do not know that. I only know little stories. [Would you like to hear one?|Shall I tell you one?]"]
BYE = ["Goodbye!", "Bye!", "Good night!", "See you later.", "bye", "I have to go now."]
BYE_BYE = {"Good night!": ["Good night! Sleep well and have sweet dreams.", "Good night! Dream of a nice story."],
           "": ["Goodbye! Come back soon for another story.", "Goodbye! It was nice to talk to you.", "See you soon! I will have a new story for you."]}
FEEL = [(["I am sad.", "I feel sad.", "I feel lonely.", "I am not happy."],
         ["I am sorry that you are sad. [Shall I tell you a happy story?|Would you like to hear a story?]"]),
        (["I am bored.", "I have nothing to do.", "It is raining."], ["Then a story is just the right thing. [What should it be about?|Shall I tell you one?]"]),
        (["I am happy.", "I am happy today!", "It is a nice day."], ["I am glad to hear that! [Would you like to hear a story?|Shall I tell you a story?]"]),
        (["I am tired.", "I cannot sleep.", "I want to sleep."], ["Then I can tell you a bedtime story. [Would you like that?|Shall I begin?]"]),
        (["I love you.", "You are nice.", "I like you.", "You are great!"], ["Thank you! That is very kind of you. [Shall I tell you a story?|Would you like to hear a story?]"])]
NAME_IS = ["My name is {x}.", "I am {x}.", "Hello, I am {x}.", "Hi, my name is {x}."]
NAME_OK = ["Hello, {x}! [It is nice to meet you. Would you like to hear a story?|Shall I tell you a story?|What story would you like to hear?]"]
YES = ["Yes, please!", "Yes!", "Yes please", "yes", "Sure!", "I would love to.", "Oh yes!", "Okay."]
NO = ["No, thank you.", "No.", "Not now.", "no thanks", "Maybe later."]
NO_OK = ["All right. [Come back when you want to hear a story.|I will be here.|Maybe another time.]", "That is fine. [I will be here when you want a story.|Maybe later.]"]
SYSTEM = ["You are a story teller.", "You are a friendly story teller.", "You are a helpful assistant.", "You tell short stories for children.",
          "Be kind and friendly.", "Write short stories with simple words.", "You are a helpful, kind assistant that tells stories."]
THINGS = """France Germany Italy Spain Japan China India water light gravity money computer music history science weather
football number energy planet moon sun earth car train king president law school language word Python code program file email
list table world country city river doctor history bread coffee paper glass iron gold phone internet market engine""".split()
ODD = ["What is the capital of {t}?", "What is {n} plus {m}?", "What is {n} times {m}?", "How does a {t} work?", "Write a program in {t}.", "What is {t}?",
       "Explain {t} to me.", "Who invented the {t}?", "How do I fix my {t}?", "What is the weather today?", "Translate this into {t}.", "Why is the {t} so big?",
       "How many people live in {t}?", "What do you think about {t}?", "Give me a list of {t}.", "Can you write an email about {t}?", "What time is it?",
       "Calculate {n} minus {m}.", "How much is a {t}?", "Which {t} is the best?", "Solve this: {n} + {m}", "When was {t} born?", "What is the meaning of {t}?"]


def odd_question(r):
    t = r.pick(THINGS)
    if r.chance(20):
        t = "".join(r.pick(SYLLABLES) for _ in range(2 + r.below(2)))
    return r.pick(ODD).format(t=t, n=r.below(100), m=r.below(100))


def requested(r, avoid=()):
    """A story and the words that ask for it: what is asked for is what the story is about."""
    s = make_story(r, avoid)
    if r.chance(20):
        return s, r.pick(ASK_ANY)
    it = r.pick(IT) if r.chance(65) else r.pick(s.topics)
    if s.X.kind in ("girl", "boy"):
        it = it.replace("{X} the {Xk}", "a {Xk} named {X}")
    return s, s.fill(r.pick(ASK).replace("{it}", it))


def opening(r, s):
    """Cuts a story in two: the part that the user gives, and the part that the assistant writes."""
    parts = s.sentences()
    k = min(1 + r.below(3) if r.chance(75) else 1 + r.below(max(1, len(parts) // 2)), len(parts) - 2)
    head, tail = " ".join(parts[:k]), " ".join(parts[k:])
    if r.chance(15):                       # in the middle of a sentence
        words = head.split(" ")
        if len(words) > 6:
            n = 4 + r.below(len(words) - 5)
            head, tail = " ".join(words[:n]), " ".join(words[n:]) + " " + tail
    if r.chance(15):
        head = head.replace("Once upon a time,", "Once upon a time", 1)
    return r.pick(CONTINUE).replace("{o}", head), tail


def question(r, s, used):
    """A question whose answer the story has told."""
    left = [f for i, f in enumerate(s.facts) if i not in used]
    if not left:
        return None
    f = r.pick(left)
    used.add(s.facts.index(f))
    return s.fill(f[0]), s.fill(f[1])


def follow_up(r, s, used, chat):
    """Adds one more user turn about story s, with its answer."""
    n = r.below(100)
    if n < 64:
        q = question(r, s, used)
        if q:
            chat += q
            return
    if n < 78:
        chat += [r.pick(NEXT), s.fill(r.pick(s.after))]
    elif n < 94:
        chat += [r.pick(THANKS), expand(r, r.pick(WELCOME), {})]
    else:
        bye = r.pick(BYE)
        chat += [bye, r.pick(BYE_BYE.get(bye, BYE_BYE[""]))]


def small_talk(r):
    n = r.below(100)
    if n < 30:
        h = r.pick(HELLO)
        return [h, expand(r, r.pick(HELLO_FINE if "how are" in h else HELLO_BACK), {})]
    if n < 55:
        return [r.pick(WHO), expand(r, r.pick(WHO_ME), {})]
    if n < 64:
        said, reply = r.pick(FEEL)
        return [r.pick(said), expand(r, r.pick(reply), {})]
    if n < 71:
        v = {"x": new_name(r, r.chance(50), 40)}
        return [expand(r, r.pick(NAME_IS), v), expand(r, r.pick(NAME_OK), v)]
    if n < 80:
        return [r.pick(CAN), expand(r, r.pick(CAN_DO), {})]
    return [odd_question(r), expand(r, r.pick(DUNNO), {})]


def make_chat(r):
    chat, n, used = [], r.below(100), set()
    if n < 42:                                            # a request
        s, ask = requested(r)
        chat += [ask, " ".join(s.text)]
        for _ in range(r.below(3)):
            follow_up(r, s, used, chat)
    elif n < 70:                                          # an opening to continue
        s = make_story(r)
        ask, tail = opening(r, s)
        chat += [ask, tail]
        for _ in range(r.below(3)):
            follow_up(r, s, used, chat)
    elif n < 80:                                          # two stories
        s, ask = requested(r)
        t, ask2 = requested(r, {s.X.name, s.Y.name, s.Z.name})
        if r.chance(60):
            ask2 = r.pick(AGAIN)
        else:
            ask2 = t.fill(r.pick(AGAIN_IT).replace("{it}", r.pick(IT[:2] + IT[4:5])))
        chat += [ask, " ".join(s.text), ask2, " ".join(t.text)]
    elif n < 90:                                          # talk first, then a story
        chat += small_talk(r)
        s, ask = requested(r)
        if chat[1].endswith("?") and r.chance(40):
            ask = r.pick(YES)
        chat += [ask, " ".join(s.text)]
        if r.chance(40):
            follow_up(r, s, used, chat)
    else:
        for _ in range(1 + r.below(3)):
            chat += small_talk(r)
        if chat[-1].endswith("?") and r.chance(25):
            chat += [r.pick(NO), expand(r, r.pick(NO_OK), {})]
        if r.chance(25):
            bye = r.pick(BYE)
            chat += [bye, r.pick(BYE_BYE.get(bye, BYE_BYE[""]))]
    out = [{"role": "system", "content": r.pick(SYSTEM)}] if r.chance(12) else []
    return out + [{"role": ("user", "assistant")[i % 2], "content": c} for i, c in enumerate(chat)]


def make_quiz(r):
    """One story and many questions about it: more to learn from than in a usual conversation."""
    if r.chance(70):
        s, ask = requested(r)
        told = " ".join(s.text)
    else:
        s = make_story(r)
        ask, told = opening(r, s)
    chat, used = [ask, told], set()
    for _ in range(4 + r.below(5)):
        chat += question(r, s, used) or ()
    return [{"role": ("user", "assistant")[i % 2], "content": c} for i, c in enumerate(chat)]


SHORT = [("{X} had a {O}.", "What did {X} have?", "{X} had a {O}."),
         ("{X} liked to eat {F}.", "What did {X} like to eat?", "{X} liked to eat {F}."),
         ("{X} had a friend, {Y} the {Yk}.", "Who was the friend of {X}?", "The friend of {X} was {Y} the {Yk}."),
         ("{XHis} {kin} was called {Z}.", "What was the {kin} of {X} called?", "The {kin} of {X} was called {Z}."),
         ("{XHe} sat {P0} and looked at {N1}.", "Where did {X} sit?", "{X} sat {P0}."),
         ("{XHe} found a {O} {P2}.", "Where was the {O}?", "The {O} was {P2}."),
         ("{XHe} gave {F} to {Y} the {Yk}.", "Who got the {F}?", "{Y} the {Yk} got the {F}.")]


def make_short(r):
    """A few sentences about somebody and questions about them: copying is learned here first, as little else is in the way."""
    s = Story(r)
    ask = s.fill(r.pick(ASK).replace("{it}", r.pick(IT[:4] + IT[4:8])))
    intro(s)
    for told, q, a in r.some(SHORT, 1 + r.below(3)):
        s.say(told)
        s.fact(q, a)
    chat, used = [ask, " ".join(s.text)], set()
    for _ in range(2 + r.below(3)):
        chat += question(r, s, used) or ()
    return [{"role": ("user", "assistant")[i % 2], "content": c} for i, c in enumerate(chat)]


def make_start(r):
    """A request that names what it wants, and how the story begins (the caller cuts it short)."""
    s = make_story(r)
    ask = s.fill(r.pick(ASK).replace("{it}", r.pick(IT)))
    return [{"role": "user", "content": ask}, {"role": "assistant", "content": " ".join(s.text)}]


LESSONS = {"quiz": make_quiz, "start": make_start, "short": make_short}


def document(seed, index, kind=None):
    """Document number `index`: ("story", text) or ("chat", messages). kind: story, chat or a lesson."""
    r = Rng(seed, index)
    if kind in LESSONS:
        return "chat", LESSONS[kind](r)
    if (kind or ("story" if r.chance(38) else "chat")) == "story":
        return "story", " ".join(make_story(r).text)
    return "chat", make_chat(r)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--stories", type=int, default=0, metavar="N")
    p.add_argument("--chats", type=int, default=0, metavar="N")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--first", type=int, default=0, metavar="I", help="number of the first document")
    p.add_argument("--split", choices=["train", "heldout"], default="train")
    a = p.parse_args()
    at = a.first + (HELDOUT if a.split == "heldout" else 0)
    for i in range(a.stories):
        print(document(a.seed, at + i, "story")[1], end="\n\n")
    for i in range(a.chats):
        print(json.dumps({"messages": document(a.seed, at + i, "chat")[1]}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
