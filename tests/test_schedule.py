"""Schedules are right for many numbers of components, devices and micro-batches, and can be drawn."""

import collections
import itertools

import pytest

from al_jax.schedule import LOCAL, associated, backprop, draw, figure, gpipe, makespan, observed, units, utilisation
from al_jax.schedule.pictures import WIDTH

SIZES = [
    (components, devices, micro_batches)
    for components, devices in [(1, 1), (4, 1), (4, 2), (4, 4), (5, 2), (5, 3), (8, 3)]
    for micro_batches in (1, 2, 6)
]
SCHEDULES = {
    "associated": associated,
    "backprop": backprop,
    "gpipe": lambda components, devices, micro_batches: gpipe(
        components, devices, micro_batches, per_update=-(-micro_batches // 2)
    ),
}


@pytest.fixture(params=itertools.product(SCHEDULES, SIZES), ids=str)
def case(request):
    name, sizes = request.param
    return SCHEDULES[name](*sizes), sizes


def end(task):
    return task.start + task.duration


def by_work(schedule):
    return {(task.kind, task.component, task.micro_batch): task for task in schedule}


def test_every_component_works_on_every_micro_batch_once(case):
    schedule, (components, _, micro_batches) = case
    kinds = {task.kind for task in schedule}
    assert kinds in ({"local"}, {"forward", "backward"})
    work = collections.Counter((task.kind, task.component, task.micro_batch) for task in schedule)
    assert work == collections.Counter(itertools.product(kinds, range(components), range(micro_batches)))


def test_a_device_does_one_task_at_a_time(case):
    schedule, (_, devices, _) = case
    for device in range(devices):
        tasks = sorted((task for task in schedule if task.device == device), key=lambda task: task.start)
        assert tasks
        assert all(end(task) <= after.start for task, after in itertools.pairwise(tasks))


def test_devices_hold_contiguous_blocks_as_equal_as_possible(case):
    schedule, (components, devices, _) = case
    device_of = {(task.component, task.device) for task in schedule}
    assert len(device_of) == components
    order = [device for _, device in sorted(device_of)]
    sizes = [order.count(device) for device in range(devices)]
    assert order == sorted(order)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] - sizes[-1] <= 1


def test_signals_go_up_and_gradients_go_down(case):
    schedule, (components, _, _) = case
    work = by_work(schedule)
    for task in schedule:
        if task.kind != "backward" and task.component > 0:
            assert end(work[task.kind, task.component - 1, task.micro_batch]) <= task.start
        if task.kind == "backward":
            assert end(work["forward", components - 1, task.micro_batch]) <= task.start
        if task.kind == "backward" and task.component < components - 1:
            assert end(work["backward", task.component + 1, task.micro_batch]) <= task.start


def test_a_component_starts_an_update_only_after_the_one_before(case):
    schedule, _ = case
    for task, other in itertools.product(schedule, schedule):
        if task.component == other.component and task.update < other.update:
            assert end(task) <= other.start


def test_components_take_as_long_as_their_costs():
    schedule = associated(components=3, devices=2, micro_batches=2, partition=(2, 1), costs=[0.5, 1.5, 1.0])
    assert [(task.device, task.start, task.duration) for task in schedule] == [
        *[(0, 0, 0.5), (0, 0.5, 1.5), (1, 2, 1)],
        *[(0, 2, 0.5), (0, 2.5, 1.5), (1, 4, 1)],
    ]
    assert utilisation(schedule) == 6 / (2 * 5)
    assert figure({"costs": schedule}, "milliseconds").axes[0].get_xlabel() == "time (milliseconds)"


def test_costs_of_other_components_are_refused():
    with pytest.raises(ValueError, match="a time for each of 3 components, got 2"):
        associated(3, 2, 1, costs=[1, 2])


@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("micro_batches", [1, 2, 9])
def test_associated_learning_has_one_bubble_whatever_the_length(block, devices, micro_batches):
    schedule = associated(block * devices, devices, micro_batches)
    tick = LOCAL * block
    assert makespan(schedule) == tick * (micro_batches + devices - 1)
    for device in range(devices):
        busy = sum(task.duration for task in schedule if task.device == device)
        assert makespan(schedule) - busy == tick * (devices - 1)


def test_associated_learning_ticks_with_the_largest_block():
    schedule = associated(components=6, devices=3, micro_batches=4, partition=(1, 3, 2))
    assert [task.device for task in schedule if task.micro_batch == 0] == [0, 1, 1, 1, 2, 2]
    first = min(task.start for task in schedule if task.device == 2 and task.micro_batch == 3)
    assert first == 3 * LOCAL * (3 + 2)


@pytest.mark.parametrize("block", [1, 3])
@pytest.mark.parametrize("devices", [1, 2, 4])
@pytest.mark.parametrize("per_update", [1, 4, 7])
def test_gpipe_has_its_published_bubble_in_every_update(block, devices, per_update):
    for updates in (1, 3):
        schedule = gpipe(block * devices, devices, updates * per_update, per_update)
        assert 1 - utilisation(schedule) == pytest.approx((devices - 1) / (per_update + devices - 1))


@pytest.mark.parametrize(("components", "devices", "micro_batches"), SIZES)
def test_backprop_keeps_one_device_busy(components, devices, micro_batches):
    assert utilisation(backprop(components, devices, micro_batches)) == pytest.approx(1 / devices)


@pytest.mark.parametrize("make", SCHEDULES.values(), ids=SCHEDULES)
@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ((2, 3, 1), "devices must be between 1 and components = 2, got 3"),
        ((2, 0, 1), "devices must be between 1 and components = 2, got 0"),
        ((0, 1, 1), "components must be at least 1, got 0"),
        ((2, 2, 0), "micro_batches must be at least 1, got 0"),
    ],
)
def test_bad_sizes_are_refused(make, sizes, message):
    with pytest.raises(ValueError, match=message):
        make(*sizes)


@pytest.mark.parametrize("partition", [(), (4,), (0, 4), (2, 3), (1, 1, 2)])
def test_a_bad_partition_is_refused(partition):
    with pytest.raises(ValueError, match="at least one of 4 components"):
        associated(4, 2, 1, partition)


@pytest.mark.parametrize("partition", [(), (4,), (0, 3), (1, 1)])
def test_a_log_of_other_components_is_refused(partition):
    with pytest.raises(ValueError, match=r"every device at least one of the 3 components of the log"):
        observed([[0, 1, -1], [-1, 0, 1], [-1, 0, 1]], partition)


def test_updates_of_no_micro_batch_are_refused():
    for make in (lambda: associated(2, 2, 4, accumulate=0), lambda: observed([[0], [0]], (1, 1), accumulate=0)):
        with pytest.raises(ValueError, match="accumulate must be at least 1, got 0"):
            make()


def test_what_takes_no_time_has_no_utilisation():
    for schedule in ((), associated(2, 2, 4, costs=[0, 0])):
        with pytest.raises(ValueError, match="takes no time has no utilisation: give its components costs above 0"):
            utilisation(schedule)


@pytest.mark.parametrize("per_update", [0, 3, 8])
def test_a_bad_number_of_micro_batches_per_update_is_refused(per_update):
    with pytest.raises(ValueError, match="per_update must divide micro_batches = 4"):
        gpipe(2, 2, 4, per_update)


# The units of time of the authors' paper (section 3) and slides: one for what a component does with a mini-batch, or
# for a pass of one layer.
def test_five_mini_batches_go_through_three_components_in_seven_units():
    assert units(associated(3, 3, 5)) == 7


@pytest.mark.parametrize("layers", [2, 4, 10])
@pytest.mark.parametrize("mini_batches", [1, 5, 60])
def test_an_epoch_takes_half_the_layers_plus_the_mini_batches_less_one(layers, mini_batches):
    """Two layers make a component, f on one side and h on the other."""
    components = layers // 2
    assert units(associated(components, components, mini_batches)) == components + mini_batches - 1


@pytest.mark.parametrize("layers", [2, 4, 10])
@pytest.mark.parametrize("mini_batches", [1, 5])
def test_backprop_takes_two_units_a_layer_and_two_for_the_output(layers, mini_batches):
    for devices in {1, layers // 2, layers + 1}:
        assert units(backprop(layers + 1, devices, mini_batches)) == mini_batches * 2 * (layers + 1)


def test_gpipe_shortens_the_example_of_the_slides_from_36_to_15_units():
    """Four micro-batches on four devices, one unit for an update: one after another, and as GPipe."""
    assert units(backprop(4, 4, 4), step=1) == 36
    assert units(gpipe(4, 4, 4, per_update=4), step=1) == 15


@pytest.mark.parametrize("micro_batches", [1, 2, 9])
def test_units_are_ticks_where_a_device_has_one_component(micro_batches):
    schedule = associated(3, 3, micro_batches)
    assert units(schedule) * LOCAL == makespan(schedule)
    assert units(schedule, step=1) == units(schedule)  # a component's update is part of its task


def test_draw_writes_a_png(tmp_path):
    path = tmp_path / "schedule.png"
    draw({"Associated Learning": associated(3, 2, 4), "GPipe": gpipe(3, 2, 4, 2)}, path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


def test_edges_do_not_hide_narrow_boxes():
    schedule = gpipe(16, 8, 32, 8)
    (axes,) = figure({"long": schedule}).axes
    narrow = [box for box in axes.patches if box.get_width() == 1 and box.get_edgecolor() == (1, 1, 1, 1)]
    points = 72 * WIDTH / makespan(schedule)  # that a forward pass is wide at most
    assert 0 < max(box.get_linewidth() for box in narrow) < points / 4


def test_figure_has_a_panel_for_each_schedule_with_device_1_on_top():
    panels = figure({"long": backprop(2, 2, 4), "short": associated(2, 2, 4)}).axes
    assert [panel.get_title(loc="left") for panel in panels] == [
        "long: devices busy 50% of the time",
        "short: devices busy 80% of the time",
    ]
    for panel in panels:
        assert panel.get_xlim() == (0, 24)
        assert [label.get_text() for label in panel.get_yticklabels()] == ["device 1", "device 2"]
        assert panel.yaxis_inverted()


@pytest.mark.parametrize("schedules", [{}, {"empty": ()}])
def test_nothing_to_draw_is_refused(schedules):
    with pytest.raises(ValueError, match="at least one schedule"):
        figure(schedules)
