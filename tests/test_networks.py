"""Backbones and the small parts of the rules: shapes, activations and how parameters are drawn."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from support import KEY, Classifier, features_of, parameters_of

import al_jax as al
from al_jax.networks.convolution import LAYOUT, conv_general_dilated
from al_jax.networks.layers import AUTHORS, HE, batch_norm
from al_jax.rules import Bridge, CodeLayer, NoBridge
from al_jax.rules.parts import average_pool

CONVOLUTIONAL = {
    "cnn": (al.networks.vanilla_cnn(), [(32, 32, 32), (16, 16, 32), (16, 16, 64), (8, 8, 64)]),
    "cnn at half the width": (al.networks.vanilla_cnn((6, 2), width=0.5), [(16, 16, 32), (8, 8, 32)]),
    "vgg": (al.networks.vgg(), [(16, 16, 256), (8, 8, 512), (2, 2, 512), (1024,)]),
    "resnet": (al.networks.resnet(20), [(32, 32, 16), (32, 32, 16), (16, 16, 32), (8, 8, 64)]),
    "resnet of three": (al.networks.resnet(32, (6, 5, 5)), [(32, 32, 16), (16, 16, 32), (8, 8, 64)]),
    "standard resnet": (al.networks.resnet(8, (1, 3), standard=True), [(32, 32, 16), (8, 8, 64)]),
}


@pytest.mark.parametrize(("blocks", "shapes"), CONVOLUTIONAL.values(), ids=CONVOLUTIONAL)
def test_convolutional_blocks_hand_up_these_features(blocks, shapes):
    assert features_of(blocks, (32, 32, 3)) == shapes


def test_small_grey_images_pass_through_every_network():
    assert features_of(al.networks.vgg(), (8, 8, 1))[2] == (1, 1, 512)
    assert features_of(al.networks.vgg(), (28, 28, 1))[2] == (1, 1, 512)
    assert features_of(al.networks.vanilla_cnn(), (28, 28, 1))[3] == (7, 7, 64)
    assert features_of(al.networks.resnet(20), (28, 28, 1))[3] == (7, 7, 64)


def test_a_number_of_cuts_makes_blocks_as_even_as_possible():
    sizes = [len(block.layers) for block in al.networks.resnet(20, 3)]
    assert sizes == [4, 3, 3]
    with pytest.raises(ValueError, match="8 layers cannot be cut into 9 blocks"):
        al.networks.vgg(9)


def test_a_layer_that_is_there_twice_has_parameters_twice():
    blocks = al.networks.cut([al.networks.DenseBlock(3)] * 4, np.int64(2))
    params = jax.eval_shape(lambda: blocks[0].init(jax.random.key(0), jnp.ones((1, 3)), True))["params"]
    assert sorted(params) == ["layers_0", "layers_1"]


@pytest.mark.parametrize("cuts", [(2, 2, 2), (8, 0), (), (2.5, 5.5)])
def test_cuts_that_do_not_add_up_are_refused(cuts):
    with pytest.raises(ValueError, match="must cut 8 layers into blocks of at least one"):
        al.networks.vanilla_cnn(cuts)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: al.networks.mlp([3, 0]), "a width is 0: it must be 1"),
        (lambda: al.networks.mlp([2.5]), "a whole number"),
        (lambda: al.networks.mlp(3), r"widths is 3: it must be a sequence, as in \(3,\)"),
        (lambda: al.networks.mlp([]), "widths is empty: give the units of at least one layer"),
        (lambda: al.networks.cut(3, al.networks.mlp([3])), r"layers is 3: it must be a sequence, as in \(3,\)"),
        (lambda: al.networks.vgg(dense=(0,)), "a dense layer's width is 0: it must be 1"),
        (lambda: al.networks.vgg(dense=1024), "dense is 1024: it must be a sequence"),
        (lambda: al.networks.resnet("20"), "depth is '20': it must be a whole number"),
        (lambda: Bridge(4, pool=0).init(KEY, jnp.zeros((2, 8, 8, 3))), "pool is 0: it must be 1 or more"),
    ],
)
def test_widths_and_sizes_that_are_no_whole_numbers_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("rule", [al.associated, al.backprop, al.greedy, al.predsim, al.infopro])
def test_a_network_without_classes_is_refused(rule):
    code = {"code": 4} if rule in (al.associated, al.backprop) else {}
    assert rule(al.networks.mlp([3]), 7, **code).classes == 7
    with pytest.raises(ValueError, match="classes is 0: it must be 1 or more"):
        rule(al.networks.mlp([3]), 0, **code)


@pytest.mark.parametrize("blocks", [nn.Dense(3), [nn.Dense], (), [lambda x: x]])
@pytest.mark.parametrize("rule", [al.greedy, functools.partial(al.associated, code=4)], ids=("greedy", "associated"))
def test_what_is_no_row_of_modules_makes_no_network(rule, blocks):
    with pytest.raises(ValueError, match=r"a sequence of Flax modules|at least one block"):
        rule(blocks, 7)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"bridge": "mlp"}, "'mlp' is no Flax module: give one, or a function of the width that makes one"),
        ({"decoder": lambda width: None}, "None is no Flax module"),
        ({"losses": al.mean_squared_error}, "losses must be a pair"),
        ({"losses": (al.mean_squared_error,) * 3}, "losses must be a pair"),
        ({"losses": {al.mean_squared_error, al.code_contrast}}, "losses must be a pair"),
        ({"branches": [None, None]}, "2 branches are given for 1 blocks"),
        ({"branches": [nn.Dense(3)]}, "the top component makes the network's scores"),
        ({"autoencoder_rate": np.inf}, "the rate of 'autoencoder' is inf: it must be 0 or more, and finite"),
    ],
)
def test_parts_that_are_none_are_refused(parts, message):
    with pytest.raises(ValueError, match=message):
        al.associated(al.networks.mlp([3]), 7, 4, **parts)


def test_a_residual_network_of_another_depth_is_refused():
    with pytest.raises(ValueError, match=r"6n \+ 2 layers"):
        al.networks.resnet(18)


@pytest.mark.parametrize(("standard", "activation"), [(True, nn.relu), (False, nn.elu)])
def test_the_standard_residual_network_has_relu_and_the_authors_elu(standard, activation):
    layers = al.networks.resnet(8, 1, standard=standard)[0].layers
    assert {layer.activation for layer in layers} == {activation}


@pytest.mark.parametrize(
    ("standard", "activation", "expected"),
    [(True, None, [3, 1, 0]), (False, nn.relu, [5, 3, 1])],
)
def test_the_authors_residual_unit_activates_before_the_addition_too(standard, activation, expected):
    # Without kernels the branch is its last batch norm's bias, -2, and relu(x - 2) or relu(x + relu(-2)) comes out.
    x = jnp.asarray([5.0, 3.0, 1.0]).reshape(3, 1, 1, 1)
    unit = al.networks.ResidualUnit(1, standard=standard, activation=activation)
    variables = jax.tree.map(jnp.zeros_like, unit.init(KEY, x, False))
    variables["params"]["BatchNorm_1"]["bias"] -= 2
    np.testing.assert_allclose(unit.apply(variables, x, False).ravel(), expected)


@pytest.mark.parametrize(("depth", "parameters"), [(32, 466_906), (110, 1_730_714)])
def test_the_standard_network_under_a_classifier_has_the_published_number_of_parameters(depth, parameters):
    blocks = al.networks.resnet(depth, standard=True, activation=nn.relu)
    assert parameters_of((*blocks, Classifier()), (32, 32, 3)) == parameters


@pytest.mark.parametrize(("standard", "norms", "biases"), [(True, 3, 0), (False, 2, 3)])
def test_the_standard_shortcut_has_batch_norm_and_its_convolutions_no_bias(standard, norms, biases):
    unit = al.networks.ResidualUnit(4, stride=2, standard=standard)
    params = jax.eval_shape(lambda: unit.init(KEY, jnp.zeros((2, 8, 8, 3)), True))["params"]
    convolutions = [own for name, own in params.items() if name.startswith("Conv")]
    assert len(convolutions) == 3
    assert sum(name.startswith("BatchNorm") for name in params) == norms
    assert sum("bias" in own for own in convolutions) == biases
    assert params["Conv_2"]["kernel"].shape == (1, 1, 3, 4)


def test_kernels_of_he_et_al_have_the_deviation_of_their_fan_out():
    kernel = np.asarray(HE.kernel_init(KEY, (3, 3, 16, 64)))
    deviation = np.sqrt(2 / (3 * 3 * 64))
    np.testing.assert_allclose(kernel.std(), deviation, rtol=0.02)
    assert np.abs(kernel).max() > 2.5 * deviation  # not truncated


def test_a_strided_kernel_of_he_et_al_stands_where_its_shortcut_looks():
    x = jnp.arange(36.0).reshape(1, 6, 6, 1)
    layer = al.networks.ConvLayer(1, stride=2, activation=nn.relu, style=HE)
    kernel = jnp.zeros((3, 3, 1, 1)).at[1, 1].set(1)
    np.testing.assert_array_equal(layer.apply({"params": {"Conv_0": {"kernel": kernel}}}, x, True), x[:, ::2, ::2])


@pytest.mark.parametrize(("style", "kept", "epsilon"), [(HE, 0.9, 1e-5), (AUTHORS, 0.99, 1e-3)])
def test_batch_norm_averages_and_divides_as_in_pytorch_and_the_authors_as_in_tensorflow(style, kept, epsilon):
    x = jnp.asarray([[0.0], [0.02]])
    norm = batch_norm(True, None, style)
    variables = {
        "params": {"scale": jnp.ones(1), "bias": jnp.zeros(1)},
        "batch_stats": {"mean": jnp.zeros(1), "var": jnp.ones(1)},
    }
    output, updated = norm.apply(variables, x, mutable="batch_stats")
    np.testing.assert_allclose(output[1], 0.01 / np.sqrt(0.01**2 + epsilon), rtol=1e-5)
    np.testing.assert_allclose(updated["batch_stats"]["mean"], (1 - kept) * 0.01, rtol=1e-4)


@pytest.mark.parametrize(("length", "size"), [(8, 4), (8, 1), (7, 2), (7, 4), (2, 4)])
def test_average_pooling_covers_the_image_with_equal_windows(length, size):
    image = np.random.default_rng(0).random((2, length, length + 1, 3), np.float32)

    def windows(n):
        return (
            [slice(i * n // size, -(-(i + 1) * n // size)) for i in range(size)] if n > size else np.arange(n)[:, None]
        )

    expected = [[image[:, r][:, :, c].mean((1, 2)) for c in windows(length + 1)] for r in windows(length)]
    np.testing.assert_allclose(average_pool(image, size), np.moveaxis(np.array(expected), 2, 0), rtol=1e-5)


def test_a_pooled_bridge_and_one_with_a_lead_see_fewer_features():
    x = jnp.zeros((2, 8, 8, 3))
    pooled, leading = Bridge(4, pool=2), Bridge(4, pool=1, lead=al.networks.ConvLayer(5, stride=2))
    for bridge, inputs in ((pooled, 12), (leading, 5)):
        variables = jax.eval_shape(lambda bridge=bridge: bridge.init(KEY, x, True))
        assert variables["params"]["CodeLayer_0"]["Dense_0"]["kernel"].shape == (inputs, 20)
    np.testing.assert_array_equal(NoBridge().apply({}, x + 1), np.ones((2, 192)))


def test_the_hidden_units_of_a_bridge_may_have_an_activation_of_their_own():
    layer = {"Dense_0": {"kernel": np.eye(2), "bias": np.zeros(2)}}
    bridge = Bridge(2, expansion=1, activation=nn.tanh, hidden=nn.elu)
    code = bridge.apply({"params": {"CodeLayer_0": layer, "CodeLayer_1": layer}}, jnp.array([[-2.0, 0.5]]))
    np.testing.assert_allclose(code, np.tanh([[np.expm1(-2), 0.5]]), rtol=1e-6)


def test_an_mlp_is_one_dense_block_a_width():
    blocks = al.networks.mlp([7, 5], nn.tanh)
    assert [block.width for block in blocks] == [7, 5]
    assert [block.activation for block in blocks] == [nn.tanh, nn.tanh]


@pytest.mark.parametrize("module", [*al.networks.mlp([4]), Bridge(4)])
def test_blocks_and_bridges_flatten_what_they_get(module):
    output, _ = jax.eval_shape(lambda: module.init_with_output(KEY, jnp.zeros((3, 2, 5, 1))))
    assert output.shape == (3, 4)


def constant(module, value):
    """The output where every pre-activation is `value`."""
    variables = module.init(KEY, jnp.zeros((1, 1)))
    variables = jax.tree.map(lambda leaf: jnp.full_like(leaf, value if leaf.ndim == 1 else 0), variables)
    return module.apply(variables, jnp.ones((1, 1)))


@pytest.mark.parametrize(
    ("module", "expected"),
    [
        (al.networks.mlp([1])[0], np.expm1(-2)),
        (al.networks.mlp([1], nn.relu)[0], 0),
        (CodeLayer(1), 1 / (1 + np.exp(2))),
        (Bridge(1), 1 / (1 + np.exp(2))),
        (Bridge(1, activation=nn.tanh), np.tanh(-2)),
    ],
    ids=["elu", "relu", "code", "bridge", "bridge-tanh"],
)
def test_activations(module, expected):
    np.testing.assert_allclose(constant(module, -2), [[expected]], rtol=1e-5)


@pytest.mark.parametrize("module", [*al.networks.mlp([200]), CodeLayer(200), Bridge(100)])
def test_kernels_are_he_normal_and_biases_zero(module):
    variables = jax.jit(module.init)(KEY, jnp.zeros((1, 400)))
    for leaf in map(np.asarray, jax.tree.leaves(variables)):
        if leaf.ndim == 1:
            assert not leaf.any()
            continue
        deviation = np.sqrt(2 / leaf.shape[0])
        np.testing.assert_allclose(leaf.std(), deviation, rtol=0.01)
        np.testing.assert_allclose(leaf.mean(), 0, atol=0.01 * deviation)
        assert np.abs(leaf).max() < 2 * deviation / 0.879  # truncated at two deviations, then rescaled


def test_layers_compute_in_their_type_and_keep_float32_parameters():
    for module in (*al.networks.mlp([4], dtype=jnp.bfloat16), Bridge(4, dtype=jnp.bfloat16)):
        output, variables = jax.eval_shape(lambda module=module: module.init_with_output(KEY, jnp.zeros((3, 5))))
        assert output.dtype == jnp.bfloat16
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}


# The convolution of all of them.

CONVOLUTIONS = {  # height and width, kernel, strides, padding
    "same": ((8, 8), (3, 3), (1, 1), "SAME"),
    "strided": ((8, 8), (3, 3), (2, 2), "SAME"),
    "strided, odd": ((9, 7), (3, 3), (2, 2), "SAME"),
    "shortcut": ((8, 8), (1, 1), (2, 2), "SAME"),
    "nothing around": ((9, 10), (5, 3), (3, 2), "VALID"),
    "uneven": ((10, 10), (3, 2), (2, 1), ((2, 1), (0, 3))),
    "wider around than the kernel": ((5, 6), (3, 3), (3, 2), ((3, 3), (3, 3))),
}


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
def test_convolutions_and_their_gradients_are_those_of_jax(case):
    size, taps, strides, padding = case
    rng = np.random.default_rng(0)
    x, kernel = rng.normal(size=(4, *size, 3)).astype(np.float32), rng.normal(size=(*taps, 3, 5)).astype(np.float32)

    def of(convolve):
        def total(x, kernel):
            return jnp.sum(jnp.sin(convolve(x, kernel, strides, padding, dimension_numbers=LAYOUT)))

        return jax.jit(jax.value_and_grad(total, (0, 1)))(x, kernel)

    own, plain = of(conv_general_dilated), of(jax.lax.conv_general_dilated)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), own, plain)


@pytest.mark.parametrize(
    "options", [{"feature_group_count": 2}, {"kernel_dilation": 2}, {"input_dilation": 2, "padding": 1}]
)
def test_other_convolutions_are_left_to_jax(options):
    x, given = jnp.ones((2, 8, 8, 4)), {"features": 4, "kernel_size": (3, 3), **options}
    own, plain = nn.Conv(conv_general_dilated=conv_general_dilated, **given), nn.Conv(**given)
    variables = plain.init(KEY, x)
    np.testing.assert_array_equal(own.apply(variables, x), plain.apply(variables, x))
