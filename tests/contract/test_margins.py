"""What every margin head of the catalogue promises, run on each."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil

import pytest
import torch
from torch.nn import functional as F  # noqa: N812

import ringlight.models
from ringlight.models import MARGINS, MarginHead
from ringlight.models.heads import classifier_of, install_head, make_head, num_features_of

NAMES = list(MARGINS)
WITH_MARGIN = [name for name in NAMES if name not in ("linear", "cosine")]
EMBEDDINGS = torch.randn(6, 5, generator=torch.Generator().manual_seed(0))


def build(name, **params):
    torch.manual_seed(2)
    return MARGINS.build(name, in_features=5, out_features=3, **params)


@pytest.fixture(params=NAMES)
def head(request):
    return build(request.param)


def test_nothing_public_is_missing_from_the_catalogue():
    found = set()
    for info in pkgutil.iter_modules(ringlight.models.__path__):
        module = importlib.import_module(f"ringlight.models.{info.name}")
        found |= {
            value
            for value in vars(module).values()
            if inspect.isclass(value) and issubclass(value, MarginHead) and value is not MarginHead
        }
    assert found == set(MARGINS.parts.values())


def test_its_name_is_that_of_the_catalogue_and_its_spec_builds_the_same(head):
    assert MARGINS.parts[head.name] is type(head)
    spec = json.loads(json.dumps(head.spec()))
    assert spec == {"family": "margin", "name": head.name, **head.get_params()}
    assert set(head.get_params()) == {parameter.name for parameter in MARGINS.parameters(head.name)}
    twin = make_head(spec, 5, 3)
    twin.load_state_dict(head.state_dict())
    assert twin.spec() == head.spec()
    assert torch.equal(twin(EMBEDDINGS), head(EMBEDDINGS))


def test_it_takes_the_classifiers_place_in_a_model(head):
    class Model(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = torch.nn.Linear(5, 3)

        def get_classifier(self):
            return self.fc

        def forward(self, x):
            return self.fc(x)

    model = Model()
    install_head(model, head)
    assert classifier_of(model) is head
    assert num_features_of(model) == 5
    assert torch.equal(model(EMBEDDINGS), head(EMBEDDINGS))


def test_without_targets_it_has_no_margin_whatever_the_mode(head):
    served = head.eval()(EMBEDDINGS)
    assert torch.equal(head.train()(EMBEDDINGS), served)
    classes = served.argmax(dim=1)
    told = head(EMBEDDINGS, classes)
    lowered = served.gather(1, classes[:, None]) - told.gather(1, classes[:, None])
    assert (lowered > 0).all() if head.name in WITH_MARGIN else torch.equal(told, served)


@pytest.mark.parametrize("name", WITH_MARGIN)
def test_a_margin_of_zero_is_the_cosine_soft_max(name):
    """CurricularFace changes negatives that beat the true class whatever the margin; here none does."""
    params = {"num_centers": 1} if name == "subcenter_arcface" else {}
    head, plain = build(name, margin=0.0, scale=16.0, **params), build("cosine", scale=16.0)
    classes = plain(EMBEDDINGS).argmax(dim=1)
    torch.testing.assert_close(head(EMBEDDINGS, classes), plain(EMBEDDINGS), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_it_is_float32_and_finite_with_finite_gradients_at_the_ends(head, dtype):
    """On and opposite its prototype, no embedding at all, a tiny and a huge one."""
    prototypes = head.weight.detach()
    rows = [prototypes[0], -prototypes[0], torch.zeros(5), prototypes[0] * 1e-5, prototypes[0] * 1e3, EMBEDDINGS[0]]
    embeddings = torch.stack(rows).to(dtype).requires_grad_()
    classes = torch.tensor([0, 0, 1, 2, 0, 1])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = head(embeddings, classes)
        served = head(embeddings)
    assert logits.dtype == served.dtype == torch.float32
    assert torch.isfinite(served).all()
    F.cross_entropy(logits, classes).backward()
    assert torch.isfinite(logits).all()
    assert torch.isfinite(embeddings.grad).all()
    assert torch.isfinite(head.weight.grad).all()


def test_it_is_exported_without_regions_of_another_number_format(head):
    """The wrapper of such a region is an operator that only torch knows."""
    exported = torch.export.export(head.eval(), (EMBEDDINGS,))
    assert "autocast" not in str(exported.graph)
    torch.testing.assert_close(exported.module()(EMBEDDINGS), head(EMBEDDINGS))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "linear"])
def test_a_very_large_scale_stays_finite(name):
    head = build(name, scale=1e4)
    embeddings = EMBEDDINGS.clone().requires_grad_()
    classes = torch.tensor([0, 1, 2, 0, 1, 2])
    loss = F.cross_entropy(head(embeddings, classes), classes)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(embeddings.grad).all()


def test_a_few_steps_separate_three_clusters(head):
    generator = torch.Generator().manual_seed(5)
    classes = torch.arange(30) % 3
    embeddings = torch.eye(5)[classes] * 4 + 0.3 * torch.randn(30, 5, generator=generator)
    for _ in range(40):
        parameters = list(head.parameters())
        gradients = torch.autograd.grad(F.cross_entropy(head(embeddings, classes), classes), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.data -= 0.1 * gradient
    assert (head(embeddings).argmax(dim=1) == classes).all()
