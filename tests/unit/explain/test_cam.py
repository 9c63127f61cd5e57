"""The equations of the heat maps: by hand, by a naive loop, and against pytorch-grad-cam."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ringlight.errors import ConfigError, Problems
from ringlight.explain.cam import METHODS, GradCAMPlusPlus, HiResCAM, ScoreCAM, enlarged, scaled
from ringlight.explain.look import Look, look

TARGETS = torch.tensor([[0, 1], [2, 1]])


class Tail(nn.Module):
    """Scores of a map itself: the input is the map, and the head is not linear in it."""

    def __init__(self, channels: int = 4, classes: int = 3) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, 5, 1)
        self.fc = nn.Linear(5, classes)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return x.relu()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mixed = torch.tanh(self.mix(self.forward_features(x)))
        return self.fc(mixed.flatten(2).max(dim=2).values + mixed.mean(dim=(2, 3)))


class Network(nn.Module):
    """A small convolutional network as anyone writes it."""

    def __init__(self, stride: int = 2) -> None:
        super().__init__()
        first, second = (nn.Conv2d(given, made, 3, stride, padding=1) for given, made in ((3, 6), (6, 8)))
        self.trunk = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        self.fc = nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.trunk(x).pow(2).mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def seen() -> Look:
    torch.manual_seed(0)
    return look(Tail().double().eval(), torch.randn(2, 4, 3, 5, dtype=torch.float64))


def slopes_of(seen: Look, image: int, column: int) -> np.ndarray:
    return seen.gradients(torch.full((2,), column))[image].numpy()


def naive(name: str, maps: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """The papers' equations, a number at a time."""
    channels, height, width = maps.shape
    found = np.zeros((height, width))
    places = [(i, j) for i in range(height) for j in range(width)]
    for k in range(channels):
        weight = 0.0
        for i, j in places:
            g = slopes[k, i, j]
            if name == "grad_cam":
                weight += g / len(places)
            elif g != 0:
                total = sum(maps[k, a, b] for a, b in places)
                weight += g**2 / (2 * g**2 + total * g**3) * max(g, 0.0)
        for i, j in places:
            found[i, j] += (slopes[k, i, j] if name == "hires_cam" else weight) * maps[k, i, j]
    return found


@pytest.mark.parametrize("name", ["grad_cam", "grad_cam_pp", "hires_cam"])
def test_gradients_become_maps_as_a_naive_loop_has_them(seen: Look, name: str) -> None:
    found = METHODS.build(name)(seen, TARGETS).numpy()
    assert found.shape == (2, 2, 3, 5)
    for image in range(2):
        for place in range(2):
            slopes = slopes_of(seen, image, int(TARGETS[image, place]))
            expected = naive(name, seen.maps_bchw[image].detach().numpy(), slopes)
            np.testing.assert_allclose(found[image, place], expected, atol=1e-12)


def test_maps_by_hand() -> None:
    """One channel (1, 3), the score 2 A_1 + 4 A_2: gradients 2 and 4, their mean 3, the sum of the map 4."""

    class Weighted(nn.Module):
        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            return x

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return (self.forward_features(x) * torch.tensor([2.0, 4.0])).sum(dim=(2, 3))

    one = look(Weighted(), torch.tensor([[[[1.0, 3.0]]]]))
    target = torch.tensor([[0]])
    assert METHODS.build("grad_cam")(one, target).tolist() == [[[[3.0, 9.0]]]]
    assert METHODS.build("hires_cam")(one, target).tolist() == [[[[2.0, 12.0]]]]
    weight = 2 / (2 + 4 * 2) + 4 / (2 + 4 * 4)  # 19/45
    torch.testing.assert_close(METHODS.build("grad_cam_pp")(one, target), torch.tensor([[[[weight, 3 * weight]]]]))


def test_hires_cam_adds_up_to_the_score_of_a_pooled_linear_model() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    images = torch.randn(2, 3, 6, 7)
    found = HiResCAM()(look(model, images), torch.tensor([[0, 1, 2]] * 2))
    with torch.no_grad():
        torch.testing.assert_close(found.sum(dim=(2, 3)) + model[-1].bias, model(images))


def test_a_denominator_of_zero_counts_for_nothing() -> None:
    class Steep(nn.Module):
        def forward_features(self, x: torch.Tensor) -> torch.Tensor:
            return x

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.forward_features(x).sum(dim=(2, 3))

    found = GradCAMPlusPlus()(look(Steep(), torch.tensor([[[[-3.0, 1.0]]]])), torch.tensor([[0]]))  # 2 + (-2) x 1
    assert found.tolist() == [[[[0.0, 0.0]]]]


def test_a_maps_size_does_not_change_grad_cam_pp() -> None:
    """A constant beside g^2 in the denominator turns alpha into g^2 of it once the gradients of a mean are small."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Identity(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).double()
    maps = torch.rand(1, 6, 2, 4, dtype=torch.float64)
    small = scaled(GradCAMPlusPlus()(look(model, maps), torch.tensor([[0]])))
    large = scaled(GradCAMPlusPlus()(look(model, maps.repeat(1, 1, 50, 50)), torch.tensor([[0]])))
    torch.testing.assert_close(large[..., :2, :4], small)


def masked_scores(model: nn.Module, image: torch.Tensor, maps: torch.Tensor) -> np.ndarray:
    """Score-CAM's masked images, one channel after the other."""
    rows = []
    for channel in maps:
        mask = nn.functional.interpolate(channel[None, None], image.shape[1:], mode="bilinear")[0, 0]
        mask = (mask - mask.min()) / (mask.max() - mask.min()).clamp(min=1e-8)
        rows.append(model((image * mask)[None])[0].numpy())
    return np.array(rows)


def test_score_cam_is_a_soft_max_over_the_scores_of_masked_images() -> None:
    torch.manual_seed(0)
    model, image = Network().eval(), torch.randn(1, 3, 20, 31)
    one = look(model, image)
    with torch.no_grad():
        scores = masked_scores(model, image[0], one.maps_bchw[0])[:, [2, 0]]
    weights = np.exp(scores) / np.exp(scores).sum(axis=0)
    maps = one.maps_bchw[0].detach()
    counted = maps - maps.amin(dim=(1, 2), keepdim=True)
    expected = np.einsum("cq,chw->qhw", weights, counted.numpy())
    np.testing.assert_allclose(METHODS.build("score_cam")(one, torch.tensor([[2, 0]]))[0], expected, atol=1e-6)
    kept = maps.flatten(1).std(dim=1).argsort(descending=True)[:3]
    few = np.exp(scores[kept]) / np.exp(scores[kept]).sum(axis=0)
    np.testing.assert_allclose(
        ScoreCAM(max_channels=3)(one, torch.tensor([[2, 0]]))[0],
        np.einsum("cq,chw->qhw", few, counted[kept]),
        atol=1e-6,
    )


@pytest.mark.parametrize("shape", [(5, 3, 4), (40, 3, 4)], ids=["more places", "more channels"])
def test_eigen_cam_is_the_first_component_of_a_decomposition(shape: tuple[int, int, int]) -> None:
    from sklearn.decomposition import PCA

    torch.manual_seed(0)
    maps = torch.rand(1, *shape)
    one = Look(maps, maps, torch.zeros(1, 2), lambda x: x)
    found = METHODS.build("eigen_cam")(one, torch.tensor([[0, 1]]))[0]
    rows = maps[0].flatten(1).T.numpy()
    centred = rows - rows.mean(axis=0)
    component = centred @ np.linalg.svd(centred)[2][0]
    component *= np.sign(component[np.abs(component).argmax()])
    np.testing.assert_allclose(found[0].flatten(), component, atol=1e-5)
    np.testing.assert_allclose(
        np.abs(found[0].flatten().numpy()), np.abs(PCA(1, svd_solver="full").fit_transform(rows)[:, 0]), atol=1e-5
    )
    svd: Any = pytest.importorskip("pytorch_grad_cam.utils.svd_on_activations")
    np.testing.assert_allclose(found[:1], svd.get_2d_projection_with_sign_correction(maps.numpy()), atol=1e-5)
    assert torch.equal(found[0], found[1])


LIBRARY = {"grad_cam": "GradCAM", "grad_cam_pp": "GradCAMPlusPlus", "hires_cam": "HiResCAM", "score_cam": "ScoreCAM"}


@pytest.mark.parametrize("name", LIBRARY)
def test_maps_are_those_of_pytorch_grad_cam(name: str) -> None:
    """Where the two differ by intention, the case is one in which that does not count.

    The library's Grad-CAM++ adds 1e-6 to g^2: scores are large. Its Score-CAM enlarges masks with aligned corners: the
    map is as large as the image.
    """
    library: Any = pytest.importorskip("pytorch_grad_cam")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    torch.manual_seed(1)
    model, images = Network(stride=1 if name == "score_cam" else 2).eval(), torch.randn(2, 3, 30, 41)
    with torch.no_grad():
        model.fc.weight *= 1000 if name == "grad_cam_pp" else 1
    with (
        contextlib.redirect_stderr(io.StringIO()),  # a progress bar
        getattr(library, LIBRARY[name])(model=model, target_layers=[model.trunk]) as cam,
    ):
        expected = cam(images, targets=[ClassifierOutputTarget(0), ClassifierOutputTarget(2)])
    params = {"max_channels": None} if name == "score_cam" else {}
    raw = METHODS.build(name, **params)(look(model, images), torch.tensor([[0], [2]]))
    ours = enlarged(scaled(raw), (30, 41))[:, 0]
    ours = (ours - ours.amin(dim=(1, 2), keepdim=True)) / (
        ours.amax(dim=(1, 2), keepdim=True) - ours.amin(dim=(1, 2), keepdim=True)
    )
    np.testing.assert_allclose(ours, expected, atol=1e-4)


def test_a_map_is_stretched_to_one_and_an_even_one_is_nothing() -> None:
    raw = torch.tensor([[[[-1.0, 1.0, 4.0]], [[-2.0, -1.0, 0.0]], [[5.0, 5.0, 5.0]]]])
    assert scaled(raw).tolist() == [[[[0.0, 0.25, 1.0]], [[0.0, 0.0, 0.0]], [[0.0, 0.0, 0.0]]]]
    assert scaled(torch.tensor([[[[2.0, 3.0, 4.0]]]])).tolist() == [[[[0.0, 0.5, 1.0]]]]


def test_wrong_names_and_values_are_told_in_a_line() -> None:
    with pytest.raises(Problems, match=r"explanation.method: expected a known explanation, got `grad_cm`; did you"):
        METHODS.build("grad_cm")
    with pytest.raises(ConfigError, match=r"explanation.max_channels: expected None or 1 channel or more, got 0"):
        ScoreCAM(max_channels=0)
    with pytest.raises(Problems, match=r"explanation.steps: expected a parameter of explanation `grad_cam`"):
        METHODS.build("grad_cam", steps=3)
