"""Greedy, PredSim and InfoPro: their heads and losses against counts and computations of other origin."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import ConvBlock, first, make_batches, parameter_shapes, random_variables

import al_jax as al
from al_jax import rules
from al_jax.chain import signal_shapes
from al_jax.rules.infopro import resize, supervised_contrast
from al_jax.rules.predsim import similarity

BATCH = first(make_batches(1, size=6, shape=(4, 4, 3), classes=3))
KEY = jax.random.key(0)
RULES = {
    "greedy": al.greedy,
    "predsim": al.predsim,
    "infopro": al.infopro,
    "contrast": lambda blocks, classes: al.infopro(blocks, classes, contrast=True),
}


def blocks():
    return [ConvBlock(4), ConvBlock(6, stride=2, norm=True), *al.networks.mlp([5])]


def count(module, *arguments):
    shapes = jax.eval_shape(lambda: module.init(KEY, *arguments))
    return sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


# Features of the three stages of a CIFAR residual network.
STAGES = [jnp.zeros((2, 32, 32, 16)), jnp.zeros((2, 16, 16, 32)), jnp.zeros((2, 8, 8, 64))]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (rules.MlpSrHead(10, layers=2), [9_962, 37_834, 147_338]),  # AugLocal's, derived from its code
        (rules.WideHead(10), [635_530, 637_578, 641_674]),  # MAN++'s "635k to 641k"
        (rules.AveragedClassifier(10), [5_130] * 3),  # 512 inputs each
        (rules.PooledClassifier(10), [170, 330, 650]),
        # 1c2f: 3x3 convolution, batch norm, 128 units, 10 scores.
        (
            rules.ConvHead(10),
            [4608 + 64 + 33 * 128 + 1290, 18432 + 128 + 65 * 128 + 1290, 36864 + 128 + 65 * 128 + 1290],
        ),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "",
)
def test_auxiliary_heads_have_the_published_sizes(head, expected):
    takes_train = isinstance(head, rules.MlpSrHead | rules.WideHead | rules.ConvHead)
    assert [count(head, x, *([True] * takes_train)) for x in STAGES] == expected


def made_by_convolutions(head, x):
    """The shapes that a head's convolutions make of features, known without computing them."""

    def draw():
        return head.init(KEY, x, True, mutable=True, capture_intermediates=lambda layer, _: isinstance(layer, nn.Conv))

    return [leaf.shape[1:] for leaf in jax.tree.leaves(jax.eval_shape(draw)["intermediates"])]


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (rules.MlpSrHead(10), [[(8, 8, 16)] * 3, [(4, 4, 32)] * 3, [(2, 2, 64)] * 3]),  # a quarter of the height
        (rules.WideHead(10), [[(8, 8, 128)] * 3] * 3),
        # Only where channels double is the image halved.
        (rules.ConvHead(10, convolutions=2), [[(16, 16, 32)] * 2, [(8, 8, 64)] * 2, [(8, 8, 64)] * 2]),
    ],
    ids=lambda x: type(x).__name__ if isinstance(x, nn.Module) else "",
)
def test_convolutions_of_auxiliary_heads_make_images_of_these_sizes(head, expected):
    assert [made_by_convolutions(head, x) for x in STAGES] == expected


def test_infopro_decoders_have_the_published_sizes():
    assert [count(rules.Decoder(), x, (32, 32, 3), True) for x in STAGES] == [2_091, 3_819, 7_275]


def similarity_by_hand(x):
    """Cosines of features whose mean is taken off, one pair after another."""
    if x.ndim == 4 and x.shape[-1] > 3:
        x = x.reshape(len(x), -1, x.shape[-1]).std(1, ddof=1)
    x = x.reshape(len(x), -1)
    x = x - x.mean(1, keepdims=True)
    return np.array([[a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) for b in x] for a in x])


@pytest.mark.parametrize("shape", [(5, 7), (5, 3, 4, 6), (5, 3, 4, 3)])
def test_similarity_is_an_adjusted_cosine(shape):
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    np.testing.assert_allclose(similarity(jnp.asarray(x)), similarity_by_hand(x), atol=1e-5)


def test_maps_of_one_pixel_are_compared_as_they_are():
    x = np.random.default_rng(0).normal(size=(5, 1, 1, 6)).astype(np.float32)
    np.testing.assert_allclose(similarity(jnp.asarray(x)), similarity_by_hand(x[:, 0, 0]), atol=1e-5)


def test_the_averaged_classifier_sees_every_pixel_of_an_image_that_windows_do_not_fill():
    head, x = rules.AveragedClassifier(2), jnp.zeros((1, 24, 24, 64))
    assert count(head, x) == 2 * (2 * 3 * 64 + 1)  # as in AugLocal, whose windows are 16 by 8 here
    params = head.init(KEY, x)
    by_pixel = jax.grad(lambda x: head.apply(params, x)[0, 0])(x)
    assert np.all(np.any(by_pixel, axis=(0, 3)))
    np.testing.assert_array_equal(by_pixel[:, 0], by_pixel[:, 11])  # two windows of 16 rows, 4 of each are border
    assert not np.array_equal(by_pixel[:, 11], by_pixel[:, 12])
    np.testing.assert_array_equal(by_pixel[:, :, 0], by_pixel[:, :, 7])  # three windows of 8 columns
    assert not np.array_equal(by_pixel[:, :, 7], by_pixel[:, :, 8])


def test_infopro_on_large_images_has_the_sizes_of_its_code():
    small, large = jnp.zeros((1, 28, 28, 512)), jnp.zeros((1, 14, 14, 1024))

    def convolutions(module, *arguments):
        shapes = jax.eval_shape(lambda: module.init(KEY, *arguments))["params"]
        return [leaf["kernel"].shape for name, leaf in shapes.items() if name.startswith("Conv")]

    assert convolutions(rules.ImageDecoder(), small, (224, 224, 3), True) == [
        (1, 1, 512, 128),
        (3, 3, 128, 32),
        (3, 3, 32, 12),
        (3, 3, 12, 3),
    ]
    assert convolutions(rules.ImageDecoder(), large, (224, 224, 3), True) == [
        (1, 1, 1024, 192),
        (1, 1, 192, 64),
        (3, 3, 64, 32),
        (3, 3, 32, 12),
        (3, 3, 12, 3),
    ]
    assert [shape[-1] for shape in convolutions(rules.ImageHead(10), small, True)] == [128, 256, 512, 2048]
    assert [shape[-1] for shape in convolutions(rules.ImageHead(10), large, True)] == [256, 256, 512, 2048]


def test_dead_units_have_a_finite_similarity_gradient():
    gradient = jax.grad(lambda x: similarity(x).sum())(jnp.zeros((3, 2, 2, 5)))
    np.testing.assert_array_equal(gradient, 0)


@pytest.mark.parametrize(("temperature", "given"), [(0.5, {"temperature": 0.5}), (0.07, {})], ids=["given", "infopros"])
def test_supervised_contrast_is_the_mean_over_pairs_of_a_class(temperature, given):
    x, label = np.random.default_rng(1).normal(size=(5, 4)), np.array([0, 1, 0, 0, 2])
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    total = 0.0
    for i in range(5):
        others = [j for j in range(5) if j != i]
        normaliser = np.log(sum(np.exp(unit[i] @ unit[j] / temperature) for j in others))
        pairs = [unit[i] @ unit[j] / temperature - normaliser for j in others if label[j] == label[i]]
        total -= np.mean(pairs) if pairs else 0
    found = supervised_contrast(jnp.asarray(x, jnp.float32), jnp.asarray(label), **given)
    np.testing.assert_allclose(found, total / 5, rtol=1e-5)


def test_resizing_puts_corners_on_corners():
    ramp = np.linspace(0, 1, 3, dtype=np.float32)
    image = jnp.asarray(ramp[None, :, None, None] + 10 * ramp[None, None, :, None])
    fine = np.linspace(0, 1, 7)
    np.testing.assert_allclose(resize(image, (7, 7))[0, ..., 0], fine[:, None] + 10 * fine[None], rtol=1e-5)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_depth_predicts_from_its_own_component(rule):
    network = rule(blocks(), 3)
    variables = random_variables(network, BATCH)
    scores = [network.predict(variables, BATCH["image"], depth) for depth in (1, 2, 3)]
    assert [x.shape for x in scores] == [(6, 3)] * 3
    np.testing.assert_allclose(network.anytime(variables, BATCH["image"]), scores, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(network.predict(variables, BATCH["image"]), scores[2])


def test_greedy_losses_are_the_cross_entropy_of_every_head():
    network = al.greedy(blocks()[2:] * 2, 3, head=rules.PooledClassifier)
    variables = random_variables(network, BATCH)
    signal, losses = BATCH, []
    for part, own in zip(network.components, variables, strict=True):
        signal, loss, _ = part.apply(own, signal, KEY, True)
        losses.append(loss)
    scores = [network.predict(variables, BATCH["image"], depth) for depth in (1, 2)]
    expected = [
        np.log(np.exp(x).sum(1)).mean() - np.take_along_axis(x, BATCH["label"][:, None], 1).mean() for x in scores
    ]
    np.testing.assert_allclose([loss["prediction"] for loss in losses], expected, rtol=1e-5)
    assert sorted(signal) == ["features", "label"]


def test_one_component_is_the_plain_network():
    network = al.greedy([al.networks.Stack(tuple(blocks()))], 3)
    (params,) = parameter_shapes(network, BATCH)
    assert sorted(params) == ["f", "objective"]
    assert network.effective == ({"f": True, "objective": True},)


def losses_of(network, index, variables):
    signal = BATCH
    for part, own in list(zip(network.components, variables, strict=True))[: index + 1]:
        signal, losses, _ = part.apply(own, signal, KEY, True)
    return losses


def test_infopro_weights_go_from_the_first_component_to_the_last_but_one():
    deep = [ConvBlock(4), ConvBlock(4), ConvBlock(4), ConvBlock(4)]
    weighted = al.infopro(deep, 3, first=(5.0, 0.5), last=(1.0, 2.5))
    plain = al.infopro(deep, 3, first=(1.0, 1.0), last=(1.0, 1.0))
    variables = random_variables(plain, BATCH)
    for index, (reconstruction, prediction) in enumerate([(5.0, 0.5), (3.0, 1.5), (1.0, 2.5)]):
        left, right = losses_of(weighted, index, variables), losses_of(plain, index, variables)
        np.testing.assert_allclose(left["reconstruction"], reconstruction * right["reconstruction"], rtol=1e-5)
        np.testing.assert_allclose(left["prediction"], prediction * right["prediction"], rtol=1e-5)
    assert list(losses_of(weighted, 3, variables)) == ["prediction"]


def test_a_perfect_decoder_reaches_the_entropy_of_the_pixels():
    pixels = BATCH["image"]
    entropy = -(pixels * np.log(pixels) + (1 - pixels) * np.log1p(-pixels)).mean()

    class Perfect(nn.Module):
        def __call__(self, features, shape, train):
            return jnp.log(pixels) - jnp.log1p(-pixels)

    network = al.infopro(blocks(), 3, first=(2.0, 0.0), last=(2.0, 0.0), decoder=Perfect())
    losses = losses_of(network, 0, random_variables(network, BATCH))
    np.testing.assert_allclose(losses["reconstruction"], 2 * entropy, rtol=1e-4)


def test_contrast_trains_its_probe_alone_for_scores():
    network = RULES["contrast"](blocks(), 3)
    variables = random_variables(network, BATCH)

    def probe_loss(params):
        return network.components[0].apply({**variables[0], "params": params}, BATCH, KEY, True)[1]["probe"]

    gradient = jax.jit(jax.grad(probe_loss))(variables[0]["params"])
    assert np.any(gradient["objective"]["target"]["probe"]["kernel"])
    assert not any(np.any(leaf) for leaf in jax.tree.leaves(gradient["f"]))


def test_predsim_weighs_similarity_and_prediction():
    network = al.predsim(blocks(), 3, beta=0.25)
    variables = random_variables(network, BATCH)
    signal, losses, _ = network.components[0].apply(variables[0], BATCH, KEY, True)
    padded = np.pad(signal["features"], ((0, 0), (1, 1), (1, 1), (0, 0)))
    kernel = np.asarray(variables[0]["params"]["objective"]["compared"]["Conv_0"]["kernel"])
    compared = sum(padded[:, i : i + 4, j : j + 4] @ kernel[i, j] for i in range(3) for j in range(3))
    difference = similarity_by_hand(compared) - similarity_by_hand(np.eye(3)[BATCH["label"]])
    np.testing.assert_allclose(losses["similarity"], 0.25 * np.square(difference).mean(), rtol=1e-4)
    scores = network.predict(variables, BATCH["image"], 1)  # without batch norm, in training as in inference
    entropy = np.log(np.exp(scores).sum(1)).mean() - scores[np.arange(6), BATCH["label"]].mean()
    np.testing.assert_allclose(losses["prediction"], 0.75 * entropy, rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: al.greedy([], 3), "at least one block"),
        (lambda: al.infopro(blocks(), 3, shares=(0, 7)), "a share is 7: it must be from 0, as the first, to 1"),
        (lambda: al.infopro(blocks(), 3, shares=0.5), "shares is 0.5: it must be a sequence"),
        (
            lambda: al.infopro(blocks(), 3, first=5.0),
            "first is 5.0: it must be two weights, of reconstruction and target",
        ),
        (lambda: al.infopro(blocks(), 3, last=(5,)), r"last is \(5,\): it must be two weights, of reconstruction and"),
        (lambda: al.infopro(blocks(), 3, first=(5, -1)), "a weight of first is -1: it must be 0 or more"),
        (lambda: al.infopro(blocks(), 3, last=(np.nan, 1)), "a weight of last is nan: it must be 0 or more"),
        (lambda: al.infopro(blocks(), 3, decoder=rules.Decoder), "decoder is <.*Decoder'>: .*; of a class, give an"),
        (lambda: al.predsim(blocks(), 3, compared=rules.Compared), "compared is <.*Compared'>: .* a Flax module"),
        (lambda: al.predsim(blocks(), 3, beta=1.5), "beta is 1.5: it must be from 0"),
        (lambda: al.predsim(blocks(), 3, beta="0.9"), "beta is '0.9': it must be from 0"),
        (lambda: al.greedy(blocks(), 3, branches=(None,)), "1 branches are given for 3 blocks"),
        (
            lambda: al.greedy(blocks(), 3, branches=(None, None, nn.Dense(3))),
            "the top component makes .* has no branch",
        ),
        (lambda: al.greedy(blocks(), 3, branches=(nn.Dense, None, None)), "each must be a Flax module .* or None"),
    ],
)
def test_what_cannot_be_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("head", [rules.MlpSrHead(3, layers=0), rules.ConvHead(3, convolutions=0)])
def test_heads_without_layers_are_refused(head):
    with pytest.raises(ValueError, match=r"(layers|convolutions) is 0: it must be 1 or more"):
        jax.eval_shape(lambda: head.init(KEY, STAGES[2], True))


def test_another_loss_makes_a_regression():
    network = al.greedy(al.networks.mlp([4, 3]), 2, head=rules.PooledClassifier, loss=al.mean_squared_error)
    batch = {"image": np.ones((5, 6), np.float32), "label": np.ones((5, 2), np.float32)}
    variables = random_variables(network, batch)
    _, losses, _ = network.components[0].apply(variables[0], batch, KEY, True)
    scores = network.predict(variables, batch["image"], 1)
    np.testing.assert_allclose(losses["prediction"], np.mean((scores - 1) ** 2), rtol=1e-5)


@pytest.mark.parametrize(
    "make",
    [
        lambda: al.greedy(al.networks.mlp([4]), 3, top=nn.Dense(2)),
        lambda: al.greedy(al.networks.mlp([4, 4]), 3, head=nn.Dense(5)),
        lambda: al.predsim(al.networks.mlp([4, 4]), 3, head=nn.Dense(2)),
        lambda: al.infopro(al.networks.mlp([4, 4]), 3, head=nn.Dense(2)),
        lambda: al.backprop(al.networks.mlp([4]), 3, code=4, head=nn.Dense(2)),
    ],
    ids=["top", "head", "predsim", "infopro", "backprop"],
)
def test_scores_of_another_number_of_classes_are_refused(make):
    with pytest.raises(ValueError, match=r"the scores are \(6, [25]\): of 3 classes they must be \(B, 3\)"):
        signal_shapes(make(), BATCH)


def test_what_flat_features_or_whole_numbers_cannot_be():
    with pytest.raises(ValueError, match=r"are no images .*: take a ConvHead"):
        jax.eval_shape(lambda: rules.ImageHead(3).init(KEY, jnp.ones((2, 8)), True))
    batch = {"image": np.zeros((2, 8, 8, 1), np.uint8), "label": np.zeros(2, int)}
    with jax.numpy_dtype_promotion("standard"), pytest.raises(ValueError, match="the image is uint8: InfoPro"):
        signal_shapes(al.infopro(blocks(), 3), batch)
