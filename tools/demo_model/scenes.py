"""Text in a scene: coloured signs, shop fronts, buses, price boards, book covers."""
import random

from . import fonts, lexicon, paint
from .page import CHARACTERS, Page, Question, frame, samples
from .sample import Sample

SIZES = [(256, 256), (256, 384), (384, 256), (384, 384)]
SIGN_COLORS = ("red", "green", "blue", "yellow", "orange", "purple", "black", "white", "pink", "brown")


def contrasting(rng: random.Random, paper: paint.Color) -> paint.Color:
    light = paint.luma(paper) > 130
    return rng.choice(((10, 10, 10), (30, 20, 60), (60, 10, 10)) if light else ((250, 250, 250), (255, 240, 170), (225, 245, 255)))


def outdoors(rng: random.Random, split: str, h: int, w: int, kinds=("clean", "clean", "display")) -> Page:
    """Sky or wall above, ground below."""
    sky = rng.choice(((150, 190, 230), (205, 205, 200), (120, 130, 150), (226, 212, 190), (60, 66, 90)))
    page = Page(rng, split, h, w, paint.near(rng, sky, 25), kinds, 0.7)
    if rng.random() < 0.6:
        ground = paint.near(rng, rng.choice(((110, 110, 105), (90, 120, 70), (150, 130, 100))), 20)
        page.draw.rectangle((0, rng.uniform(0.7, 0.9) * h, w, h), fill=ground)
    return page


def panel(page: Page, box, color: paint.Color, round_corners: bool) -> None:
    rng = page.rng
    if round_corners:
        page.draw.rounded_rectangle(box, radius=min(12, int(box[3] - box[1]) // 4), fill=color)
    else:
        page.draw.rectangle(box, fill=color)
    if rng.random() < 0.4:
        page.draw.rectangle((box[0] + 3, box[1] + 3, box[2] - 3, box[3] - 3), outline=contrasting(rng, color))


def words_for_sign(rng: random.Random, split: str) -> str:
    text = " ".join(lexicon.word(rng, split, 3, 7) for _ in range(rng.choice((1, 1, 2))))
    return text.upper() if rng.random() < 0.5 else text.title()


def signs(rng: random.Random, split: str, h: int, w: int, accented: str = ""):
    """accented: what the first sign says, in a font that has letters beyond ASCII."""
    page = outdoors(rng, split, h, w)
    if accented:
        page.font = fonts.choose(rng, ("clean",), "train", CHARACTERS + accented)
    count = rng.randint(2, 4)
    step = h / count
    questions = []
    for i, name in enumerate(rng.sample(SIGN_COLORS, count)):
        color = paint.near(rng, paint.NAMED[name], 10)
        high = step * rng.uniform(0.5, 0.8)
        wide = w * rng.uniform(0.6, 0.92)
        x, y = rng.uniform(4, w - wide - 4), i * step + rng.uniform(2, step - high - 2)
        panel(page, (x, y, x + wide, y + high), color, rng.random() < 0.5)
        text = accented if accented and i == 0 else words_for_sign(rng, split)
        size = int(min(high * 0.55, 44))
        page.text(x + wide / 2, y + (high - size * 1.15) / 2, text, size, contrasting(rng, color), "center", wide - 16)
        questions.append(Question(f"what is written on the {name} sign?", [text],
                                  (f"What does the {name} sign say?", f"Read the {name} sign.")))
    return page, questions


def shop(rng: random.Random, split: str, h: int, w: int):
    page = outdoors(rng, split, h, w)
    front = paint.near(rng, rng.choice(((140, 90, 70), (200, 190, 170), (90, 100, 120), (170, 140, 110))), 25)
    page.draw.rectangle((8, h * 0.15, w - 8, h), fill=front)
    name, phone, hour = lexicon.company(rng, split), lexicon.phone(rng, split), rng.randint(7, 11)
    board = paint.NAMED[rng.choice(SIGN_COLORS)]
    panel(page, (12, h * 0.17, w - 12, h * 0.42), board, rng.random() < 0.5)
    size = int(min(h * 0.14, 44))
    page.text(w / 2, h * 0.295 - size * 0.58, name, size, contrasting(rng, board), "center", w - 44)
    glass = paint.near(rng, (190, 215, 225), 15)
    panel(page, (w * 0.08, h * 0.5, w * 0.92, h * 0.95), glass, False)
    open_text, ink, small = f"Open {hour} am", contrasting(rng, glass), int(min(h * 0.11, 32))
    number = str(rng.randint(10, 999))
    for y, text in zip((0.53, 0.67, 0.81), rng.sample((phone, open_text, f"No. {number}"), 3)):
        page.text(w / 2, h * y, text, small, ink, "center", w * 0.76)
    return page, [Question("what is the name of the shop?", [name], ("Which shop is this?", "What is the store called?")),
                  Question("what is the phone number?", [phone], ("Which phone number is shown?",)),
                  Question("when does the shop open?", [f"{hour} am"], ("At what time does it open?",)),
                  Question("what is the house number?", [number])]


def bus(rng: random.Random, split: str, h: int, w: int):
    page = outdoors(rng, split, h, w)
    name = rng.choice(("red", "green", "blue", "yellow", "orange", "white", "purple"))
    body = paint.near(rng, paint.NAMED[name], 12)
    page.draw.rounded_rectangle((10, h * 0.2, w - 10, h * 0.85), radius=16, fill=body)
    for x in (0.25, 0.75):
        page.draw.ellipse((w * x - h * 0.09, h * 0.76, w * x + h * 0.09, h * 0.94), fill=(25, 25, 28))
    line, goal = str(rng.randint(2, 399)), rng.choice(lexicon.CITIES)
    brand = lexicon.word(rng, split, 4, 8).capitalize()
    page.draw.rectangle((20, h * 0.24, w - 20, h * 0.43), fill=(18, 18, 20))
    size = int(min(h * 0.13, 40))
    used = page.text(30, h * 0.265, line, size, (255, 190, 40), "left", w * 0.25)
    page.text(w - 30, h * 0.265, goal, size, (255, 190, 40), "right", w - 80 - used)
    page.text(w / 2, h * 0.52, brand, int(size * 1.2), contrasting(rng, body), "center", w - 60)
    return page, [Question(f"what is the number of the {name} bus?", [line], ("What is the bus number?",)),
                  Question("where is the bus going?", [goal], ("What is the destination of the bus?",)),
                  Question("which brand is on the side of the bus?", [brand], ("What is written on the side?",))]


def prices(rng: random.Random, split: str, h: int, w: int):
    board = rng.choice(((30, 34, 32), (40, 60, 46), (246, 244, 236), (250, 220, 120)))
    page = Page(rng, split, h, w, paint.near(rng, board, 8), ("clean", "hand", "display"), 0.4)
    ink = contrasting(rng, board)
    items = rng.sample(lexicon.ITEMS, rng.randint(3, 5))
    mark = rng.choice(("$", "$", ""))
    step = (h - 16) / (len(items) + 1)
    size = int(min(step * 0.66, 34))
    page.text(w / 2, 8, rng.choice(("MENU", "PRICES", "SPECIALS", "TODAY")), size + 4, ink, "center", w - 20)
    questions = []
    for i, item in enumerate(items):
        y = 8 + step * (i + 1)
        price = mark + lexicon.money(rng, split, 1, 30)
        used = page.text(14, y, item, size, ink, "left", w * 0.55)
        page.text(w - 14, y, price, size, ink, "right", w - 40 - used)
        questions.append(Question(f"what is the price of the {item.lower()}?", [price], (f"How much is the {item.lower()}?",)))
    return page, questions


GENRES = ("Travel", "History", "Cooking", "Science", "Romance", "Humor", "Sports", "Religion", "Business", "Health", "Poetry",
          "Law")


def cover_page(rng: random.Random, split: str, h: int, w: int):
    color = paint.any_color(rng)
    page = Page(rng, split, h, w, color, ("clean", "display"), 0.7)
    ink = contrasting(rng, color)
    words = [lexicon.word(rng, split, 3, 8).capitalize() for _ in range(rng.randint(1, 3))]
    title = " ".join(words)
    author, genre = lexicon.person(rng, split), rng.choice(GENRES)
    lines = [" ".join(words[:2])] + ([words[2]] if len(words) > 2 else []) if rng.random() < 0.5 else words
    size = int(min(h * 0.13, 46))
    y = h * rng.uniform(0.05, 0.16)
    for line in lines:
        page.text(w / 2, y, line, size, ink, "center", w - 24)
        y += size * 1.2
    if rng.random() < 0.5 and y < h * 0.5:
        cx, r = w * rng.uniform(0.3, 0.7), h * 0.1
        page.draw.ellipse((cx - r, h * 0.62 - r, cx + r, h * 0.62 + r), fill=paint.near(rng, color, 60))
    small = int(size * 0.7)
    page.text(w / 2, h * 0.74, rng.choice((genre, genre.upper())), small, ink, "center", w - 24)
    page.text(w / 2, h * 0.87, rng.choice(("", "by ")) + author, small, ink, "center", w - 24)
    return page, [Question("What is the title of this book?", [title], ("Which book is this?",)),
                  Question("Who wrote this book?", [author]),
                  Question("Who is the author of this book?", [author]),
                  Question("What is the genre of this book?", [genre]),
                  Question("What type of book is this?", [genre])]


SCENES = (signs, signs, shop, bus, prices)


def all_questions(rng: random.Random, slot: str, split: str, bucket: tuple[int, int] | None) -> list[Sample]:
    build = cover_page if slot == "cover" else rng.choice(SCENES)
    return samples(*build(rng, split, *frame(rng, bucket, SIZES)), slot, 0.7, 3.0)
