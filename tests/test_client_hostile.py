"""A folder of hostile and broken files with good ones between them: a clear line each, and nothing else happens."""

import io
import json
import os
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from client.image import MAX_PIXELS

MEASURE = """
import pathlib, resource, subprocess, sys
status = subprocess.call(sys.argv[2:])
pathlib.Path(sys.argv[1]).write_text(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(status)
"""  # Linux counts what a process was forked from as its memory: here a bare Python, not pytest with TensorFlow in it
FORMATS = ["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm", "ico", "tga", "pcx"]
HEADERS = {  # what claims to be of absurd size
    "gif": b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\xf7\0\0" + bytes(768) + b",\0\0\0\0\xff\xff\xff\xff\0\x08",
    "bmp": b"BM" + struct.pack("<IIIIiiHHIIiiII", 99, 0, 54, 40, 2**31 - 1, 2**31 - 1, 1, 24, 0, 0, 1, 1, 0, 0),
    "ppm": b"P6 4294967295 4294967295 255\n",
    "pgm": b"P5 99999999999999999999 9 255\n",
    "jpeg": b"\xff\xd8\xff\xc0\0\x11\x08\xff\xdc\xff\xdc\x03\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xd9",
    "tga": bytes(12) + struct.pack("<HH", 65535, 65535) + b"\x18\0",
}
TEXTS = {
    "svg": b'<svg xmlns="http://www.w3.org/2000/svg"><rect width="9e9" height="9e9"/></svg>',
    "txt": b"seven",
    "html": b"<!doctype html><title>404</title>",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3",
    "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 99999999 99999999\n",
    "zip": b"PK\x03\x04",
    "null": bytes(1000),
    "empty": b"",
}


def encoded(image, form):
    stream = io.BytesIO()
    image.save(stream, form)
    return stream.getvalue()


def chunks(*parts):
    stream = io.BytesIO(b"\x89PNG\r\n\x1a\n")
    stream.seek(0, io.SEEK_END)
    for kind, data in parts:
        PngImagePlugin.putchunk(stream, kind, data)
    return stream.getvalue()


def flat_png(width, height, depth, colour, *between):
    """A true PNG of nothing but zeros: a megabyte of memory for each kilobyte of file."""
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[colour]
    packer, line = zlib.compressobj(1), bytes(1 + width * channels * depth // 8)
    data = b"".join([*(packer.compress(line) for _ in range(height)), packer.flush()])
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return chunks((b"IHDR", header), *between, (b"IDAT", data), (b"IEND", b""))


def hostile(good):
    """Names and contents of the files; whatever opens after all must come out as some answer."""
    rng = np.random.default_rng(0)
    for form in FORMATS:
        whole = encoded(good, form)
        for part in (1, 2, 5, 10, 25, 50, 75, 90, 98):
            yield f"cut-{part}.{form}", whole[: len(whole) * part // 100]
        for number in range(12):
            damaged = bytearray(whole)
            for at in rng.integers(0, len(whole), 1 + number):
                damaged[at] = rng.integers(256)
            yield f"damaged-{number}.{form}", bytes(damaged)
        yield f"noise.{form}", whole[:12] + rng.bytes(5000)
        for name, text in TEXTS.items():
            yield f"{name}.{form}", text
    for form, header in HEADERS.items():
        yield f"absurd.{form}", header + bytes(100)
    for name, value in {"nan": np.nan, "infinite": np.inf, "huge": 3e38}.items():
        yield f"{name}.tiff", encoded(Image.fromarray(np.full((50, 50), value, np.float32)), "tiff")
    side = int(MAX_PIXELS**0.5)
    yield "bomb.png", flat_png(30_000, 2, 8, 0).replace(struct.pack(">I", 2), struct.pack(">I", 30_000), 1)
    yield "bomb-rgba.png", flat_png(side, side, 8, 6)
    yield "bomb-deep.png", flat_png(side, side, 16, 0)
    yield "bomb-text.png", flat_png(9, 9, 8, 0, (b"zTXt", b"a\0\0" + zlib.compress(bytes(1 << 28), 9)))
    yield "bomb-colours.png", flat_png(9, 9, 8, 0, (b"iCCP", b"a\0\0" + zlib.compress(bytes(1 << 28), 9)))
    yield "line.png", flat_png(1_000_000, 1, 8, 0)
    inner = flat_png(9_000, 9_000, 8, 6)
    yield "bomb.ico", b"\0\0\1\0\1\0" + struct.pack("<BBBBHHII", 0, 0, 0, 0, 1, 32, len(inner), 22) + inner


@pytest.fixture(scope="module")
def folder(tmp_path_factory, mnist_test):
    """The hostile files, with 30 good ones spread between them: good-<n>-is-<label>.png."""
    images, labels = mnist_test
    folder = tmp_path_factory.mktemp("hostile")
    good = Image.fromarray(255 - images[0]).resize((90, 90))
    names = []
    for number, (name, content) in enumerate(hostile(good)):
        (folder / name).write_bytes(content)
        names.append(name)
        if number % 10 == 0:
            names.append(f"good-{number}-is-{labels[number]}.png")
            Image.fromarray(images[number]).save(folder / names[-1])
    os.mkdir(folder / "folder.png")  # noqa: PTH102
    names += ["folder.png", "no.png"]
    (folder / "list").write_text("\n".join(names))
    return folder


@pytest.mark.parametrize("processes", ["1", "2"])
def test_each_gets_one_clear_line_and_the_good_ones_are_classified(processes, command, served, folder, tmp_path):
    arguments = ["classify", "--files-from", "list", "--server", served, "--json", "--processes", processes]
    measured = [sys.executable, "-c", MEASURE, tmp_path / "KiB", command, *arguments]
    with (tmp_path / "out").open("wb") as out, (tmp_path / "err").open("wb") as err:
        status = subprocess.call(measured, cwd=folder, stdout=out, stderr=err)
    printed = (tmp_path / "err").read_text().splitlines()
    results = [json.loads(line) for line in (tmp_path / "out").read_text().splitlines()][:-1]
    names = (folder / "list").read_text().splitlines()
    assert len(names) >= 330
    assert status == 1, printed[-3:]
    assert [result["file"] for result in results] == names
    good = [result for result in results if result["file"].startswith("good")]
    assert len(good) >= 30
    assert all("digit" in result for result in good)
    assert sum(result["file"].endswith(f"{result['digit']}.png") for result in good) >= 0.85 * len(good)
    failed = [result for result in results if "error" in result]
    assert len(failed) > 150
    assert printed[:-1] == [f"error: {result['error']}" for result in failed]
    assert all(result["error"].startswith(f"{result['file']}: ") for result in failed)
    largest = int((tmp_path / "KiB").read_text())
    assert largest < 1 << 20  # 1 GiB, of the largest process, those that read images among them
