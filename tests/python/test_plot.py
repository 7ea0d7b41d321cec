"""Pictures: drawn without a screen, of the right things, and refused with a message."""

from types import SimpleNamespace

import numpy as np
import pytest

matplotlib = pytest.importorskip("matplotlib")
matplotlib.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

from kasoku import networks, plot  # noqa: E402


@pytest.fixture(autouse=True)
def _close():
    yield
    plt.gcf().canvas.draw()
    plt.close("all")


def texts(axes):
    return [text.get_text() for text in axes.texts if text.get_text()]


class TestLearningCurves:
    def test_of_fit(self):
        history = networks.History([2.0, 1.0, 0.5], [0.1] * 3, [0.5, 0.75], [0.4, 0.6])
        loss, accuracy = plot.learning_curves(history, batch_size=7)
        assert loss.get_xlabel() == "step (batches of 7)"
        assert loss.get_yscale() == "log"
        np.testing.assert_array_equal(loss.lines[0].get_ydata(), history.losses)
        train, test = accuracy.lines
        np.testing.assert_array_equal(train.get_xdata(), [1, 2])
        np.testing.assert_array_equal(test.get_ydata(), [0.4, 0.6])

    def test_of_a_trainer(self):
        trainer = SimpleNamespace(
            train_loss_list=[1.0, 0.0], train_acc_list=[0.1], test_acc_list=[]
        )
        loss, accuracy = plot.learning_curves(trainer)
        assert loss.get_yscale() == "linear"
        assert len(accuracy.lines) == 1
        assert accuracy.lines[0].get_xdata() == [0]

    def test_of_nothing(self):
        with pytest.raises(ValueError, match="at least one step"):
            plot.learning_curves(networks.History())


class TestFilters:
    @pytest.mark.parametrize("shape", [(12, 3, 5, 4), (12, 5, 4)])
    def test_one_a_picture(self, rng, shape):
        weights = rng.standard_normal(shape)
        grid = plot.filters(weights, columns=5, title="Filters")
        assert grid.shape == (3, 5)
        shown = [axes.images[0].get_array() for axes in grid.flat if axes.images]
        np.testing.assert_array_equal(shown, weights.reshape(12, -1, 5, 4)[:, 0])

    def test_another_channel(self, rng):
        weights = rng.standard_normal((2, 3, 5, 5))
        grid = plot.filters(weights, channel=2, figure=Figure())
        np.testing.assert_array_equal(grid[0, 1].images[0].get_array(), weights[1, 2])

    @pytest.mark.parametrize("shape", [(5, 5), (0, 1, 5, 5)])
    def test_other_shapes(self, shape):
        with pytest.raises(ValueError, match="expected"):
            plot.filters(np.zeros(shape))


class TestActivationHistograms:
    def test_shares_add_up(self, rng):
        layers = {"1": rng.uniform(size=(50, 4)), "2": rng.uniform(size=300)}
        row = plot.activation_histograms(layers, bins=10, title="sigmoid")
        for axes, (name, outputs) in zip(row, layers.items(), strict=True):
            assert sum(bar.get_height() for bar in axes.patches) == pytest.approx(1)
            assert len(axes.patches) == 10
            assert axes.get_title() == f"{name}\nσ = {outputs.std():.2g}"

    @pytest.mark.parametrize("layers", [{}, {"1": np.ones(3), "2": np.ones((0, 3))}])
    def test_of_nothing(self, layers):
        with pytest.raises(ValueError, match="no activations"):
            plot.activation_histograms(layers)


class TestMisclassified:
    @pytest.mark.parametrize("shape", [(6, 1, 4, 4), (6, 4, 4), (6, 16)])
    def test_shows_the_wrong_ones(self, rng, shape):
        x = rng.uniform(size=shape)
        t, y = np.array([0, 1, 2, 0, 1, 2]), np.array([0, 2, 2, 1, 1, 0])
        grid = plot.misclassified(x, np.eye(3)[t], np.eye(3)[y], count=2, columns=2)
        assert [axes.get_title() for axes in grid.flat] == ["1 → 2", "0 → 1"]
        np.testing.assert_array_equal(grid[0, 1].images[0].get_array(), x[3].reshape(4, 4))
        assert "3 of 6 wrong" in plt.gcf().get_suptitle()

    def test_without_a_mistake(self):
        grid = plot.misclassified(np.zeros((2, 16)), [0, 1], [0, 1])
        assert not grid[0, 0].images

    def test_shapes(self):
        with pytest.raises(ValueError, match="as many of each"):
            plot.misclassified(np.zeros((3, 16)), [0, 1], [0, 1])
        with pytest.raises(ValueError, match=r"\(2, 15\)"):
            plot.misclassified(np.zeros((2, 15)), [0, 1], [1, 0])


class TestConfusionMatrix:
    def test_counts(self):
        axes = plot.confusion_matrix([0, 0, 1, 2], np.eye(3)[[0, 1, 1, 2]], classes=["a", "b", "c"])
        found = {text.get_position(): text.get_text() for text in axes.texts}
        assert found == {(0, 0): "1", (1, 0): "1", (1, 1): "1", (2, 2): "1"}  # (answer, label)
        assert [label.get_text() for label in axes.get_yticklabels()] == ["a", "b", "c"]

    def test_shapes(self):
        with pytest.raises(ValueError, match="as many of each"):
            plot.confusion_matrix([0, 1], [0])
        with pytest.raises(ValueError, match="empty"):
            plot.confusion_matrix([], [])
        with pytest.raises(IndexError):
            plot.confusion_matrix([0, 2], [0, 1], classes=["a", "b"])


class TestComputationalGraph:
    def test_values_and_names(self):
        edges = [("apple", "mul", 100, 2), ("count", "mul", 2, 100), ("mul", "price", 200)]
        axes = plot.computational_graph(edges, labels={"mul": "×"}, title="Apples")
        assert texts(axes) == ["100", "2", "2", "100", "200", "apple", "×", "count", "price"]
        assert len(axes.lines) == 1  # the circle

    def test_places(self):
        chain = [("x", "f"), ("f", "g"), ("g", "y"), ("c", "g")]
        assert plot._places([(*edge, None, None) for edge in chain]) == {
            "x": (0, 0),
            "f": (1, 0),
            "c": (1, -1),  # just before g
            "g": (2, -0.5),
            "y": (3, -0.5),
        }

    def test_branches_stand_apart(self):
        edges = [("x", "f", None, None), ("x", "g", None, None), ("x", "h", None, None)]
        places = plot._places(edges)
        assert [places[name] for name in "fgh"] == [(1, 1), (1, 0), (1, -1)]

    def test_an_edge_goes_over_a_node(self):
        nodes = [(0.0, 0.0), (1.0, 0.0), (2.0, 0.0), (1.0, 1.0)]
        assert plot._passes(nodes[0], nodes[2], nodes)
        assert not plot._passes(nodes[0], nodes[3], nodes)
        plot.computational_graph([("x", "f"), ("f", "+"), ("x", "+"), ("+", "y")])

    def test_into_given_axes(self):
        axes = Figure().subplots()
        assert plot.computational_graph([("x", "y", "w")], circled=["x", "y"], axes=axes) is axes
        assert len(axes.lines) == 2

    def test_no_graph(self):
        with pytest.raises(ValueError, match="at least one"):
            plot.computational_graph([])
        with pytest.raises(ValueError, match="a, b are in a circle"):
            plot.computational_graph([("x", "a"), ("a", "b"), ("b", "a")])


def test_training(tmp_path, rng):
    network = networks.SimpleConvNet(seed=1)
    history = networks.History([2.0, 1.0], [0.1] * 2, [0.5], [0.4])
    plot.training(network, history, 100, tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 10_000
    assert not plt.get_fignums()
