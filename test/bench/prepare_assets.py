"""Lays out the test assets as picture folders that `dopt quantize` takes: calibration and scored pictures apart.

    python prepare_assets.py ASSETS OUT

OUT gets imagenet/, cifar10/, coco/, camvid/ and speech/, each with calibration/, test/ and labels; views/ has more pictures
without labels, to compare decisions on. Files are linked, not
copied, except for CIFAR-10, whose rows are cut out of the sheets. No picture is in both folders; COCO has too few
pictures to give any away, so its models calibrate on ImageNet pictures (of other scenes, not the scored ones).
text/ gets calibration.npy and test.npy, windows of characters as numbers, and labels.npy, the character that follows each
window of the test.
"""
import json
import os
import sys

import numpy as np
from PIL import Image, ImageOps

CALIBRATION = 200

#: Windows of text for the character model: their length, and how many are scored.
WINDOW, WINDOWS = 48, 1000


def link(source, target):
    os.makedirs(os.path.dirname(target), exist_ok=True)
    if not os.path.lexists(target):
        os.symlink(os.path.abspath(source), target)


def imagenet(assets, out):
    folder = os.path.join(assets, "data", "imagenet")
    names = sorted(os.listdir(folder))
    # Every other picture, so that both halves cover the classes evenly.
    for part, chosen in (("calibration", names[0::2][:CALIBRATION]), ("test", names[1::2])):
        for name in chosen:
            link(os.path.join(folder, name), os.path.join(out, "imagenet", part, name))
    link(os.path.join(assets, "data", "imagenet_labels.txt"), os.path.join(out, "imagenet", "labels.txt"))


def cifar10(assets, out):
    folder = os.path.join(assets, "data", "cifar10")
    with open(os.path.join(folder, "labels.json"), encoding="utf-8") as file:
        labels = json.load(file)
    lines = []
    for part, sheet, count in (("calibration", "train_00.png", CALIBRATION), ("test", "test.png", None)):
        rows = np.asarray(Image.open(os.path.join(folder, sheet)).convert("RGB"))[:count]
        os.makedirs(os.path.join(out, "cifar10", part), exist_ok=True)
        for index, row in enumerate(rows):
            name = "%s-%04d.png" % (part, index)
            Image.fromarray(row.reshape(32, 32, 3)).save(os.path.join(out, "cifar10", part, name))
            if part == "test":
                lines.append("%s %d" % (name, labels["test"][index]))
    with open(os.path.join(out, "cifar10", "labels.txt"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def coco(assets, out):
    folder = os.path.join(assets, "data", "coco")
    for name in sorted(os.listdir(os.path.join(folder, "images"))):
        link(os.path.join(folder, "images", name), os.path.join(out, "coco", "test", name))
    for name in sorted(os.listdir(os.path.join(folder, "labels"))):
        link(os.path.join(folder, "labels", name), os.path.join(out, "coco", "labels", name))


def camvid(assets, out):
    folder = os.path.join(assets, "data", "camvid")
    for source, part in (("train", "calibration"), ("test", "test"), ("testannot", "labels")):
        for name in sorted(os.listdir(os.path.join(folder, source))):
            link(os.path.join(folder, source, name), os.path.join(out, "camvid", part, name))


def speech(assets, out):
    folder = os.path.join(assets, "data", "speech")
    with open(os.path.join(assets, "models", "tensorflow", "kws-labels.txt"), encoding="utf-8") as file:
        classes = file.read().split()
    lines = []
    for number, name in enumerate(classes):
        clips = sorted(os.listdir(os.path.join(folder, name)))
        for place, clip in enumerate(clips):
            part = "calibration" if place % 2 == 0 else "test"
            link(os.path.join(folder, name, clip), os.path.join(out, "speech", part, name, clip))
            if part == "test":
                lines.append("%s/%s %d" % (name, clip, number))
    with open(os.path.join(out, "speech", "labels.txt"), "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")


def text(assets, out):
    with open(os.path.join(assets, "data", "text", "tinyshakespeare.txt"), encoding="utf-8") as file:
        characters = file.read()
    # The model's own numbering: the characters of the whole text in code-point order.
    numbers = {character: number for number, character in enumerate(sorted(set(characters)))}
    ids = np.array([numbers[character] for character in characters], np.int64)
    border = len(ids) * 9 // 10
    rng = np.random.default_rng(0)
    os.makedirs(os.path.join(out, "text"), exist_ok=True)
    # The model was trained on the first nine tenths.
    for part, start, end, count in (("calibration", 0, border, CALIBRATION), ("test", border, len(ids), WINDOWS)):
        starts = rng.integers(start, end - WINDOW, count)
        np.save(os.path.join(out, "text", part + ".npy"), np.stack([ids[s : s + WINDOW] for s in starts]))
    np.save(os.path.join(out, "text", "labels.npy"), ids[starts + WINDOW])


def views(assets, out):
    """Pictures to compare decisions on, none of which calibrates: five views of each scored one, and all scenes for detectors."""
    for part, cut in (("cifar10", shifts), ("imagenet", windows)):
        os.makedirs(os.path.join(out, "views", part), exist_ok=True)
        for name in sorted(os.listdir(os.path.join(out, part, "test"))):
            picture = Image.open(os.path.join(out, part, "test", name)).convert("RGB")
            for number, view in enumerate(cut(picture)):
                stem = os.path.splitext(name)[0]
                view.save(os.path.join(out, "views", part, "%s-%d.png" % (stem, number)), compress_level=1)
    for part, folder in (("coco", "test"), ("imagenet", "test"), ("camvid", "test"), ("camvid", "calibration")):
        for name in sorted(os.listdir(os.path.join(out, part, folder))):
            link(os.path.join(out, part, folder, name), os.path.join(out, "views", "scenes", part + "-" + name))


def shifts(picture):
    """The picture, its mirror image and three that are moved by four pixels, the border repeated."""
    pixels = np.pad(np.asarray(picture), ((4, 4), (4, 4), (0, 0)), mode="edge")
    height, width = picture.size[1], picture.size[0]
    yield picture
    yield ImageOps.mirror(picture)
    for top, left, mirrored in ((0, 0, False), (8, 8, False), (0, 8, True)):
        moved = Image.fromarray(pixels[top : top + height, left : left + width])
        yield ImageOps.mirror(moved) if mirrored else moved


def windows(picture):
    """The picture, its mirror image and three windows of seven eighths of its sides, at corners."""
    width, height = picture.size
    wide, high = width * 7 // 8, height * 7 // 8
    yield picture
    yield ImageOps.mirror(picture)
    for top, left, mirrored in ((0, 0, False), (height - high, width - wide, False), (0, width - wide, True)):
        window = picture.crop((left, top, left + wide, top + high))
        yield ImageOps.mirror(window) if mirrored else window


def main():
    assets, out = sys.argv[1:]
    for part in (imagenet, cifar10, coco, camvid, speech, text, views):
        part(assets, out)


if __name__ == "__main__":
    main()
