"""Updates of parameters of any kind."""

import numpy as np
import pytest

import book
from kasoku import optimizer

RULES = {
    "SGD": optimizer.SGD,
    "Momentum": optimizer.Momentum,
    "Nesterov": optimizer.Nesterov,
    "AdaGrad": optimizer.AdaGrad,
    "RMSprop": optimizer.RMSprop,
    "Adam": optimizer.Adam,
}


def run(rule, params, steps=4):
    """The parameters after some steps, the gradients drawn from a fixed seed."""
    rng = np.random.default_rng(4)
    rule = rule()
    for _ in range(steps):
        grads = {key: rng.standard_normal(value.shape) for key, value in params.items()}
        rule.update(params, {key: grads[key].astype(value.dtype) for key, value in params.items()})
    return rule


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_types(rng, name, dtype):
    values = {"W": rng.standard_normal((5, 4)), "b": rng.standard_normal(4)}
    params = {key: value.astype(dtype) for key, value in values.items()}
    arrays = dict(params)
    run(RULES[name], params)
    run(RULES[name], values)
    for key, value in values.items():
        assert params[key] is arrays[key]
        assert params[key].dtype == dtype
        if dtype == np.float16 and name in ("AdaGrad", "RMSprop", "Adam"):
            continue  # small squares vanish in float16, in NumPy as here
        np.testing.assert_allclose(params[key], value, atol=20 * np.finfo(dtype).eps)


@pytest.mark.parametrize("name", RULES)
def test_layouts_that_are_left_to_numpy(rng, name):
    value = rng.standard_normal((6, 4))
    expected = {"W": value.copy()}
    run(RULES[name], expected)
    for view in (
        np.asfortranarray(value),
        np.repeat(value, 2, axis=0)[::2],
        value.copy()[::-1][::-1],
    ):
        params = {"W": view}
        run(RULES[name], params)
        assert params["W"] is view
        np.testing.assert_allclose(view, expected["W"], rtol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_state_is_kept_by_name(rng, name):
    params = {"W": rng.standard_normal((5, 4))}
    rule = run(RULES[name], params, steps=2)
    for state in ("v", "h", "m"):
        if hasattr(rule, state):
            assert getattr(rule, state)["W"].shape == (5, 4)
            assert getattr(rule, state)["W"].any()
    if name == "Adam":
        assert rule.iter == 2


def test_an_array_under_two_names_is_updated_twice():
    shared = np.ones(3)
    optimizer.SGD(lr=1.0).update({"a": shared, "b": shared}, {"a": np.ones(3), "b": np.ones(3)})
    np.testing.assert_array_equal(shared, -1)


def test_a_parameter_that_is_its_own_gradient():
    p = np.ones(3)
    optimizer.SGD(lr=0.5).update({"p": p}, {"p": p})
    np.testing.assert_array_equal(p, 0.5)


def test_a_gradient_that_broadcasts():
    params = {"W": np.ones((2, 3))}
    optimizer.SGD(lr=1.0).update(params, {"W": np.arange(3.0)})
    np.testing.assert_array_equal(params["W"], [[1, 0, -1]] * 2)


def test_integer_gradients_and_mixed_types():
    params = {"W": np.ones(2, np.float32), "b": np.ones(2)}
    optimizer.SGD(lr=0.5).update(params, {"W": np.array([1.0, 2.0]), "b": np.array([1, 2])})
    np.testing.assert_array_equal(params["W"], [0.5, 0])
    np.testing.assert_array_equal(params["b"], [0.5, 0])
    with pytest.raises(TypeError):
        optimizer.SGD().update({"n": np.ones(2, int)}, {"n": np.ones(2)})


def test_adam_is_the_books(rng):
    params = {"W": rng.standard_normal((30, 20))}
    twin = {"W": params["W"].copy()}
    ours, theirs = optimizer.Adam(), book.Adam()
    for _ in range(10):
        grads = {"W": rng.standard_normal((30, 20))}
        ours.update(params, grads)
        theirs.update(twin, grads)
    np.testing.assert_allclose(params["W"], twin["W"], rtol=1e-12)
