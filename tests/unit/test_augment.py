"""Augmentation against slow references, image by image."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from trainkit.augment import (
    TEST_TIME_VIEWS,
    Pipeline,
    TranslateFlip,
    affine,
    cutout,
    mirrored,
    to_float,
)
from trainkit.spec import Augment

STRONG = Augment(flip=True, translate=2, rotate=20, scale=0.2, shear=10, cutout=3)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(n: int, height: int = 6, width: int = 5, channels: int = 3) -> torch.Tensor:
    """Images without a zero, so that what came in from outside is known."""
    return torch.randint(1, 256, (n, height, width, channels), generator=generator(9), dtype=torch.uint8)


def moved(image: np.ndarray, down: int, right: int, mirrored: bool) -> np.ndarray:
    """An image shifted by whole pixels with zeros coming in, after mirroring it."""
    image = image[:, ::-1] if mirrored else image
    out = np.zeros_like(image)
    height, width = image.shape[:2]
    for row, column in product(range(height), range(width)):
        if 0 <= row - down < height and 0 <= column - right < width:
            out[row, column] = image[row - down, column - right]
    return out


@pytest.mark.parametrize(("pixels", "flip"), [(1, False), (2, True), (0, True)])
def test_translate_flip_gives_each_shift_and_mirror_image_and_nothing_else(pixels, flip):
    image = images(1)
    many = image.expand(600, -1, -1, -1)
    shifts = range(-pixels, pixels + 1)
    allowed = {
        moved(image[0].numpy(), down, right, mirrored).tobytes(): (down, right, mirrored)
        for down, right, mirrored in product(shifts, shifts, (False, True) if flip else (False,))
    }
    out = TranslateFlip(pixels, flip, generator())(many)
    seen = [allowed[picture.numpy().tobytes()] for picture in out]  # KeyError: not a shift of it
    assert set(seen) == set(allowed.values())
    if flip:
        assert np.mean([mirrored for _, _, mirrored in seen]) == pytest.approx(0.5, abs=0.08)


def test_translate_flip_leaves_each_image_at_its_place_in_the_batch():
    x = images(30)
    changed = TranslateFlip(1, True, generator(3))(x)
    for before, after in zip(x.numpy(), changed.numpy(), strict=True):
        shifts = product((-1, 0, 1), (-1, 0, 1), (False, True))
        assert any(np.array_equal(after, moved(before, *shift)) for shift in shifts)


def test_batches_of_any_number_and_size_follow_each_other():
    move = TranslateFlip(1, True, generator())
    for batch in (images(7), images(3), images(9), images(4, 8, 8), images(4, 8, 8, 1), images(5)):
        for before, after in zip(batch.numpy(), move(batch).numpy(), strict=True):
            shifts = product((-1, 0, 1), (-1, 0, 1), (False, True))
            assert any(np.array_equal(after, moved(before, *shift)) for shift in shifts)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_cutout_zeroes_one_square_around_each_pixel_and_nothing_else(side):
    height, width = 6, 5
    holes = set()
    for row, column in product(range(height), range(width)):
        top, left = row - side // 2, column - side // 2
        hole = np.zeros((height, width), bool)
        hole[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] = True
        holes.add(hole.tobytes())
    x = images(600)
    out = cutout(x, side, generator())
    changed = (out != x).any(-1)
    assert {mask.numpy().tobytes() for mask in changed} == holes
    assert not out[changed].any()


# -- Affine --------------------------------------------------------------------------------------


def sampled(image: torch.Tensor, angle: float, factor: float, skew: float) -> torch.Tensor:
    """A slow affine map of ``(C, H, W)``: each output pixel looks its source up, bilinearly."""
    height, width = image.shape[1:]
    out = torch.zeros_like(image)
    for row, column in product(range(height), range(width)):
        x = ((2 * column + 1) / width - 1) / factor
        y = ((2 * row + 1) / height - 1) / factor
        # The shear adds to x by y, then both are rotated.
        x, y = (
            math.cos(angle) * x + (math.cos(angle) * skew - math.sin(angle)) * y,
            math.sin(angle) * x + (math.sin(angle) * skew + math.cos(angle)) * y,
        )
        source_x, source_y = ((x + 1) * width - 1) / 2, ((y + 1) * height - 1) / 2
        left, top = math.floor(source_x), math.floor(source_y)
        for dx, dy in product((0, 1), (0, 1)):
            if 0 <= left + dx < width and 0 <= top + dy < height:
                weight = (1 - abs(source_x - left - dx)) * (1 - abs(source_y - top - dy))
                out[:, row, column] += weight * image[:, top + dy, left + dx]
    return out


def test_affine_looks_up_each_pixel_where_a_slow_reference_does():
    x = to_float(images(6, 7, 7))
    draws = torch.rand((3, 6), generator=generator(4)) * 2 - 1
    expected = [
        sampled(
            x[i],
            math.radians(30 * draws[0, i].item()),
            1 + 0.2 * draws[2, i].item(),
            math.tan(math.radians(15 * draws[1, i].item())),
        )
        for i in range(6)
    ]
    assert torch.allclose(affine(x, 30, 0.2, 15, generator(4)), torch.stack(expected), atol=0.05)


@pytest.mark.parametrize("quarters", [1, 2, 3])
def test_affine_by_right_angles_is_an_exact_rotation(quarters):
    x = to_float(images(1, 8, 8))
    draw = (torch.rand((3, 1), generator=generator(1)) * 2 - 1)[0].item()
    turned = affine(x, 90 * quarters / draw, 0.0, 0.0, generator(1))
    assert torch.allclose(turned, torch.rot90(x, quarters, (2, 3)), atol=0.01)


def test_the_drawn_scale_is_that_of_the_picture():
    x = torch.zeros(100, 1, 48, 48)
    x[:, :, 12:36, 12:36] = 1
    areas = affine(x, 0, 0.5, 0, generator(2)).sum((1, 2, 3))
    draws = torch.rand((3, 100), generator=generator(2))[2] * 2 - 1
    assert torch.allclose(areas, 24**2 * (1 + 0.5 * draws).square(), rtol=0.1)


def test_affine_with_nothing_to_do_changes_nothing():
    x = to_float(images(3))
    assert torch.allclose(affine(x, 0, 0, 0, generator()), x, atol=1e-3)


# -- The pipeline ---------------------------------------------------------------------------------


def test_without_augmentation_training_sees_what_evaluation_sees():
    x = images(5)
    pipeline = Pipeline(Augment(), (0.1, 0.2, 0.3), (0.5, 0.6, 0.7), generator())
    assert torch.equal(pipeline.train(x), pipeline.evaluate(x))


def test_evaluation_is_never_augmented_and_draws_no_numbers():
    x, draws = images(5), generator()
    before = draws.get_state()
    plain = Pipeline(Augment(), (0.5,) * 3, (0.5,) * 3, generator())
    assert torch.equal(Pipeline(STRONG, (0.5,) * 3, (0.5,) * 3, draws).evaluate(x), plain.evaluate(x))
    assert torch.equal(draws.get_state(), before)


def test_normalised_images_have_zero_mean_and_unit_deviation():
    x = images(200)
    scaled = x.double() / 255
    mean = tuple(scaled.mean((0, 1, 2)).tolist())
    std = tuple(scaled.std((0, 1, 2), correction=0).tolist())
    out = Pipeline(Augment(), mean, std, generator()).evaluate(x)
    assert out.mean((0, 2, 3)).tolist() == pytest.approx([0, 0, 0], abs=1e-5)
    assert out.std((0, 2, 3), correction=0).tolist() == pytest.approx([1, 1, 1], abs=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_shape_and_dtype_are_kept_until_the_images_become_floats(channels):
    x = images(4, 8, 8, channels)
    for changed in (TranslateFlip(2, True, generator())(x), cutout(x, 3, generator())):
        assert (changed.shape, changed.dtype) == (x.shape, torch.uint8)
    out = Pipeline(STRONG, (0.5,) * channels, (0.5,) * channels, generator()).train(x)
    assert (out.shape, out.dtype) == ((4, channels, 8, 8), torch.float32)


@pytest.mark.parametrize(
    "augment", [Augment(), Augment(flip=True, translate=4, cutout=2)], ids=["none", "moves"]
)
def test_batches_are_channels_last(augment):
    pipeline = Pipeline(augment, (0.5,) * 3, (0.5,) * 3, generator())
    assert pipeline.train(images(4)).is_contiguous(memory_format=torch.channels_last)
    assert pipeline.evaluate(images(4)).is_contiguous(memory_format=torch.channels_last)


def test_the_same_seed_gives_the_same_batch_and_another_one_another():
    x = images(16)
    first, again, other = (
        Pipeline(STRONG, (0.5,) * 3, (0.5,) * 3, generator(seed)).train(x) for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_augmentation_leaves_the_stored_images_alone():
    x = images(8)
    before = x.clone()
    Pipeline(STRONG, (0.5,) * 3, (0.5,) * 3, generator()).train(x)
    assert torch.equal(x, before)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_evaluation_leaves_the_images_alone(dtype):
    x = images(8).to(dtype)
    before = x.clone()
    Pipeline(Augment(), (0.5,) * 3, (0.5,) * 3, generator()).evaluate(x)
    assert torch.equal(x, before)


def test_the_named_operations_in_order_are_the_whole_of_training():
    pipeline = Pipeline(STRONG, (0.5,) * 3, (0.5,) * 3, generator())
    assert list(pipeline.operations) == ["translate, flip", "cutout", "to float", "affine", "normalize"]
    assert list(Pipeline(Augment(), (0.5,), (0.5,), generator()).operations) == ["to float", "normalize"]


def test_affine_keeps_channels_last():
    pipeline = Pipeline(Augment(rotate=10), (0.5,) * 3, (0.5,) * 3, torch.Generator().manual_seed(0))
    x = pipeline.train(torch.zeros(4, 8, 8, 3, dtype=torch.uint8))
    assert x.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("flip", [False, True])
def test_a_reflecting_border_repeats_the_image_and_not_its_edge(flip):
    image = images(1)
    forms = [image[0].numpy()] + [image[0].flip(1).numpy()] * flip
    padded = [np.pad(form, ((2, 2), (2, 2), (0, 0)), mode="reflect") for form in forms]
    windows = {p[r : r + 6, c : c + 5].tobytes() for p in padded for r, c in product(range(5), range(5))}
    out = TranslateFlip(2, flip, generator(), "reflect")(image.expand(600, -1, -1, -1))
    assert {picture.numpy().tobytes() for picture in out} == windows


def test_the_chosen_images_are_mirrored_and_the_others_left_alone():
    batch = images(4)
    out = mirrored(batch, torch.tensor([True, False, False, True]))
    assert torch.equal(out[[0, 3]], batch[[0, 3]].flip(2)) and torch.equal(out[[1, 2]], batch[[1, 2]])


def test_time_views_are_six_pictures_of_the_image_whose_weights_sum_to_one():
    assert sum(weight for weight, _ in TEST_TIME_VIEWS) == 1
    image = to_float(images(1, 8, 8))
    seen = {view(image).numpy().tobytes() for _, view in TEST_TIME_VIEWS}
    assert len(seen) == 6
    padded = np.pad(image[0].numpy(), ((0, 0), (1, 1), (1, 1)), mode="reflect")
    assert padded[None, :, :8, :8].tobytes() in seen
    assert padded[None, :, 2:, 2:].tobytes() in seen
