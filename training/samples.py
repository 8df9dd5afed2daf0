"""MNIST test digits as a person would hand them in: dark ink on white paper, 200 pixels, PNG."""

from pathlib import Path

from PIL import Image, ImageOps

from training import data

SIZE = 200


def write(directory: Path, count: int, source: Path | None = None) -> list[Path]:
    """Write the first `count` test images as digit-<index>-is-<label>.png; the first ten hold 7 2 1 0 4 1 4 9 5 9."""
    mnist = data.load(source)
    images, labels = (*mnist.x_val, *mnist.x_test), (*mnist.y_val, *mnist.y_test)
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for index, (image, label) in enumerate(zip(images[:count], labels[:count], strict=True)):
        path = directory / f"digit-{index:02d}-is-{label}.png"
        ImageOps.invert(Image.fromarray(image)).resize((SIZE, SIZE), Image.Resampling.BICUBIC).save(path)
        paths.append(path)
    return paths
