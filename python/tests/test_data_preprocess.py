import math

import numpy as np
import pytest
from PIL import Image
from sources import PREPROCESS, data_source, error_of, picture

from dopt.data.preprocess import center_crop, check_preprocess, letterbox, resize, sample_bilinear, to_tensor
from dopt.data.source import open_source


def random_image(height, width, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8))


def settings(**changes):
    return {**PREPROCESS, **changes}


@pytest.mark.parametrize(
    "height, width, size, wanted",
    [
        (256, 341, 128, (128, 170)),  # torchvision: int(128 * 341 / 256) = 170
        (341, 256, 128, (170, 128)),
        (100, 100, 32, (32, 32)),
        (3, 1000, 2, (2, 666)),
        (20, 30, (7, 9), (7, 9)),
        (20, 30, 20, (20, 30)),
    ],
)
def test_resize_sizes(height, width, size, wanted):
    assert np.asarray(resize(random_image(height, width), size, "bilinear", "a")).shape[:2] == wanted


@pytest.mark.parametrize("name, method", [("nearest", Image.NEAREST), ("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)])
def test_resize_is_pillows(name, method):
    image = random_image(31, 47)
    np.testing.assert_array_equal(np.asarray(resize(image, (10, 20), name, "a")), np.asarray(image.resize((20, 10), method)))


def test_resize_refuses_to_explode():
    assert error_of(lambda: resize(random_image(1, 2000), 1000, "bilinear", "thin.png")).code == "DATA_PICTURE_SIZE"


@pytest.mark.parametrize("height, width, top, left", [(8, 8, 2, 2), (9, 7, 2, 2), (5, 4, 0, 0), (7, 11, 2, 4)])
def test_crop_offsets_are_torchvisions(height, width, top, left):
    # round((size - 4) / 2), half to even
    pixels = np.arange(height * width).reshape(height, width, 1)
    assert center_crop(pixels, 4, "a")[0, 0, 0] == top * width + left


def test_crop_larger_than_the_picture_says_what_to_do():
    error = error_of(lambda: center_crop(np.zeros((5, 9, 3)), (6, 4), "small.png"))
    assert error.code == "DATA_CROP" and "small.png" in error.message and "--resize 6" in error.suggestions[0]


def reference_bilinear(pixels, height, width):
    """One output value at a time, in exact arithmetic up to double precision."""
    out = np.zeros((height, width) + pixels.shape[2:])
    for y in range(height):
        for x in range(width):
            v, u = (y + 0.5) * pixels.shape[0] / height - 0.5, (x + 0.5) * pixels.shape[1] / width - 0.5
            i, j = math.floor(v), math.floor(u)
            for di, wi in ((0, 1 - (v - i)), (1, v - i)):
                for dj, wj in ((0, 1 - (u - j)), (1, u - j)):
                    row, column = min(max(i + di, 0), pixels.shape[0] - 1), min(max(j + dj, 0), pixels.shape[1] - 1)
                    out[y, x] += wi * wj * pixels[row, column]
    return out


@pytest.mark.parametrize("height, width", [(5, 6), (23, 31), (12, 40), (1, 1)])
def test_bilinear_samples_points(height, width):
    pixels = np.asarray(random_image(12, 17))
    found = sample_bilinear(pixels, height, width)
    assert np.abs(found - reference_bilinear(pixels, height, width)).max() <= 0.5001


@pytest.mark.parametrize("align, top, left", [("top-left", 0, 0), ("center", 0, 3)])
def test_letterbox_places_and_pads(align, top, left):
    image = Image.new("RGB", (9, 21), (1, 2, 3))  # ratio 16/21: 16 high, int(6.857) = 6 wide... of 13 across
    box = {"size": (16, 13), "pad": 114, "align": align}
    found = letterbox(image, box, "bilinear", "a")
    inside = np.zeros((16, 13), bool)
    inside[top : top + 16, left : left + 6] = True
    assert found.dtype == np.uint8
    assert (found[inside] == (1, 2, 3)).all() and (found[~inside] == 114).all()


def test_letterbox_pad_may_be_a_fraction():
    found = letterbox(Image.new("L", (4, 8), 5), {"size": 8, "pad": 127.5, "align": "top-left"}, "nearest", "a")
    assert found.shape == (8, 8) and found[0, 7] == 127.5 and found[0, 0] == 5


def test_steps_in_order():
    image = random_image(40, 30)
    found = to_tensor(image, settings(resize=20, crop=16, color="bgr", mean=[1, 2, 3], std=[4, 5, 6]), "a")
    pixels = np.asarray(image.resize((20, 26), Image.BILINEAR))[5:21, 2:18, ::-1].astype(np.float32)
    wanted = (pixels - np.float32([1, 2, 3])) / np.float32([4, 5, 6])
    assert found.dtype == np.float32 and found.flags.c_contiguous
    np.testing.assert_array_equal(found, wanted.transpose(2, 0, 1))


def test_layout_and_gray():
    image = random_image(6, 5)
    assert to_tensor(image, settings(layout="nhwc"), "a").shape == (6, 5, 3)
    assert to_tensor(image.convert("L"), settings(color="gray"), "a").shape == (1, 6, 5)


@pytest.mark.parametrize("key", ["mean", "std"])
@pytest.mark.parametrize("values, channels, fine", [(2.0, 3, True), ([2.0], 3, True), ([1.0, 2.0], 3, False), ([1.0] * 3, 1, False)])
def test_mean_and_std_counts(key, values, channels, fine):
    check = lambda: check_preprocess(settings(**{key: values}), channels)  # noqa: E731
    if fine:
        check()
    else:
        error = error_of(check)
        assert error.code == "DATA_MEAN_COUNT" and key in error.message


def test_resize_and_letterbox_exclude_each_other():
    both = settings(resize=4, letterbox={"size": 4, "pad": 0, "align": "center"})
    assert error_of(lambda: check_preprocess(both, 3)).code == "DATA_PREPROCESS"


# The recipes of the asset models, against independent formulas.


def first(assets, folder, shape, **preprocess):
    path = assets / "data" / folder
    sample = next(iter(open_source(data_source(path, shape, **preprocess))))
    return sample.feeds["x"], Image.open(path / sample.name).convert("RGB")


def test_proxyless(assets):
    found, image = first(assets, "imagenet", ("N", 3, 112, 112), resize=128, crop=112, mean=127.5, std=127.5)
    short = min(image.size)
    image = image.resize([int(128 * side / short) for side in image.size], Image.BILINEAR)
    left, top = round((image.size[0] - 112) / 2), round((image.size[1] - 112) / 2)
    x = np.asarray(image.crop((left, top, left + 112, top + 112)), np.float32) / 255
    np.testing.assert_allclose(found[0], ((x - 0.5) / 0.5).transpose(2, 0, 1), atol=1e-6)


def test_efficientnet_lite0(assets):
    found, image = first(
        assets, "imagenet", ("batch", 3, 224, 224), resize=256, crop=224, mean=127, std=128, interpolation="bicubic"
    )
    scale = 256 / min(image.size)
    image = image.resize([round(side * scale) for side in image.size], Image.BICUBIC)
    left, top = round((image.size[0] - 224) / 2), round((image.size[1] - 224) / 2)
    x = np.asarray(image.crop((left, top, left + 224, top + 224)), np.float32)
    np.testing.assert_array_equal(found[0], ((x - 127) / 128).transpose(2, 0, 1))


def test_yolox(assets):
    box = {"size": 416, "pad": 114, "align": "top-left"}
    found, image = first(assets, "coco/images", (1, 3, 416, 416), letterbox=box, color="bgr")
    ratio = min(416 / image.size[0], 416 / image.size[1])
    width, height = int(image.size[0] * ratio), int(image.size[1] * ratio)
    assert (found[0, :, height:] == 114).all() and (found[0, :, :, width:] == 114).all()
    smooth = np.asarray(image.resize((width, height), Image.BILINEAR), np.float32)[..., ::-1].transpose(2, 0, 1)
    # Pillow averages where YOLOX samples points, so single values differ and means do not.
    assert abs((found[0, :, :height, :width] - smooth).mean()) < 0.2


def test_cgnet(assets):
    mean = [105.65775, 103.329834, 99.625404]
    found, image = first(assets, "camvid/train", (1, 3, 360, 480), mean=mean)
    wanted = np.asarray(image, np.float64).transpose(2, 0, 1) - np.reshape(mean, (3, 1, 1))
    np.testing.assert_allclose(found[0], wanted, atol=1e-5)


def test_pictures_are_read_upright_and_their_size_is_told(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(tmp_path / "a.png", 4, 6, exif=exif)
    sample = next(iter(open_source(data_source(tmp_path, (1, 3, None, None)))))
    assert sample.feeds["x"].shape == (1, 3, 6, 4) and sample.original_size == (6, 4)
