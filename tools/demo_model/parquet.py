"""The Parquet file of OCRBench's Hugging Face copy: its columns, uncompressed, PLAIN encoded, one row group, one page a column.

Every field is optional and lists have three levels, as pyarrow writes them. Source: parquet.thrift and Encodings.md of
apache/parquet-format; the metadata are structs in Thrift's compact protocol.
"""
import itertools

MAGIC = b"PAR1"
BYTE_ARRAY, INT32_TYPE, INT64_TYPE = 6, 5, 6          # a Parquet type; two types of the compact protocol
OPTIONAL, REPEATED = 1, 2
UTF8, LIST = 0, 3                                     # converted types
PLAIN, RLE = 0, 3                                     # encodings


class I32(int):
    """A whole number that its struct declares as i32 or as an enum; a plain int is an i64."""


def varint(n: int) -> bytes:
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def type_of(value) -> int:
    if isinstance(value, int):
        return INT32_TYPE if isinstance(value, I32) else INT64_TYPE
    return {str: 8, list: 9, dict: 12}[type(value)]


def compact(value) -> bytes:
    """Thrift's compact protocol; a struct is {field id: value} with the ids in order, a list is not empty."""
    if isinstance(value, int):
        return varint(value << 1)                     # zigzag of a number that is not negative
    if isinstance(value, str):
        data = value.encode()
        return varint(len(data)) + data
    if isinstance(value, list):
        count = bytes([min(len(value), 15) << 4 | type_of(value[0])]) + (varint(len(value)) if len(value) > 14 else b"")
        return count + b"".join(map(compact, value))
    out, last = b"", 0
    for field, item in value.items():
        out += bytes([field - last << 4 | type_of(item)]) + compact(item)
        last = field
    return out + b"\0"


def levels(values: list[int]) -> bytes:
    """Repetition or definition levels below 4 as runs, behind their size."""
    runs = b"".join(varint(len(list(run)) << 1) + bytes([level]) for level, run in itertools.groupby(values))
    return len(runs).to_bytes(4, "little") + runs


def plain(values: list[bytes]) -> bytes:
    return b"".join(len(v).to_bytes(4, "little") + v for v in values)


def page(body: bytes, count: int) -> bytes:
    size = I32(len(body))
    header = {1: I32(0), 2: size, 3: size, 5: {1: I32(count), 2: I32(PLAIN), 3: I32(RLE), 4: I32(RLE)}}
    return compact(header) + body


def leaf(name: str, text: bool = True) -> dict:
    element = {1: I32(BYTE_ARRAY), 3: I32(OPTIONAL), 4: name}
    return element | {6: I32(UTF8)} if text else element


SCHEMA = [
    {4: "schema", 5: I32(5)}, leaf("dataset"), leaf("question"), leaf("question_type"),
    {3: I32(OPTIONAL), 4: "answer", 5: I32(1), 6: I32(LIST)}, {3: I32(REPEATED), 4: "list", 5: I32(1)}, leaf("element"),
    {3: I32(OPTIONAL), 4: "image", 5: I32(2)}, leaf("bytes", text=False), leaf("path")]


def columns(rows: list[dict]) -> list[tuple[list[str], int, bytes]]:
    """(path in the schema, number of values, body of the page) of each leaf."""
    def flat(values: list[bytes], depth: int) -> tuple[int, bytes]:
        return len(values), levels([depth] * len(values)) + plain(values)

    texts = [([name], *flat([r[name].encode() for r in rows], 1)) for name in ("dataset", "question", "question_type")]
    # An answer is there (3), or stands for a list without any (1).
    steps = [step for r in rows for step in ([(int(i > 0), 3) for i in range(len(r["answer"]))] or [(0, 1)])]
    repeats, defined = ([s[k] for s in steps] for k in (0, 1))
    answers = levels(repeats) + levels(defined) + plain([a.encode() for r in rows for a in r["answer"]])
    return [*texts, (["answer", "list", "element"], len(steps), answers),
            (["image", "bytes"], *flat([r["image"] for r in rows], 2)), (["image", "path"], *flat([b""] * len(rows), 2))]


def file(rows: list[dict], metadata: dict[str, str]) -> bytes:
    """rows: dataset, question, question_type (text), answer (list of texts), image (bytes of a picture file); at least one row."""
    out, chunks = MAGIC, []
    for path, count, body in columns(rows):
        start, data = len(out), page(body, count)
        out += data
        chunks.append({2: start, 3: {
            1: I32(BYTE_ARRAY), 2: [I32(PLAIN), I32(RLE)], 3: path, 4: I32(0), 5: count, 6: len(data), 7: len(data), 9: start}})
    group = {1: chunks, 2: len(out) - len(MAGIC), 3: len(rows)}
    footer = compact({1: I32(1), 2: SCHEMA, 3: len(rows), 4: [group], 5: [{1: k, 2: v} for k, v in metadata.items()]})
    return out + footer + len(footer).to_bytes(4, "little") + MAGIC
