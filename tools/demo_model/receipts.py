"""Key information: receipts, filled-in forms, nutrition tables."""
import random

from . import lexicon, paint
from .page import DIRECTLY, Page, Question, frame, samples
from .sample import Sample

RECEIPT_SIZES = [(384, 256), (384, 384)]
FORM_SIZES = [(256, 384), (384, 384), (256, 256)]
TABLE_SIZES = [(256, 256), (384, 256), (384, 384)]
DARK = ((10, 10, 14), (30, 30, 36), (40, 30, 60), (60, 60, 64))


def receipt_page(rng: random.Random, split: str, h: int, w: int) -> tuple[Page, list[Question]]:
    paper = paint.near(rng, (244, 243, 238), 10)
    page = Page(rng, split, h, w, paper, ("mono", "mono", "clean"), 0.4)
    ink = rng.choice(DARK)
    company, address, date = lexicon.company(rng, split), lexicon.address(rng, split), lexicon.date(rng, split)
    if rng.random() < 0.4:
        company = company.upper()
    items = [(i, lexicon.money(rng, split, 1, 40)) for i in rng.sample(lexicon.ITEMS, rng.randint(2, 4))]
    total = f"{sum(float(p) for _, p in items):.2f}"
    mark = rng.choice(("", "", "$", "RM "))
    lines: list[tuple[str, str, str]] = [("center", company, ""), ("center", address, "")]
    if rng.random() < 0.5:
        lines.append(("center", "Tel " + lexicon.phone(rng, split), ""))
    lines.insert(rng.randint(2, len(lines)), ("left", rng.choice(("Date: ", "Date ", "")) + date, ""))
    lines += [("both", item, price) for item, price in items]
    if rng.random() < 0.5:
        lines.append(("both", "Subtotal", total))
    word = rng.choice(("TOTAL", "Total", "Total Due", "AMOUNT DUE"))
    lines.append(("both", word, mark + total))
    if rng.random() < 0.4:
        lines.append(("center", rng.choice(("Thank you", "THANK YOU", "Please come again")), ""))
    step = (h - 16) / len(lines)
    size = int(min(step * 0.78, w * 0.085, 30))
    margin = rng.randint(8, max(9, w // 12))
    y = 6 + rng.uniform(0, 4)
    for kind, left, right in lines:
        if kind == "center":
            page.text(w / 2, y, left, size, ink, "center", w - 2 * margin)
        elif kind == "left":
            page.text(margin, y, left, size, ink, "left", w - 2 * margin)
        else:
            used = page.text(margin, y, left, size, ink, "left", (w - 2 * margin) * 0.58)
            page.text(w - margin, y, right, size, ink, "right", w - 2 * margin - used - size / 2)
        if right and rng.random() < 0.1:
            page.draw.line((margin, y + step - 2, w - margin, y + step - 2), fill=ink)
        y += step
    return page, [
        Question("what is the total amount of this receipt?" + DIRECTLY, [mark + total],
                 ("What is the total?", "How much is the total amount?")),
        Question("what is the name of the company that issued this receipt?" + DIRECTLY, [company],
                 ("Which company issued this receipt?", "What is the name of the shop?")),
        Question("when was this receipt issued?" + DIRECTLY, [date], ("What is the date?", "What is the date of this receipt?")),
        Question("where was this receipt issued?" + DIRECTLY, [address],
                 ("What is the address?", "What is the address of the shop?"))]


FIELDS = ("NAME", "DATE", "PHONE", "FAX", "CITY", "STREET", "COMPANY", "TITLE", "SUBJECT", "FROM", "TO", "CODE", "ACCOUNT",
          "ORDER NO", "PAGES", "AMOUNT", "BRAND", "REGION", "STATUS", "DEPT")


def field_value(rng: random.Random, split: str, field: str) -> str:
    if field in ("NAME", "FROM", "TO"):
        return lexicon.person(rng, split)
    if field == "DATE":
        return lexicon.date(rng, split)
    if field in ("PHONE", "FAX"):
        return lexicon.phone(rng, split)
    if field == "CITY":
        return rng.choice(lexicon.CITIES)
    if field == "STREET":
        return lexicon.address(rng, split)
    if field == "COMPANY":
        return lexicon.company(rng, split)
    if field == "AMOUNT":
        return "$" + lexicon.money(rng, split, 10, 900)
    if field == "PAGES":
        return str(rng.randint(2, 40))
    if field in ("CODE", "ACCOUNT", "ORDER NO"):
        return lexicon.number(rng, split, 4, 6) if rng.random() < 0.6 else lexicon.fresh(
            rng, split, lambda r: "".join(r.choices("ABCDEFGHKLMNPRSTUVWXYZ", k=2)) + "-" + str(r.randint(100, 9999)))
    return " ".join(lexicon.word(rng, split, 3, 9) for _ in range(rng.randint(1, 2))).capitalize()


def form_page(rng: random.Random, split: str, h: int, w: int) -> tuple[Page, list[Question]]:
    page = Page(rng, split, h, w, paint.near(rng, (246, 246, 244), 8), ("clean", "mono"), 0.2)
    ink = rng.choice(DARK)
    hand = rng.random() < 0.35
    pen = rng.choice(((20, 30, 120), (20, 20, 30))) if hand else ink
    filler = page.any_font(("hand",)) if hand else page.font
    page.unseen |= filler.split == "test"
    columns = 2 if w >= 370 and rng.random() < 0.3 else 1
    rows = rng.randint(3, min(7, (h - 20) // 36)) if columns == 1 else rng.randint(2, (h - 20) // 60)
    fields = rng.sample(FIELDS, rows * columns)
    top = 10
    if rng.random() < 0.4:
        title = rng.choice(("ORDER FORM", "FAX", "MEMO", "REQUEST", "REPORT", "APPLICATION"))
        page.text(w / 2, 6, title, 24, ink, "center", w - 20)
        top = 38
    step = (h - top - 6) / rows
    cell = w / columns
    size = int(min(step * (0.6 if columns == 1 else 0.36), 26))
    questions = []
    ruled = rng.random() < 0.5
    for i, field in enumerate(fields):
        x, y = 10 + (i % columns) * cell, top + (i // columns) * step
        empty = rng.random() < 0.08 and len(fields) > 3
        value = "" if empty else field_value(rng, split, field)
        label = field + rng.choice((":", ":", ""))
        if columns == 1:
            used = page.text(x, y, label, size, ink, "left", cell * 0.4)
            page.text(x + used + size * 0.5, y, value, size, pen, "left", cell - used - size - 12, filler)
        else:
            page.text(x, y, label, size, ink, "left", cell - 16)
            page.text(x, y + step * 0.45, value, size, pen, "left", cell - 16, filler)
        if ruled:
            page.draw.line((x, y + step - 3, x + cell - 16, y + step - 3), fill=(140, 140, 140))
        if value:
            questions.append(Question(f"what is the value for '{field}'?" + DIRECTLY, [value], (f"What is the {field.lower()}?",)))
    return page, questions


NUTRIENTS = (("Energy", "kJ", 200, 2400), ("Protein", "g", 0.5, 30), ("Fat", "g", 0.5, 40), ("Sugars", "g", 0.5, 60),
             ("Sodium", "mg", 10, 900), ("Fibre", "g", 0.5, 15), ("Salt", "g", 0.5, 4), ("Calcium", "mg", 20, 600))


def nutrition_page(rng: random.Random, split: str, h: int, w: int) -> tuple[Page, list[Question]]:
    dark = rng.random() < 0.25
    paper, ink = ((30, 40, 60), (245, 245, 245)) if dark else (paint.near(rng, (240, 240, 236), 14), rng.choice(DARK))
    page = Page(rng, split, h, w, paper, ("clean",), 0.4)
    columns = rng.sample((("Per serving", "of per serving"), ("Per 100g", "of per 100g/ml")), rng.randint(1, 2))
    rows = rng.sample(NUTRIENTS, rng.randint(3, 5))
    step = (h - 10) / (len(rows) + 2)
    size = int(min(step * 0.72, w * 0.075, 28))
    right = [w - 10] if len(columns) == 1 else [w * 0.68, w - 8]
    page.text(w / 2, 4, rng.choice(("NUTRITION", "Nutrition Facts", "Nutrition Information")), size + 2, ink, "center", w - 16)
    for (title, _), x in zip(columns, right):
        page.text(x, 4 + step, title, int(size * 0.9), ink, "right", w * 0.3)
    questions = []
    for i, (name, unit, low, high) in enumerate(rows):
        y = 4 + step * (i + 2)
        page.text(8, y, name, size, ink, "left", w * 0.36)
        for (title, wording), x in zip(columns, right):
            def make(r):
                v = r.uniform(low, high)
                return f"{v:.1f}" if high <= 60 else f"{v:.0f}"
            number = lexicon.fresh(rng, split, make)
            blank = " " if rng.random() < 0.3 else ""
            page.text(x, y, number + blank + unit, size, ink, "right", w * 0.29)
            variants = [number + blank + unit, number + ("" if blank else " ") + unit]
            questions.append(Question(f"what is the value for {name} {wording}?" + DIRECTLY, variants,
                                      (f"How much {name.lower()} is there {wording[3:]}?",)))
        if rng.random() < 0.6:
            page.draw.line((6, y - 2, w - 6, y - 2), fill=paint.near(rng, (140, 140, 140), 20))
    return page, questions


PAGES = {"receipt": (receipt_page, RECEIPT_SIZES, 0.6, 2.5), "form": (form_page, FORM_SIZES, 0.5, 1.5),
         "nutrition": (nutrition_page, TABLE_SIZES, 0.6, 3.0)}


def all_questions(rng: random.Random, slot: str, split: str, bucket: tuple[int, int] | None) -> list[Sample]:
    build, sizes, harm, tilt = PAGES[slot]
    return samples(*build(rng, split, *frame(rng, bucket, sizes)), slot, harm, tilt)
