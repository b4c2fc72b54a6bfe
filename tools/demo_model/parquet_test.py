"""Needs the standard library only. Reads the files back with a reader that shares no code with the writer."""
import itertools
import unittest

from . import parquet


class Thrift:
    """A struct of Thrift's compact protocol as {field id: (type, value)}; lists are (type of the items, items)."""
    BYTE, I32, I64, BINARY, LIST, STRUCT = 3, 5, 6, 8, 9, 12

    def __init__(self, data, at):
        self.data, self.at = data, at

    def number(self):
        value = shift = 0
        while True:
            byte = self.data[self.at]
            self.at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def value(self, kind):
        if kind in (self.I32, self.I64):
            n = self.number()
            return -(n + 1 >> 1) if n % 2 else n >> 1
        if kind == self.BINARY:
            size = self.number()
            self.at += size
            return self.data[self.at - size:self.at]
        if kind == self.LIST:
            head = self.data[self.at]
            self.at += 1
            count = head >> 4 if head >> 4 != 15 else self.number()
            return head & 15, [self.value(head & 15) for _ in range(count)]
        if kind == self.STRUCT:
            return self.struct()
        raise ValueError(f"type {kind} at byte {self.at}")

    def struct(self):
        fields, field = {}, 0
        while True:
            head = self.data[self.at]
            self.at += 1
            if head == 0:
                return fields
            if head >> 4 == 0:
                raise ValueError("long form of a field header")
            field += head >> 4
            fields[field] = (head & 15, self.value(head & 15))


def read_levels(data, at):
    """Levels of one bit or two in runs (no bit-packed groups), and where they end."""
    end = at + 4 + int.from_bytes(data[at:at + 4], "little")
    runs, levels = Thrift(data, at + 4), []
    while runs.at < end:
        head = runs.number()
        if head & 1:
            raise ValueError("a bit-packed group")
        levels += [data[runs.at]] * (head >> 1)
        runs.at += 1
    return levels, end


class File:
    """What a reader of the format finds: schema, metadata, and per leaf the (repetition, definition, value) of each entry."""

    def __init__(self, data):
        if data[:4] != b"PAR1" or data[-4:] != b"PAR1":
            raise ValueError("not a Parquet file")
        start = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
        reader = Thrift(data, start)
        footer = reader.struct()
        if reader.at != len(data) - 8:
            raise ValueError(f"the footer ends at {reader.at}, expected {len(data) - 8}")
        self.rows = footer[3][1]
        self.schema = footer[2][1][1]
        self.metadata = {pair[1][1]: pair[2][1] for pair in footer[5][1][1]}
        (self.group,) = footer[4][1][1]
        self.columns, self.ends = {}, [4]
        for chunk in self.group[1][1][1]:
            self.read_chunk(data, chunk[3][1])

    def read_chunk(self, data, column):
        path = b".".join(column[3][1][1]).decode()
        begin, size, count = column[9][1], column[7][1], column[5][1]
        if begin != self.ends[-1] or column[4] != (Thrift.I32, 0):
            raise ValueError(f"{path}: begins at {begin} after {self.ends[-1]}, codec {column[4]}")
        reader = Thrift(data, begin)
        header = reader.struct()
        if header[5][1][1] != (Thrift.I32, count) or header[3][1] != begin + size - reader.at:
            raise ValueError(f"{path}: page header {header}")
        deepest = {"answer.list.element": 3, "image.bytes": 2, "image.path": 2}.get(path, 1)
        at, repeats = reader.at, [0] * count
        if "list" in path:
            repeats, at = read_levels(data, at)
        defined, at = read_levels(data, at)
        values = []
        for level in defined:
            values.append(None)
            if level == deepest:
                size_of_value = int.from_bytes(data[at:at + 4], "little")
                values[-1] = data[at + 4:at + 4 + size_of_value]
                at += 4 + size_of_value
        if at != begin + size or not len(repeats) == len(defined) == count:
            raise ValueError(f"{path}: values end at {at}, expected {begin + size}")
        self.ends.append(at)
        self.columns[path] = list(zip(repeats, defined, values))

    def table(self):
        """Rows as the writer was given them."""
        text = {name: [v.decode() for _, _, v in self.columns[name]] for name in ("dataset", "question", "question_type")}
        answers = []
        for repeat, _, value in self.columns["answer.list.element"]:
            if repeat == 0:
                answers.append([])
            if value is not None:
                answers[-1].append(value.decode())
        images = [v for _, _, v in self.columns["image.bytes"]]
        names = (*text, "answer", "image")
        return [dict(zip(names, row)) for row in itertools.zip_longest(*text.values(), answers, images)]


def row(number, answers, image=b"\xff\xd8picture"):
    return {"dataset": "svt", "question": f"what is written in image {number}?", "question_type": "Regular Text Recognition",
            "answer": answers, "image": image}


class OcrBenchFile(unittest.TestCase):
    def test_rows_read_back(self):
        rows = [row(1, ["Café Réserve"]), row(2, ["56mg", "56 mg", ""]), row(3, []), row(4, ["x _ { 2 }\n"], b""), row(5, ["a", "b"])]
        file = File(parquet.file(rows, {"huggingface": '{"info": {}}'}))
        self.assertEqual(file.table(), rows)
        self.assertEqual(file.rows, 5)
        self.assertEqual(file.metadata, {b"huggingface": b'{"info": {}}'})
        self.assertEqual([v for _, _, v in file.columns["image.path"]], [b""] * 5)

    def test_more_rows_and_bytes_than_one_byte_counts(self):
        rows = [row(i, [str(k) for k in range(i % 3 + 1)], bytes(i % 251 for _ in range(i * 7))) for i in range(1000)]
        metadata = {f"key {i}": "v" * (i * 5000) for i in range(15)}
        file = File(parquet.file(rows, metadata))
        self.assertEqual(file.table(), rows)
        self.assertEqual(file.metadata, {k.encode(): v.encode() for k, v in metadata.items()})

    def test_lists_are_told_by_their_levels(self):
        file = File(parquet.file([row(1, ["a", "b"]), row(2, []), row(3, ["c"])], {"k": "v"}))
        self.assertEqual(file.columns["answer.list.element"], [(0, 3, b"a"), (1, 3, b"b"), (0, 1, None), (0, 3, b"c")])

    def test_the_schema_is_that_of_the_hugging_face_copy(self):
        byte_array, utf8, list_of, i32, binary = 6, 0, 3, Thrift.I32, Thrift.BINARY
        leaf = lambda name: {1: (i32, byte_array), 3: (i32, 1), 4: (binary, name), 6: (i32, utf8)}
        self.assertEqual(File(parquet.file([row(1, ["a"])], {"k": "v"})).schema, [
            {4: (binary, b"schema"), 5: (i32, 5)}, leaf(b"dataset"), leaf(b"question"), leaf(b"question_type"),
            {3: (i32, 1), 4: (binary, b"answer"), 5: (i32, 1), 6: (i32, list_of)},
            {3: (i32, 2), 4: (binary, b"list"), 5: (i32, 1)}, leaf(b"element"),
            {3: (i32, 1), 4: (binary, b"image"), 5: (i32, 2)},
            {1: (i32, byte_array), 3: (i32, 1), 4: (binary, b"bytes")}, leaf(b"path")])

    def test_the_smallest_file_byte_by_byte(self):
        """A page of the first column: its header as a struct of the compact protocol, its levels, its one value."""
        data = parquet.file([row(1, ["a"])], {"k": "v"})
        self.assertEqual(data[:33].hex(" "),
                         "50 41 52 31 "                                        # PAR1
                         "15 00 15 1a 15 1a "                                  # data page, 13 bytes, 13 bytes
                         "2c 15 02 15 00 15 06 15 06 00 00 "                   # one value, PLAIN, RLE, RLE
                         "02 00 00 00 02 01 "                                  # 2 bytes: one time level 1
                         "03 00 00 00 73 76")                                  # 3 bytes: "sv…"


if __name__ == "__main__":
    unittest.main()
