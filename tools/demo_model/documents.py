"""Documents: letters and tables, charts, infographics; small pages with few large lines."""
import random

from . import lexicon, paint
from .page import Page, Question, frame, samples
from .sample import Sample

SIZES = {"document": [(256, 384), (384, 384), (384, 256)], "chart": [(256, 384), (384, 384)],
         "infographic": [(384, 256), (384, 384)]}
DARK = ((10, 10, 14), (30, 30, 36), (40, 30, 60))


def letter(rng: random.Random, split: str, h: int, w: int):
    page = Page(rng, split, h, w, paint.near(rng, (248, 248, 246), 6), ("clean", "mono"), 0.1)
    ink = rng.choice(DARK)
    values = {"To": lexicon.person(rng, split), "From": lexicon.person(rng, split), "Date": lexicon.date(rng, split),
              "Subject": " ".join(lexicon.word(rng, split, 3, 8) for _ in range(2)).capitalize(),
              "Phone": lexicon.phone(rng, split), "Page": str(rng.randint(2, 99))}
    heads = rng.sample(list(values), rng.randint(3, 5))
    company = lexicon.company(rng, split)
    lines = [(None, company)] + [(head, values[head]) for head in heads]
    step = (h - 16) / (len(lines) + rng.randint(0, 2))
    size = int(min(step * 0.66, 26))
    questions = [Question("what is the name of the company at the top?", [company], ("Which company is the letter from?",))]
    wording = {"To": "to whom is the document addressed?", "From": "who sent the document?",
               "Date": "what is the date of the document?",
               "Subject": "what is the subject of the document?", "Phone": "what is the phone number in the document?",
               "Page": "what is the page number?"}
    for i, (head, value) in enumerate(lines):
        y = 8 + i * step
        if head is None:
            page.text(w / 2, y, value, size + 4, ink, "center", w - 20)
            continue
        used = page.text(12, y, head + ":", size, ink, "left", w * 0.35)
        page.text(12 + used + size * 0.5, y, value, size, ink, "left", w - used - size - 20)
        questions.append(Question(wording[head], [value]))
    return page, questions


def table(rng: random.Random, split: str, h: int, w: int):
    page = Page(rng, split, h, w, paint.near(rng, (250, 250, 248), 5), ("clean",), 0.1)
    ink = rng.choice(DARK)
    columns = rng.sample(("2019", "2020", "2021", "2022", "2023"), rng.randint(1, 2 if w < 380 else 3))
    columns.sort()
    rows = rng.sample(lexicon.ITEMS if rng.random() < 0.5 else lexicon.CITIES, rng.randint(3, 5))
    step = (h - 12) / (len(rows) + 1)
    size = int(min(step * 0.62, 26))
    left = w * 0.4
    wide = (w - left - 8) / len(columns)
    head = rng.choice(((220, 226, 240), (230, 230, 230), (250, 230, 200)))
    page.draw.rectangle((4, 4, w - 4, 4 + step), fill=head)
    for j, column in enumerate(columns):
        page.text(left + (j + 1) * wide - 6, 6 + step * 0.15, column, size, ink, "right", wide - 8)
    questions = []
    for i, row in enumerate(rows):
        y = 6 + (i + 1) * step + step * 0.15
        page.text(10, y, row, size, ink, "left", left - 16)
        page.draw.line((4, y - step * 0.15 - 2, w - 4, y - step * 0.15 - 2), fill=(150, 150, 155))
        for j, column in enumerate(columns):
            value = lexicon.number(rng, split, 2, 4)
            page.text(left + (j + 1) * wide - 6, y, value, size, ink, "right", wide - 8)
            answers = [value] if len(value) < 4 else [value, f"{int(value):,}", f"{int(value):,}".replace(",", " ")]
            questions.append(Question(f"what is the value for {row} in {column}?", answers,
                                      (f"What does the table show for {row} in {column}?",)))
    return page, questions


def series(rng: random.Random, split: str):
    names = rng.choice((lexicon.ITEMS, lexicon.CITIES, lexicon.FIRST, ("2018", "2019", "2020", "2021", "2022", "2023")))
    labels = rng.sample(names, rng.randint(3, 5))
    if labels[0].isdigit():
        labels.sort()
    top = rng.choice((50, 100, 900))
    values: list[int] = []
    while len(values) < len(labels):
        v = rng.randint(max(2, top // 12), top)
        if all(abs(v - u) > top * 0.06 for u in values):
            values.append(v)
    return labels, values


def bars(rng: random.Random, split: str, h: int, w: int):
    page = Page(rng, split, h, w, paint.near(rng, (250, 250, 250), 5), ("clean",), 0.1)
    labels, values = series(rng, split)
    ink = rng.choice(DARK)
    colors = [paint.NAMED[c] for c in rng.sample(("red", "green", "blue", "orange", "purple", "brown", "pink"), len(labels))]
    if rng.random() < 0.5:
        colors = [colors[0]] * len(labels)
    title = rng.choice(("Sales", "Visitors", "Score", "Output", "Orders", "Members")) + rng.choice(("", " per year", " by group"))
    size = int(min(26, h * 0.075))
    page.text(w / 2, 4, title, size, ink, "center", w - 10)
    unit = rng.choice(("", "", "%")) if max(values) <= 100 else ""
    top = size * 1.5
    if rng.random() < 0.45:                         # bars to the right, labels at their left
        step = (h - top - 6) / len(labels)
        left, size = w * 0.34, int(min(step * 0.6, 26))
        for i, (label, value) in enumerate(zip(labels, values)):
            y = top + i * step
            page.text(left - 6, y + (step - size * 1.2) / 2, label, size, ink, "right", left - 10)
            end = left + (w - left - 62) * value / max(values)
            page.draw.rectangle((left, y + step * 0.15, end, y + step * 0.85), fill=colors[i])
            page.text(end + 5, y + (step - size * 1.2) / 2, f"{value}{unit}", size, ink, "left", w - end - 8)
    else:
        step = (w - 16) / len(labels)
        floor = h - size * 1.5
        for i, (label, value) in enumerate(zip(labels, values)):
            x = 8 + i * step
            high = (floor - top - size * 1.5) * value / max(values)
            page.draw.rectangle((x + step * 0.15, floor - high, x + step * 0.85, floor), fill=colors[i])
            page.text(x + step / 2, floor - high - size * 1.2, f"{value}{unit}", size, ink, "center", step - 4)
            page.text(x + step / 2, floor + 2, label, size, ink, "center", step - 4)
        page.draw.line((8, floor, w - 8, floor), fill=ink, width=2)
    return page, chart_questions(rng, labels, values, unit)


def chart_questions(rng: random.Random, labels, values, unit: str) -> list[Question]:
    questions = [Question(f"What is the value of {label}?", [f"{v}{unit}"], (f"What value does {label} have?",))
                 for label, v in zip(labels, values)]
    most, least = labels[values.index(max(values))], labels[values.index(min(values))]
    questions += [Question("Which one has the highest value?", [most], ("What is the name of the largest one?",)),
                  Question("Which one has the lowest value?", [least], ("What is the name of the smallest one?",)),
                  Question("What is the highest value?", [f"{max(values)}{unit}"]),
                  Question("What is the lowest value?", [f"{min(values)}{unit}"])]
    return questions


def pie(rng: random.Random, split: str, h: int, w: int):
    page = Page(rng, split, h, w, paint.near(rng, (250, 250, 250), 5), ("clean",), 0.1)
    labels, _ = series(rng, split)
    labels = labels[:4]
    colors = rng.sample(("red", "green", "blue", "orange", "purple", "brown", "pink", "yellow"), len(labels))
    cuts = sorted(rng.sample(range(8, 93, 7), len(labels) - 1))
    values = [b - a for a, b in zip([0] + cuts, cuts + [100])]
    if len(set(values)) < len(values):
        return pie(rng, split, h, w)
    ink, size = rng.choice(DARK), int(min(26, h * 0.08))
    r = min(w * 0.22, h * 0.4)
    cx, cy, start = w * 0.25, h / 2, rng.uniform(0, 360)
    step = (h - 20) / len(labels)
    for i, (label, value, color) in enumerate(zip(labels, values, colors)):
        fill = paint.NAMED[color]
        page.draw.pieslice((cx - r, cy - r, cx + r, cy + r), start, start + 3.6 * value, fill=fill, outline=(255, 255, 255))
        start += 3.6 * value
        y = 10 + i * step + (step - size) / 2
        page.draw.rectangle((w * 0.5, y + 4, w * 0.5 + size - 4, y + size), fill=fill)
        page.text(w * 0.5 + size + 2, y, f"{label} {value}%", size, ink, "left", w * 0.5 - size - 8)
    questions = chart_questions(rng, labels, values, "%")
    questions += [Question(f"What share has the {color} part?", [f"{v}%"]) for color, v in zip(colors, values)]
    return page, questions


def line(rng: random.Random, split: str, h: int, w: int):
    page = Page(rng, split, h, w, paint.near(rng, (250, 250, 250), 5), ("clean",), 0.1)
    labels, values = series(rng, split)
    ink, size = rng.choice(DARK), int(min(24, h * 0.08))
    color = paint.NAMED[rng.choice(("red", "green", "blue", "purple", "orange"))]
    step, floor, top = (w - 16) / len(labels), h - size * 1.5, size * 2.2
    points = [(8 + (i + 0.5) * step, floor - (floor - top) * v / max(values)) for i, v in enumerate(values)]
    page.draw.line((8, floor, w - 8, floor), fill=ink, width=2)
    page.draw.line(points, fill=color, width=3)
    for (x, y), label, value in zip(points, labels, values):
        page.draw.ellipse((x - 4, y - 4, x + 4, y + 4), fill=color)
        page.text(x, y - size * 1.4, str(value), size, ink, "center", step - 6)
        page.text(x, floor + 2, label, size, ink, "center", step - 6)
    return page, chart_questions(rng, labels, values, "")


SUBJECTS = ("drink tea", "own a car", "read books", "like pets", "play chess", "eat fish", "ride a bike", "work at night",
            "grow plants", "watch films", "bake bread", "speak French", "travel often", "use phones")


def infographic(rng: random.Random, split: str, h: int, w: int):
    base = paint.any_color(rng, 20, 235)
    page = Page(rng, split, h, w, base, ("clean",), 0.2)
    title = lexicon.word(rng, split, 4, 9).capitalize() + rng.choice((" Facts", " Report", " Survey", " Today"))
    head = paint.near(rng, base, 50)
    page.draw.rectangle((0, 0, w, h * 0.15), fill=head)
    light = paint.luma(head) > 130
    page.text(w / 2, h * 0.03, title, int(min(32, h * 0.085)), (15, 15, 20) if light else (250, 250, 250), "center", w - 16)
    questions = [Question("what is the title of this infographic?", [title], ("What is the headline?",))]
    count = rng.randint(2, 4)
    step = h * 0.84 / count
    for i, subject in enumerate(rng.sample(SUBJECTS, count)):
        y = h * 0.16 + i * step
        color = paint.NAMED[rng.choice(("white", "yellow", "pink", "black", "blue", "green", "purple"))]
        page.draw.rounded_rectangle((8, y + 3, w - 8, y + step - 3), radius=10, fill=color)
        ink = (15, 15, 20) if paint.luma(color) > 130 else (250, 250, 250)
        share = f"{rng.randint(2, 98)}%"
        big = int(min(step * 0.6, 44))
        used = page.text(20, y + (step - big * 1.2) / 2, share, big, ink, "left", w * 0.32)
        small = int(min(step * 0.4, 26))
        page.text(20 + used + 10, y + (step - small * 1.2) / 2, subject, small, ink, "left", w - used - 48)
        questions.append(Question(f"what percentage of people {subject}?", [share], (f"How many percent {subject}?",)))
    return page, questions


KINDS = {"document": (letter, table), "chart": (bars, bars, pie, line), "infographic": (infographic,)}


def all_questions(rng: random.Random, slot: str, split: str, bucket: tuple[int, int] | None) -> list[Sample]:
    h, w = frame(rng, bucket, SIZES[slot])
    page, questions = rng.choice(KINDS[slot])(rng, split, h, w)
    return samples(page, questions, slot, 0.4, 1.0 if slot == "document" else 0.0)
