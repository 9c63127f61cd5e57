"""A pass cut at the feature map: found by itself, the same scores, nothing left behind."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ringlight.errors import ModelError
from ringlight.explain.look import Place, find_place, look


class Pooled(nn.Module):
    """Features, channels first or last, pooled and scored."""

    num_features = 4

    def __init__(self, last: bool = False) -> None:
        super().__init__()
        self.conv, self.fc, self.last = nn.Conv2d(3, 4, 3, stride=4), nn.Linear(4, 2), last

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        found = self.conv(x)
        return found.permute(0, 2, 3, 1) if self.last else found

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.forward_features(x).mean(dim=(1, 2) if self.last else (2, 3)))


IMAGES = torch.randn(2, 3, 24, 40, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("last", [False, True], ids=["channels first", "channels last"])
def test_maps_have_channels_first_and_scores_are_the_models(last: bool) -> None:
    torch.manual_seed(0)
    model = Pooled(last).eval()
    found = look(model, IMAGES)
    with torch.no_grad():
        torch.testing.assert_close(found.maps_bchw, model.conv(IMAGES))
        torch.testing.assert_close(found.scores_bk, model(IMAGES))
        torch.testing.assert_close(found.score(IMAGES), model(IMAGES))
    places = found.maps_bchw.shape[2] * found.maps_bchw.shape[3]
    expected = (model.fc.weight / places)[[1, 0]][:, :, None, None].expand_as(found.maps_bchw)
    torch.testing.assert_close(found.gradients(torch.tensor([1, 0])), expected)


def test_a_frozen_model_has_gradients_and_nothing_is_left_behind() -> None:
    """Libraries that hook a layer need one that can be trained, and leave gradients in every parameter."""
    model = Pooled().eval().requires_grad_(False)
    look(model, IMAGES).gradients(torch.tensor([0, 1]))
    trained = Pooled().eval()
    look(trained, IMAGES).gradients(torch.tensor([0, 1]))
    assert all(parameter.grad is None for parameter in trained.parameters())
    assert "forward_features" not in vars(trained)
    assert not any(part._forward_hooks for part in trained.modules())


def test_a_pass_that_fails_leaves_nothing_behind_either() -> None:
    model = Pooled().eval()
    place = find_place(model, IMAGES)
    with pytest.raises(RuntimeError):
        look(model, torch.randn(1, 5, 16, 16), place)
    assert "forward_features" not in vars(model)


def test_a_network_of_ones_own_is_looked_at_where_its_last_map_is() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)).eval()
    assert find_place(model, IMAGES) == Place("1", model[1], False, "NCHW")
    torch.testing.assert_close(look(model, IMAGES).maps_bchw, model[:2](IMAGES))


def test_the_outermost_features_count() -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Pooled()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.inner(x)

    assert find_place(Around(), IMAGES).name == "inner.forward_features"


class Tokens(nn.Module):
    """A class token and one of each patch of 8 pixels."""

    num_prefix_tokens = 1

    def __init__(self, patch: int | None = 8) -> None:
        super().__init__()
        self.patch_embed = nn.Conv2d(3, 4, 8, stride=8)
        self.patch_embed.patch_size = patch
        self.fc = nn.Linear(4, 2)

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        found = self.patch_embed(x).flatten(2).transpose(1, 2)
        return torch.cat([found.mean(dim=1, keepdim=True), found], dim=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.forward_features(x).mean(dim=1))


def test_tokens_become_a_grid_without_the_class_token() -> None:
    model = Tokens().eval()
    found = look(model, IMAGES)
    torch.testing.assert_close(found.maps_bchw, model.patch_embed(IMAGES))
    with torch.no_grad():
        torch.testing.assert_close(found.scores_bk, model(IMAGES))


def test_models_without_places_are_refused_in_a_line() -> None:
    with pytest.raises(ModelError, match=r"explain: expected a model with a feature map, got Sequential, which has"):
        look(nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 40, 2)), IMAGES)
    with pytest.raises(ModelError, match=r"images of 4 x 4 pixels: expected a feature map of 2 places or more, got"):
        look(Pooled(), torch.zeros(1, 3, 4, 4))
    with pytest.raises(ModelError, match=r"expected a feature map, or tokens of patches, got tokens of Tokens; heat"):
        look(Tokens(patch=None), IMAGES)
    with pytest.raises(ModelError, match=r"expected 6 x 10 tokens, one a patch of 4 x 4 pixels, got 15; heat maps"):
        look(Tokens(patch=4), IMAGES)


def test_scores_that_are_not_finite_are_refused() -> None:
    model = Pooled().eval()
    with torch.no_grad():
        model.fc.weight.fill_(float("nan"))
    with pytest.raises(ModelError, match=r"forward_features: expected scores that are finite, got others"):
        look(model, IMAGES)
