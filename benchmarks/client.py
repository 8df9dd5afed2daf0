"""What the `digits` command takes for one file, for 10,000 small ones and for photos, against the usual client.

    python -m benchmarks.client [--models models] [--files 10000] [--photos 1000] [--passes 3] [--cores 1]

Ours asks the embedded server; the usual client, official stubs and one image a request, asks the usual hand-written
server (benchmarks/usual_server.py); all on the same cores. The table gives medians over the passes, which take turns;
the usual client's rate is that of 1,000 files without its start. The last line is one JSON document.
"""

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from benchmarks import machine, renderings
from benchmarks.servers import newest, running

USUAL_FILES = 1000
DISTINCT_PHOTOS = 12
DIGITS = [str(Path(sys.executable).with_name("digits"))]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--models", type=Path, default=Path("models"))
    options.add_argument("--files", type=int, default=10_000)
    options.add_argument("--photos", type=int, default=1000)
    options.add_argument("--passes", type=int, default=3)
    options.add_argument("--cores", type=int, default=1)
    given = options.parse_args()
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-given.cores :])  # the children inherit it
    version_dir = newest(given.models, "digits")
    with (
        tempfile.TemporaryDirectory() as made,
        running("serving", "serve", "--models", str(given.models), "--port", "0") as embedded,
        running("benchmarks.usual_server", str(version_dir)) as usual,
    ):
        folder = Path(made)
        write_digits(folder / "small", given.files)
        write_photos(folder / "photos", given.photos)
        servers = embedded.address, usual.address
        passes = [one_pass(folder, given.files, *servers) for _ in range(given.passes)]
        figures = {name: statistics.median(each[name] for each in passes) for name in passes[0]}
        if given.photos:
            figures |= photos(folder / "photos", given.photos, embedded.address)
    report(figures)
    print(json.dumps(machine.document("client", **vars(given) | {"models": None}, **figures)))


def write_digits(folder: Path, count: int) -> None:
    """Write MNIST's test images as they are, again from the first one where there are not enough."""
    from training.data import load

    images = load().unseen
    folder.mkdir()
    for number in range(count):
        Image.fromarray(images[number % len(images)]).save(folder / f"{number}.png")


def write_photos(folder: Path, count: int) -> None:
    """Write a few photos of 12 megapixels under many names."""
    folder.mkdir()
    rng, digit = np.random.default_rng(0), np.zeros((28, 28), np.uint8)
    digit[5:23, 12:15] = 255
    for number in range(count):
        path = folder / f"{number}.jpg"
        if number < DISTINCT_PHOTOS:
            photo = Image.open(io.BytesIO(renderings.jpeg(renderings.photo(digit, rng), 90)))
            photo.resize((4000, 3000), Image.Resampling.BICUBIC).save(path, quality=90)
        else:
            path.hardlink_to(folder / f"{number % DISTINCT_PHOTOS}.jpg")


def one_pass(folder: Path, count: int, embedded: str, usual: str) -> dict[str, float]:
    """Measure each case once."""
    small = [str(folder / "small" / f"{number}.png") for number in range(min(count, USUAL_FILES))]
    official = [sys.executable, "-m", "benchmarks.official_client", usual]
    loop = subprocess.run([*official, *small], capture_output=True, text=True, check=True)
    return {
        "usual_images_per_s": float(loop.stderr.splitlines()[-1]),
        "images_per_s": count / seconds(*DIGITS, "classify", str(folder / "small"), "--json", "--server", embedded)[0],
        "one_file_s": seconds(*DIGITS, "classify", small[0], "--server", embedded)[0],
        "usual_one_file_s": seconds(*official, small[0])[0],
        "help_s": seconds(*DIGITS, "--help")[0],
    }


def photos(folder: Path, count: int, embedded: str) -> dict[str, float]:
    """Measure photos once, and the most memory that the command took for them."""
    elapsed, memory = seconds(*DIGITS, "classify", str(folder), "--json", "--server", embedded)
    return {"photos_per_s": count / elapsed, "photos_memory_mb": memory}


def seconds(*command: str) -> tuple[float, float]:
    """Run a command to its end: the seconds that it took, with its start, and the most MB that it held."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[:4]} ended with {process.returncode}")
    return time.perf_counter() - started, used.ru_maxrss / 1024


def report(figures: dict[str, float]) -> None:
    """Print ours and theirs side by side."""
    table = Table("case", "digits", "usual", "ratio", box=None)
    many, usual = figures["images_per_s"], figures["usual_images_per_s"]
    table.add_row("small files, images/s", f"{many:,.0f}", f"{usual:,.0f}", f"{many / usual:.1f}")
    one, other = figures["one_file_s"], figures["usual_one_file_s"]
    table.add_row("one file, s", f"{one:.2f}", f"{other:.2f}", f"{other / one:.1f}")
    table.add_row("--help, s", f"{figures['help_s']:.2f}")
    if "photos_per_s" in figures:
        table.add_row("photos of 12 MP, images/s", f"{figures['photos_per_s']:.1f}")
        table.add_row("memory for them, MB", f"{figures['photos_memory_mb']:.0f}")
    Console(soft_wrap=True).print(table)


if __name__ == "__main__":
    main()
