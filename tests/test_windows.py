from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from poolcli.errors import PoolError, WindowError
from poolcli.placing import adaptive, enlarged, same, sliding
from poolcli.windows import Adaptive, Sliding, Window, undone
from tests.oracle import Lay, Walked, walk

LENGTHS = st.integers(1, 24)


@st.composite
def sliding_lays(draw: st.DrawFn) -> Lay:
    kernel, dilation = draw(st.integers(1, 6)), draw(st.integers(1, 4))
    span = (kernel - 1) * dilation + 1
    return Lay(
        kernel=kernel,
        stride=draw(st.integers(1, 8)),
        begin=draw(st.integers(0, span - 1)),
        end=draw(st.integers(0, span - 1)),
        dilation=dilation,
        ceil=draw(st.booleans()),
    )


@st.composite
def same_lays(draw: st.DrawFn) -> Lay:
    return Lay(
        kernel=draw(st.integers(1, 6)),
        stride=draw(st.integers(1, 8)),
        dilation=draw(st.integers(1, 4)),
        same=draw(st.sampled_from(["upper", "lower"])),
    )


adaptive_lays = st.builds(Lay, out=st.integers(1, 30))
lays = st.one_of(sliding_lays(), same_lays(), adaptive_lays)


def bound(length: int, lay: Lay) -> Window:
    if lay.out is not None:
        return adaptive(length, lay.out)
    if lay.same:
        lower = lay.same == "lower"
        return same(length, lay.kernel, lay.stride, dilation=lay.dilation, lower=lower)
    return bound_sliding(length, lay)


def bound_sliding(length: int, lay: Lay) -> Sliding:
    return sliding(
        length,
        lay.kernel,
        lay.stride,
        begin=lay.begin,
        end=lay.end,
        dilation=lay.dilation,
        ceil=lay.ceil,
    )


def both(length: int, lay: Lay) -> tuple[Window, Walked] | None:
    """Bind a window and walk it; None where there is none, after checking that it is refused."""
    walked = walk(length, lay)
    if walked.windows:
        return bound(length, lay), walked
    with pytest.raises(WindowError, match="is larger than its"):
        bound(length, lay)
    return None


@settings(deadline=None, max_examples=500)
@given(LENGTHS, lays)
def test_windows_lie_where_walking_finds_them(length: int, lay: Lay) -> None:
    if found := both(length, lay):
        window, walked = found
        assert window.output == len(walked.windows)
        assert [list(window.positions(i)) for i in range(window.output)] == walked.windows
        assert window.padding == (walked.begin, walked.end)
        assert window.length == length


@settings(deadline=None, max_examples=300)
@given(LENGTHS, lays)
def test_present_and_counted_positions_are_those_walked_through(length: int, lay: Lay) -> None:
    if found := both(length, lay):
        window, walked = found
        for index, positions in enumerate(walked.windows):
            assert list(window.present(index)) == list(filter(walked.is_inside, positions))
            assert window.counted(index) == len(list(filter(walked.is_declared, positions)))


@settings(deadline=None, max_examples=300)
@given(LENGTHS, lays)
def test_kernel_and_total_positions_are_those_walked_through(length: int, lay: Lay) -> None:
    if found := both(length, lay):
        window, walked = found
        assert window.kernel == max(map(len, walked.windows))
        assert window.total_positions() == sum(map(len, walked.windows))


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 8), lays)
def test_emptiness_and_identity_are_those_walked_through(length: int, lay: Lay) -> None:
    if found := both(length, lay):
        window, walked = found
        empty = [w for w in walked.windows if not any(map(walked.is_inside, w))]
        assert window.has_empty() == bool(empty)
        same_place = walked.windows == [[i] for i in range(length)]
        # Of a single position any stride is the identity; nothing depends on saying so.
        assert window.is_identity == same_place or (length == 1 and not window.is_identity)


@settings(deadline=None, max_examples=300)
@given(LENGTHS, lays, st.data())
def test_needed_input_is_what_the_windows_look_at(
    length: int, lay: Lay, data: st.DataObject
) -> None:
    if found := both(length, lay):
        window, walked = found
        first = data.draw(st.integers(0, window.output - 1))
        last = data.draw(st.integers(first + 1, window.output))
        low, high = window.needed(first, last)
        looked_at = [p for positions in walked.windows[first:last] for p in positions]
        inside = list(filter(walked.is_inside, looked_at))
        assert 0 <= low <= high <= length
        assert all(low <= position < high for position in inside)
        if looked_at == inside:
            assert (low, high) == (min(inside), max(inside) + 1)


@settings(deadline=None, max_examples=300)
@given(LENGTHS, st.one_of(sliding_lays(), same_lays()))
def test_reach_and_whole_are_those_walked_through(length: int, lay: Lay) -> None:
    if found := both(length, lay):
        window, walked = found
        assert isinstance(window, Sliding)
        for tap in range(lay.kernel):
            inside = [i for i, w in enumerate(walked.windows) if walked.is_inside(w[tap])]
            assert list(range(*window.reach(tap))) == inside
        whole = [i for i, w in enumerate(walked.windows) if all(map(walked.is_inside, w))]
        assert list(window.whole()) == whole


@settings(deadline=None, max_examples=200)
@given(LENGTHS, same_lays())
def test_same_gives_one_window_per_begun_stride(length: int, lay: Lay) -> None:
    window = bound(length, lay)
    assert window.output == len(range(0, length, lay.stride))
    begin, end = window.padding
    assert (end - begin if lay.same == "upper" else begin - end) in (0, 1)


@settings(deadline=None, max_examples=200)
@given(LENGTHS, adaptive_lays)
def test_adaptive_windows_cover_the_axis_without_gaps(length: int, lay: Lay) -> None:
    window = bound(length, lay)
    covered = [p for i in range(window.output) for p in window.positions(i)]
    assert set(covered) == set(range(length))
    assert window.stride is None
    assert window.dilation == 1


def test_an_adaptive_axis_can_be_kept_as_it_is() -> None:
    window = adaptive(5, None)
    assert window == Adaptive(length=5, output=5)
    assert window.is_identity


def test_a_sliding_window_says_what_it_was_made_from() -> None:
    window = sliding(20, 3, 2, begin=1, end=2, dilation=3)
    assert (window.kernel, window.stride, window.dilation) == (3, 2, 3)
    assert (window.padding, window.extent) == ((1, 2), 7)


@pytest.mark.parametrize(
    ("window", "output"),
    [
        pytest.param(sliding(9, 4, 4, begin=2, end=2, ceil=True), 3, id="pytorch-drops-the-last"),
        pytest.param(sliding(9, 4, 4, begin=2, end=2), 3, id="without-ceil"),
        pytest.param(sliding(4, 3, 2, begin=1, end=1, ceil=True), 3, id="overhang"),
        pytest.param(sliding(4, 3, 2, begin=1, end=1), 2, id="no-overhang"),
        pytest.param(sliding(5, 2, 2, ceil=True), 3, id="ceil-keeps-the-rest"),
        pytest.param(sliding(5, 2, 2), 2, id="floor-drops-the-rest"),
        pytest.param(sliding(1, 3, 4, ceil=True), 1, id="ceil-of-a-window-larger-than-the-input"),
        pytest.param(sliding(3, 1, 4, ceil=True), 1, id="no-window-behind-the-input"),
        pytest.param(sliding(5, 1, 4, ceil=True), 2, id="a-window-on-the-last-position"),
        pytest.param(sliding(1, 2, 1, begin=1, end=1, dilation=2), 1, id="padding-alone"),
        pytest.param(sliding(2, 3, 1, begin=2, end=2), 4, id="padding-over-half-the-window"),
        pytest.param(same(224, 3, 2, lower=False), 112, id="same"),
        pytest.param(same(5, 1, 3, lower=False), 2, id="same-without-padding"),
        pytest.param(same(2, 2, 5, lower=True), 1, id="same-with-a-stride-beyond-the-input"),
        pytest.param(sliding(224, 7, 2, begin=3, end=3), 112, id="resnet"),
    ],
)
def test_output_lengths_worked_by_hand(window: Window, output: int) -> None:
    assert window.output == output


@pytest.mark.parametrize(
    ("window", "padding"),
    [
        pytest.param(same(224, 3, 2, lower=False), (0, 1), id="upper-odd"),
        pytest.param(same(224, 3, 2, lower=True), (1, 0), id="lower-odd"),
        pytest.param(same(5, 3, 1, lower=False), (1, 1), id="even"),
        pytest.param(same(5, 3, 1, dilation=2, lower=False), (2, 2), id="dilated"),
        pytest.param(same(1, 2, 1, dilation=2, lower=False), (1, 1), id="dilated-around-one"),
        pytest.param(same(5, 1, 3, lower=False), (0, 0), id="negative-total-is-none"),
    ],
)
def test_same_padding_worked_by_hand(window: Window, padding: tuple[int, int]) -> None:
    assert window.padding == padding


def test_overhang_is_not_counted_by_an_average() -> None:
    window = sliding(4, 3, 2, begin=1, end=1, ceil=True)
    assert [window.counted(i) for i in range(3)] == [3, 3, 2]


def test_adaptive_windows_overlap_where_the_output_does_not_divide() -> None:
    window = adaptive(7, 3)
    assert [list(window.positions(i)) for i in range(3)] == [[0, 1, 2], [2, 3, 4], [4, 5, 6]]
    assert window.kernel == 3


spans = st.one_of(
    st.builds(bound, LENGTHS, same_lays()),
    st.builds(lambda n, k, s, d: sliding(n + k * d, k, s, dilation=d), *([st.integers(1, 6)] * 4)),
    st.builds(
        lambda n, k, s, p: undone(sliding(n + k, k, s, begin=min(p, k - 1))),
        *([st.integers(1, 6)] * 4),
    ),
    st.builds(lambda n, f, linear: enlarged(n, f, linear=linear), LENGTHS, LENGTHS, st.booleans()),
)


@settings(deadline=None, max_examples=300)
@given(spans, spans)
def test_spans_are_from_the_first_to_the_last_position(window: Window, before: Window) -> None:
    assert window.span is not None
    assert before.span is not None
    joined = window.span.then(before.span)
    for index in range(window.output):
        first, last = window.positions(index)[0], window.positions(index)[-1]
        assert (window.span.first(index), window.span.last(index)) == (first, last)
        ends = before.span.first(first), before.span.last(last)
        assert joined is None or (joined.first(index), joined.last(index)) == ends


def test_windows_at_varying_distances_have_no_span() -> None:
    assert adaptive(5, 3).span is None
    assert adaptive(5, 5).span == sliding(5, 1, 1).span


def test_more_adaptive_windows_than_positions_repeat_them() -> None:
    window = adaptive(2, 5)
    assert [list(window.positions(i)) for i in range(5)] == [[0], [0], [0, 1], [1], [1]]


def test_a_dilated_window_around_one_position_is_empty() -> None:
    window = sliding(1, 2, 1, begin=1, end=1, dilation=2)
    assert list(window.positions(0)) == [-1, 1]
    assert window.has_empty()
    assert list(window.present(0)) == []
    assert window.needed(0, 1) == (0, 1)


@pytest.mark.parametrize(
    ("length", "lay", "text"),
    [
        pytest.param(
            3, Lay(kernel=5), "window 5 is larger than its input 3: a window of at most 3 fits",
            id="plain",
        ),
        pytest.param(
            3, Lay(kernel=9, begin=1, end=2),
            "window 9 is larger than its padded input 6: a window of at most 6 fits",
            id="padded",
        ),
        pytest.param(
            6, Lay(kernel=4, dilation=2),
            "window 4 at dilation 2 (it spans 7) is larger than its input 6: "
            "a window of at most 3 fits",
            id="dilated",
        ),
        pytest.param(
            1, Lay(kernel=4, stride=3, ceil=True),
            "window 4 is larger than its input 1: a window of at most 1 fits",
            id="ceil-by-a-whole-stride",
        ),
    ],
)  # fmt: skip
def test_a_window_that_does_not_fit_names_what_would(length: int, lay: Lay, text: str) -> None:
    with pytest.raises(WindowError) as caught:
        bound_sliding(length, lay)
    assert str(caught.value) == text


@settings(deadline=None, max_examples=200)
@given(LENGTHS, sliding_lays())
def test_the_window_that_an_error_says_would_fit_does(length: int, lay: Lay) -> None:
    try:
        bound_sliding(length, lay)
    except WindowError as error:
        fits = int(str(error).split("at most ")[1].split()[0])
        mended = Lay(fits, lay.stride, lay.begin, lay.end, lay.dilation)
        assert walk(length, mended).windows
        assert not walk(length, Lay(fits + 1, lay.stride, lay.begin, lay.end, lay.dilation)).windows


@pytest.mark.parametrize(
    "lay", [Lay(kernel=1), Lay(kernel=1, same="upper"), Lay(out=1)], ids=["sliding", "same", "out"]
)
def test_an_empty_axis_has_no_windows(lay: Lay) -> None:
    with pytest.raises(WindowError, match="the axis is empty"):
        bound(0, lay)


def test_a_window_error_is_a_value_error_and_one_of_poolclis() -> None:
    with pytest.raises(ValueError, match="larger") as caught:
        sliding(1, 2, 1)
    assert isinstance(caught.value, PoolError)
