"""What the pictures say: words, names, numbers, split into training and test parts by a hash of the text."""
import hashlib
import re
from functools import lru_cache

from . import fonts


def hash_split(text: str) -> str:
    """"test" for a tenth of all texts (case does not count), else "train"; the same for ever."""
    return "test" if hashlib.blake2b(text.lower().encode(), digest_size=2).digest()[0] % 10 == 0 else "train"


# Beginnings of words that nobody wants to meet in an example picture.
UNWELCOME = re.compile("fuck|shit|cunt|nigg|fag|whor|slut|bitch|cock|dick|piss|bastard|rape|rapi|porn|nazi|scrot|orgi|tits|wank|"
                       "turd|dyke|kike|spic|wop|chink|gook|coon|pimp|penis|vagin|anus|anal$|arse|ass$|asshole|suicid|molest")


@lru_cache(None)
def words(split: str, shortest: int = 2, longest: int = 11) -> tuple[str, ...]:
    lines = (fonts.folder() / "words.txt").read_text().split()
    return tuple(w for w in lines if shortest <= len(w) <= longest and hash_split(w) == split and not UNWELCOME.match(w))


def word(rng, split: str, shortest: int = 2, longest: int = 11) -> str:
    return rng.choice(words(split, shortest, longest))


def cased(rng, text: str) -> str:
    """lower (45 %), Title (30 %) or UPPER (25 %)."""
    k = rng.random()
    return text if k < 0.45 else text.capitalize() if k < 0.75 else text.upper()


def fresh(rng, split: str, make) -> str:
    """The first text made by make(rng) that belongs to the split; for texts not from the word list."""
    while True:
        text = make(rng)
        if hash_split(text) == split:
            return text


DIGITS = "0123456789"
LETTERS = "abcdefghijklmnopqrstuvwxyz"


def number(rng, split: str, shortest: int = 4, longest: int = 6) -> str:
    def make(r):
        n = r.randint(shortest, longest)
        return r.choice(DIGITS[1:]) + "".join(r.choices(DIGITS, k=n - 1))
    return fresh(rng, split, make)


def non_word(rng, split: str) -> str:
    """Random letters or a shuffled word, 4 to 10 characters."""
    def make(r):
        if r.random() < 0.5:
            return "".join(r.choices(LETTERS, k=r.randint(4, 10)))
        letters = list(word(r, split, 4, 10))
        r.shuffle(letters)
        return "".join(letters)
    return fresh(rng, split, make)


FIRST = ("Anna Ben Carl Dora Emma Frank Grace Henry Ivan Julia Kate Leo Maria Noah Olga Paul Rosa Sam Tina Victor "
         "Wendy Adam Clara David Ella George Hana Jack Laura Mark Nina Oscar Peter Ruth Simon Vera").split()
LAST = ("Adams Baker Carter Davis Evans Fisher Green Harris Irving Jones King Lewis Miller Nolan Owens Parker Quinn "
        "Roberts Smith Taylor Walker Young Allen Brown Clark Diaz Ellis Foster Grant Hill Jensen Kelly Lopez Moore").split()
STREETS = ("Oak Pine Maple Cedar Elm Lake Hill River Park Main Church Mill Spring Bridge Garden Forest Sunset Valley "
           "Market Station King Queen Green North South West East").split()
CITIES = ("Austin Boston Chicago Dallas Denver Fresno Houston Lisbon London Madrid Miami Munich Oslo Paris Phoenix "
          "Portland Rome Salem Seattle Tampa Vienna Zurich Dublin Geneva").split()
TRADES = ("Bakery Books Cafe Motors Pharmacy Foods Market Hardware Flowers Shoes Toys Sports Music Travel Garden "
          "Bikes Tools Paints Optics Cinema").split()
ITEMS = ("Coffee Tea Milk Bread Butter Cheese Apples Rice Sugar Salt Soap Paper Pens Juice Water Eggs Honey Pasta "
         "Cake Soup Nuts Oil Beans Candy Lamp Cable Brush Towel Socks Glue").split()
MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()


def person(rng, split: str) -> str:
    return fresh(rng, split, lambda r: f"{r.choice(FIRST)} {r.choice(LAST)}")


def company(rng, split: str) -> str:
    kind = rng.random()
    name = word(rng, split, 4, 8).capitalize()
    if kind < 0.6:
        return f"{name} {rng.choice(TRADES)}"
    return f"{name} {rng.choice(('Ltd', 'Inc', 'Co', 'Group', 'and Sons'))}"


def address(rng, split: str) -> str:
    return fresh(rng, split, lambda r: f"{r.randint(1, 299)} {r.choice(STREETS)} {r.choice(('Street', 'Road', 'Lane', 'Avenue'))}")


def date(rng, split: str) -> str:
    def make(r):
        d, m, y = r.randint(1, 28), r.randint(1, 12), r.randint(1995, 2029)
        return r.choice((f"{d:02}/{m:02}/{y}", f"{d:02}-{m:02}-{y}", f"{y}-{m:02}-{d:02}", f"{d} {MONTHS[m - 1]} {y}"))
    return fresh(rng, split, make)


def phone(rng, split: str) -> str:
    def make(r):
        a, b, c = r.randint(201, 989), r.randint(200, 999), r.randint(0, 9999)
        return r.choice((f"({a}) {b}-{c:04}", f"{a}-{b}-{c:04}", f"{b}-{c:04}"))
    return fresh(rng, split, make)


def money(rng, split: str, low: float = 1, high: float = 99) -> str:
    return fresh(rng, split, lambda r: f"{r.uniform(low, high):.2f}")
