#!/usr/bin/env python3
"""Writes small pictures of many kinds into tests/media/pictures, and what Pillow decodes of them and
of the pictures that were there before into tests/media/decode_pillow.json.

    apt install python3-numpy python3-pil libjpeg-turbo-progs
    python3 tools/make_media_samples.py

Pillow 12.3 on Debian 12's libraries made the stored values. Debian's own Pillow 9.4 is equal but in
xmp6.jpg and xmp6.webp, where it does not look for an orientation, short_palette.gif and
short_palette.bmp, where it shows grey behind the palette's end, rle4.bmp and rle8.bmp, where it
misplaces what follows a skip, and v3_alpha.bmp, which it does not read. Lossless formats must be
equal everywhere. A lossy file may come out one level different with another version of its library.
"""

import io
import json
import pathlib
import struct
import subprocess
import zlib

import numpy
import PIL
from PIL import GifImagePlugin, Image, ImageOps

ROOT = pathlib.Path(__file__).resolve().parent.parent
PICTURES = ROOT / "tests/media/pictures"
FOLDERS = ["tests/media/pictures", "tests/goldens/media"]
WIDTH, HEIGHT = 61, 43
CORNER = (24, 16)  # width and height of the samples that are there to be turned


def photo(width=WIDTH, height=HEIGHT):
    """Smooth colours with an edge and some noise, the same at every run."""
    y, x = numpy.mgrid[0:height, 0:width].astype(numpy.int64)
    noise = (x * 7919 + y * 104729 + x * y * 31) % 13
    red = x * 255 // width + noise
    green = y * 255 // height + noise
    blue = numpy.where(x + y > (width + height) // 2, 220, 40) - noise
    return numpy.clip(numpy.stack([red, green, blue], -1), 0, 255).astype(numpy.uint8)


def indices(colours, width=WIDTH, height=HEIGHT):
    y, x = numpy.mgrid[0:height, 0:width]
    return ((x // 3 + y * 2 + x * y // 40) % colours).astype(numpy.uint8)


def palette(colours):
    """RGB, never a grey ramp."""
    return [(i * 255 // max(colours - 1, 1), (i * 97) % 256, (200 - i * 53) % 256)
            for i in range(colours)]


def pack(values, bits):
    """Rows of `bits` a value, highest first, each padded to a byte."""
    shifts = numpy.arange(bits - 1, -1, -1)
    spread = (values[..., None] >> shifts & 1).astype(numpy.uint8)
    return [bytes(numpy.packbits(row.reshape(-1))) for row in spread]


def save(name, data):
    (PICTURES / name).write_bytes(data)


def encode(image, file_format, **options):
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def exif(orientation):
    return b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)


XMP = (b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="6"/></x:xmpmeta>')


# PNG ---------------------------------------------------------------------------------------------

def png_chunk(kind, data):
    return (struct.pack(">I", len(data)) + kind + data +
            struct.pack(">I", zlib.crc32(kind + data)))


def png(values, bits, colour_type, *chunks, interlaced=False):
    """values: [height, width, channels] or [height, width], `bits` each. chunks: between IHDR and
    IDAT."""
    height, width = values.shape[:2]
    values = values.reshape(height, width, -1).astype(numpy.int64)
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
                  (0, 1, 1, 2)]
    rows = b""
    for x, y, right, down in passes:
        part = values[y::down, x::right]
        if part.size:
            rows += b"".join(b"\0" + row for row in pack(part.reshape(part.shape[0], -1), bits))
    header = struct.pack(">IIBBBBB", width, height, bits, colour_type, 0, 0, int(interlaced))
    return (b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + b"".join(chunks) +
            png_chunk(b"IDAT", zlib.compress(rows, 9)) + png_chunk(b"IEND", b""))


def plte(colours):
    return png_chunk(b"PLTE", bytes(sum(palette(colours), ())))


def write_pngs():
    grey, rgb, indexed = 0, 2, 3
    for bits in (2, 4):
        save(f"grey{bits}.png", png(indices(1 << bits), bits, grey))
    for bits in (1, 4):
        save(f"palette_bits{bits}.png", png(indices(1 << bits), bits, indexed, plte(1 << bits)))
    save("grey_trns.png", png(indices(16), 4, grey, png_chunk(b"tRNS", b"\0\5")))
    save("rgb_trns.png", png(photo(), 8, rgb, png_chunk(b"tRNS", b"\0\0\0\0\0\x28")))
    ramp = numpy.arange(WIDTH)[None] * 1021 + numpy.arange(HEIGHT)[:, None] * 37
    save("la16.png", png(numpy.stack([ramp, 65535 - ramp], -1), 16, 4))
    save("grey16_interlaced.png", png(ramp, 16, grey, interlaced=True))
    save("palette_interlaced.png", png(indices(16), 4, indexed, plte(16), interlaced=True))
    save("gamma.png", png(photo(), 8, rgb, png_chunk(b"sRGB", b"\0"),
                          png_chunk(b"gAMA", struct.pack(">I", 100000)),
                          png_chunk(b"cHRM", struct.pack(">8I", *range(30000, 38000, 1000)))))
    small = indices(16, *CORNER)
    for orientation in range(1, 8):  # exif8.png is older
        save(f"exif{orientation}.png",
             png(small, 4, indexed, plte(16), png_chunk(b"eXIf", exif(orientation))))
    text = b"XML:com.adobe.xmp" + bytes(5) + XMP
    save("xmp6.png", png(small, 4, indexed, plte(16), png_chunk(b"iTXt", text)))


# JPEG --------------------------------------------------------------------------------------------

def cjpeg(*options, image=None):
    ppm = encode(image or Image.fromarray(photo()), "PPM")
    return subprocess.run(["cjpeg", "-quality", "90", *options], input=ppm, check=True,
                          capture_output=True).stdout


def jpeg_segment(marker, data):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(data) + 2) + data


def without_segment(jpeg, marker):
    at = jpeg.index(b"\xff" + bytes([marker]))
    return jpeg[:at] + jpeg[at + 2 + struct.unpack(">H", jpeg[at + 2:at + 4])[0]:]


def adobe(transform):
    return jpeg_segment(0xEE, b"Adobe" + struct.pack(">HHHB", 100, 0, 0, transform))


def write_jpegs():
    image = Image.fromarray(photo())
    save("s440.jpg", cjpeg("-sample", "1x2"))
    save("s411.jpg", cjpeg("-sample", "4x1"))
    save("s410.jpg", cjpeg("-sample", "4x2"))
    save("arithmetic.jpg", cjpeg("-arithmetic"))
    save("progressive420_restart.jpg", cjpeg("-progressive", "-sample", "2x2", "-restart", "1"))
    save("grey_progressive.jpg", cjpeg("-progressive", "-grayscale"))
    save("wide_one_row.jpg", cjpeg("-sample", "2x2", image=Image.fromarray(photo(67, 1))))
    coded = cjpeg("-sample", "1x1")
    # The three components as red, green and blue: what an Adobe marker of transform 0 says.
    save("rgb.jpg", coded[:2] + adobe(0) + without_segment(coded[2:], 0xE0))
    cmyk = encode(Image.fromarray(numpy.dstack([photo(), photo()[..., 0] // 2 + 64]), "CMYK"), "JPEG",
                  quality=90)
    bare = without_segment(cmyk, 0xEE)
    save("cmyk_bare.jpg", bare)
    save("ycck.jpg", bare[:2] + adobe(2) + bare[2:])
    progressive = encode(Image.open(io.BytesIO(cmyk)), "JPEG", quality=90, progressive=True)
    save("cmyk_progressive.jpg", progressive)
    other = Image.fromarray(255 - photo(*CORNER))
    save("two.mpo", encode(image, "MPO", save_all=True, append_images=[other], quality=80))
    turned = cjpeg(image=Image.fromarray(photo(*CORNER)))
    save("xmp6.jpg", turned[:2] + jpeg_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP) +
         turned[2:])


# WebP --------------------------------------------------------------------------------------------

def riff_chunk(kind, data):
    return kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2)


def webp_file(*chunks):
    return riff_chunk(b"RIFF", b"WEBP" + b"".join(chunks))


def le24(*values):
    return b"".join(struct.pack("<I", v)[:3] for v in values)


def extended(flags, width, height):
    return riff_chunk(b"VP8X", bytes([flags, 0, 0, 0]) + le24(width - 1, height - 1))


def frame(webp, x, y, width, height):
    header = le24(x // 2, y // 2, width - 1, height - 1, 100) + b"\0"
    return riff_chunk(b"ANMF", header + webp[12:])


def write_webps():
    image = Image.fromarray(photo())
    alpha = Image.fromarray(numpy.dstack([photo(), indices(256)]), "RGBA")
    save("lossy.webp", encode(image, "WEBP", quality=80))
    save("lossy_rough.webp", encode(image, "WEBP", quality=5))
    save("lossy_one.webp", encode(Image.fromarray(photo(1, 1)), "WEBP", quality=80))
    save("lossy_alpha.webp", encode(alpha, "WEBP", quality=80))
    save("lossless.webp", encode(image, "WEBP", lossless=True))
    save("lossless_alpha.webp", encode(alpha, "WEBP", lossless=True, exact=True))
    paletted = Image.fromarray(numpy.array(palette(16), numpy.uint8)[indices(16)])
    save("lossless_palette.webp", encode(paletted, "WEBP", lossless=True))
    others = [Image.fromarray(255 - photo()), Image.fromarray(photo() // 2)]
    save("animated.webp", encode(image, "WEBP", save_all=True, append_images=others, quality=70))
    animation = riff_chunk(b"ANIM", struct.pack("<IH", 0xFF2080E0, 0))
    small = Image.fromarray(photo(*CORNER))
    for name, options in (("lossless", {"lossless": True}), ("lossy", {"quality": 80})):
        coded = encode(small, "WEBP", **options)
        save(f"animated_offset_{name}.webp",
             webp_file(extended(2, WIDTH, HEIGHT), animation, frame(coded, 10, 6, *CORNER),
                       frame(coded, 0, 0, *CORNER)))
    alpha_frame = encode(alpha.resize(CORNER), "WEBP", quality=80)
    start = alpha_frame.index(b"ALPH")
    save("animated_alpha.webp", webp_file(
        extended(0x12, WIDTH, HEIGHT), animation,
        frame(alpha_frame[:12] + alpha_frame[start:], 2, 20, *CORNER)))
    for orientation in range(1, 9):
        save(f"exif{orientation}.webp",
             encode(small, "WEBP", quality=80, exif=b"Exif\0\0" + exif(orientation)))
    coded = encode(small, "WEBP", quality=80)
    save("xmp6.webp", webp_file(extended(4, *CORNER), coded[12:], riff_chunk(b"XMP ", XMP)))


# GIF ---------------------------------------------------------------------------------------------

def gif_image(colours, width=WIDTH, height=HEIGHT):
    image = Image.fromarray(indices(colours, width, height), "P")
    image.putpalette(sum(palette(colours), ()))
    return image


def gif_frame(image, offset=(0, 0), local=False, **options):
    image.encoderinfo = {"include_color_table": local}
    return b"".join(GifImagePlugin.getdata(image, offset, include_color_table=local, **options))


def gif_file(width, height, global_palette, *blocks, background=0):
    bits = max(1, (len(global_palette) - 1).bit_length()) if global_palette else 1
    flags = (0x80 if global_palette else 0) | bits - 1
    table = bytes(sum(global_palette, ())).ljust(3 << bits, b"\0") if global_palette else b""
    return (b"GIF89a" + struct.pack("<HHBBB", width, height, flags, background, 0) + table +
            b"".join(blocks) + b";")


def graphic_control(transparent):
    return b"!\xf9\4\1\0\0" + bytes([transparent]) + b"\0"


def write_gifs():
    photo_indexed = Image.fromarray(photo()).quantize(256)
    save("photo.gif", encode(photo_indexed, "GIF", interlace=0))
    save("interlaced.gif", encode(gif_image(64), "GIF", interlace=1))
    for height in (1, 2, 3, 5):
        save(f"interlaced{height}.gif", encode(gif_image(8, 7, height), "GIF", interlace=1))
    save("transparent.gif", encode(gif_image(16), "GIF", transparency=5, interlace=0))
    save("two_colours.gif", encode(gif_image(2), "GIF", interlace=0))
    save("grey.gif", encode(Image.fromarray(photo()[..., 0]), "GIF", interlace=0))
    others = [gif_image(16, WIDTH, HEIGHT).transpose(Image.Transpose.ROTATE_180)]
    save("animated.gif", encode(gif_image(16), "GIF", save_all=True, append_images=others, loop=0))
    small = gif_image(16, *CORNER)
    inner = gif_frame(small, (10, 6))
    save("offset.gif", gif_file(WIDTH, HEIGHT, palette(16), inner, background=3))
    save("offset_transparent.gif",
         gif_file(WIDTH, HEIGHT, palette(16), b"!\xfe\5hello\0", graphic_control(7), inner))
    save("beyond_screen.gif", gif_file(20, 40, palette(16), inner))
    save("local.gif", gif_file(*CORNER, palette(4)[::-1], gif_frame(small, local=True)))
    save("no_palette.gif", gif_file(*CORNER, None, gif_frame(small)))
    save("short_palette.gif", gif_file(*CORNER, palette(8), gif_frame(small)))
    # Random pixels fill the table of 4096 codes, so that the writer has to clear it.
    noise = numpy.array([(i * i * 2654435761 >> 13) & 255 for i in range(100 * 90)], numpy.uint8)
    full = Image.fromarray(noise.reshape(90, 100), "P")
    full.putpalette(sum(palette(256), ()))
    save("noise.gif", encode(full, "GIF", interlace=0))


# BMP ---------------------------------------------------------------------------------------------

def bmp(width, height, bits, rows, header_bytes=40, compression=0, colours=(), masks=(), offset=None,
        used=None, top_down=False):
    """rows: bytes in the order of the file, or all of them at once."""
    if isinstance(rows, list):
        rows = b"".join(row.ljust(-(-len(row) // 4) * 4, b"\0") for row in rows)
    if header_bytes == 12:
        header = struct.pack("<IHHHH", 12, width, height, 1, bits)
        table = b"".join(bytes(c[::-1]) for c in colours)
    else:
        header = struct.pack("<IiiHHIIiiII", header_bytes, width, -height if top_down else height, 1,
                             bits, compression, len(rows), 2835, 2835,
                             len(colours) if used is None else used, 0)
        table = b"".join(bytes(c[::-1]) + b"\0" for c in colours)
        mask_bytes = struct.pack(f"<{len(masks)}I", *masks)
        if header_bytes == 40:
            table = mask_bytes + table
        else:
            header = (header + mask_bytes).ljust(header_bytes, b"\0")
    start = 14 + len(header) + len(table)
    file_header = b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0,
                                      start if offset is None else offset)
    return file_header + header + table + rows


def run_lengths(values, four_bits):
    """Runs of equal values, literals between them; a skip over the 5 values that start row 2."""
    out = b""
    for y, row in enumerate(values[::-1]):
        x = 0
        if y == 2:
            out += bytes([0, 2, 5, 0])
            x = 5
        while x < len(row):
            run = 1
            while x + run < len(row) and row[x + run] == row[x] and run < 255:
                run += 1
            literal = row[x:x + (6 if four_bits else 7)]
            # Pillow 12.3 misreads literals of an odd number of 4-bit values.
            if run < 3 and len(literal) >= 3 and not (four_bits and len(literal) % 2):
                data = pack(literal[None].astype(numpy.int64), 4)[0] if four_bits else bytes(literal)
                out += bytes([0, len(literal)]) + data + b"\0" * (len(data) % 2)
                x += len(literal)
            else:
                value = int(row[x])
                out += bytes([run, value * 17 if four_bits else value])
                x += run
        out += b"\0\0"
    return out + b"\0\1"


def write_bmps():
    rgb = photo()
    bgr = [bytes(row[:, ::-1].tobytes()) for row in rgb[::-1]]
    size = (WIDTH, HEIGHT)
    for bits in (1, 4, 8):
        rows = pack(indices(1 << bits)[::-1].astype(numpy.int64), bits)
        save(f"bits{bits}.bmp", bmp(*size, bits, rows, colours=palette(1 << bits)))
    eight = pack(indices(20)[::-1].astype(numpy.int64), 8)
    save("short_palette.bmp", bmp(*size, 8, eight, colours=palette(12)))
    save("all_colours.bmp", bmp(*size, 4, pack(indices(16)[::-1].astype(numpy.int64), 4),
                                colours=palette(16), used=0))
    save("grey8.bmp", bmp(*size, 8, pack(indices(256)[::-1].astype(numpy.int64), 8),
                          colours=[(i, i, i) for i in range(256)]))
    save("os2.bmp", bmp(*size, 4, pack(indices(16)[::-1].astype(numpy.int64), 4), header_bytes=12,
                        colours=palette(16)))
    save("os2_24.bmp", bmp(*size, 24, bgr, header_bytes=12))
    save("os2_v2.bmp", bmp(*size, 4, pack(indices(16)[::-1].astype(numpy.int64), 4), header_bytes=64,
                           colours=palette(16)))
    save("bits24.bmp", bmp(*size, 24, bgr))
    save("top_down.bmp", bmp(*size, 24, bgr[::-1], top_down=True))
    save("no_offset.bmp", bmp(*size, 8, eight, colours=palette(20), offset=0))
    save("forgotten_palette.bmp", bmp(*size, 8, eight, colours=palette(20), offset=54))
    wide = rgb.astype(numpy.int64)
    x555 = (wide[..., 0] >> 3) << 10 | (wide[..., 1] >> 3) << 5 | wide[..., 2] >> 3
    x565 = (wide[..., 0] >> 3) << 11 | (wide[..., 1] >> 2) << 5 | wide[..., 2] >> 3
    rows_of = lambda values, kind: [row.astype(kind).tobytes() for row in values[::-1]]
    save("bits16.bmp", bmp(*size, 16, rows_of(x555, "<u2")))
    save("fields565.bmp", bmp(*size, 16, rows_of(x565, "<u2"), compression=3,
                              masks=(0xF800, 0x7E0, 0x1F)))
    save("fields555.bmp", bmp(*size, 16, rows_of(x555, "<u2"), compression=3,
                              masks=(0x7C00, 0x3E0, 0x1F)))
    bgrx = wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2] | 0x7F000000
    rgbx = wide[..., 0] << 24 | wide[..., 1] << 16 | wide[..., 2] << 8 | 0x7F
    save("bits32.bmp", bmp(*size, 32, rows_of(bgrx, "<u4")))
    save("fields32.bmp", bmp(*size, 32, rows_of(rgbx, "<u4"), compression=3,
                             masks=(0xFF000000, 0xFF0000, 0xFF00)))
    save("v3_alpha.bmp", bmp(*size, 32, rows_of(bgrx, "<u4"), header_bytes=56, compression=3,
                             masks=(0xFF0000, 0xFF00, 0xFF, 0xFF000000)))
    for version, header_bytes in ((4, 108), (5, 124)):
        save(f"v{version}.bmp", bmp(*size, 32, rows_of(rgbx, "<u4"), header_bytes=header_bytes,
                                    compression=3, masks=(0xFF000000, 0xFF0000, 0xFF00, 0xFF)))
    blocky = indices(200)
    blocky[5:20] = blocky[5:20] // 50 * 50
    save("rle8.bmp", bmp(*size, 8, run_lengths(blocky, False), compression=1, colours=palette(200)))
    blocky = indices(16)
    blocky[5:20] = blocky[5:20] // 8
    save("rle4.bmp", bmp(*size, 4, run_lengths(blocky, True), compression=2, colours=palette(16)))


def decoded(path):
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    return f'{{"size": [{image.height}, {image.width}], "crc32": {zlib.crc32(image.tobytes())}}}'


def main():
    for write in (write_pngs, write_jpegs, write_webps, write_gifs, write_bmps):
        write()
    folders = []
    for folder in FOLDERS:
        files = sorted(p for p in (ROOT / folder).iterdir() if p.is_file())
        lines = ",\n".join(f"  {json.dumps(p.name)}: {decoded(p)}" for p in files)
        folders.append(f' "{folder}": {{\n{lines}\n }}')
    text = f'{{\n "pillow": "{PIL.__version__}",\n' + ",\n".join(folders) + "\n}\n"
    (ROOT / "tests/media/decode_pillow.json").write_text(text)


if __name__ == "__main__":
    main()
