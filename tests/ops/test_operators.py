"""The operators against SciPy, against their PyTorch twins, and against PyTorch's own checks of custom operators."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from captum_proto import ops
from captum_proto.ops import _schemas, _twin

native = torch.ops.captum_proto

X, RANKS = torch.rand(2, 5), torch.full((2, 5), 6, dtype=torch.int32)
FLOATING = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
#: Around the sizes at which kernels change their way of working.
LENGTHS = [1, 2, 3, 31, 32, 33, 255, 256, 257, 1023, 1024, 1025, 2047, 2048, 2049, 4096, 4097, 65537]


def rows(kind: str, n: int, d: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return {
        "dense": x,
        "after a ReLU": x.relu(),
        "few values": (x * 2).round(),
        "signed zeros": torch.where(x > 0.5, x, torch.where(x > 0, 0.0, -0.0)),
        "descending": x.sort(descending=True).values,
        "one value": torch.full_like(x, 0.25),
    }[kind]


def scipy_spearman(x: torch.Tensor, y: torch.Tensor) -> list[float]:
    with np.errstate(all="ignore"):
        return [
            scipy.stats.spearmanr(a.double().numpy(), b.double().numpy()).statistic for a, b in zip(x, y, strict=True)
        ]


@pytest.mark.filterwarnings("ignore:An input array is constant")
@pytest.mark.parametrize("kind", ["dense", "after a ReLU", "few values", "signed zeros", "descending", "one value"])
@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("d", [2, 33, 1025, 5000])
def test_rank_and_spearman_equal_scipy(kind: str, dtype: torch.dtype, d: int) -> None:
    x = rows(kind, 3, d).to(dtype)
    y = rows("dense", 1, d, seed=1).to(dtype)[0]
    expected = scipy.stats.rankdata(x.double().numpy(), method="average", axis=-1)
    np.testing.assert_array_equal(ops.rank(x).numpy(), expected)
    np.testing.assert_allclose(
        ops.spearman(x, y).numpy(), scipy_spearman(x, y.expand_as(x)), rtol=0, atol=1e-12, equal_nan=True
    )


@pytest.mark.parametrize("d", LENGTHS)
@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("kind", ["dense", "after a ReLU", "few values"])
def test_native_equals_twin_bit_for_bit(kind: str, dtype: torch.dtype, d: int) -> None:
    x = rows(kind, 3, d, seed=d).to(dtype)
    reference = rows("after a ReLU", 3, d, seed=d + 1).to(dtype)
    ranks = torch.ops.captum_proto.doubled_rank(x)
    assert torch.equal(ranks, _twin.doubled_rank(x))
    for q in (_twin.doubled_rank(reference), _twin.doubled_rank(reference)[0]):
        assert torch.equal(torch.ops.captum_proto.spearman(x, q).nan_to_num(9), _twin.spearman(x, q).nan_to_num(9))


special = st.sampled_from([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, 1e-40, -1e-40, 5e-324, 1e38])
arrays = hnp.arrays(
    np.float64,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=70),
    elements=st.one_of(special, st.floats(-3, 3, width=16)),
)


@settings(max_examples=200, deadline=None)
@given(arrays, st.sampled_from(FLOATING))
def test_any_values_rank_as_in_scipy_and_as_in_the_twin(array: np.ndarray, dtype: torch.dtype) -> None:
    x = torch.from_numpy(array).to(dtype)
    expected = scipy.stats.rankdata(x.double().numpy(), method="average", axis=-1)
    np.testing.assert_array_equal(ops.rank(x).numpy(), expected)
    reference = ops.SpearmanReference(x[0])
    correlation = torch.ops.captum_proto.spearman(x, reference.doubled_ranks)
    assert torch.equal(correlation.nan_to_num(9), _twin.spearman(x, reference.doubled_ranks).nan_to_num(9))
    constant_or_nan = x.double().isnan().any(1) | (x == x[:, :1]).all(1)
    undefined = constant_or_nan | constant_or_nan[0]
    assert torch.equal(correlation.isnan(), undefined)


def test_a_row_correlates_with_itself_exactly() -> None:
    x = rows("after a ReLU", 4, 10_001)
    assert ops.spearman(x, x).tolist() == [1.0] * 4
    dense = rows("dense", 4, 10_001)
    assert ops.spearman(dense, -dense).tolist() == [-1.0] * 4


def test_the_paths_largest_layer_in_full() -> None:
    x = rows("after a ReLU", 2, 802_816).float()
    y = rows("dense", 1, 802_816, seed=5).float()[0]
    result = ops.spearman(x, y)
    np.testing.assert_allclose(result.numpy(), scipy_spearman(x, y.expand_as(x)), rtol=0, atol=1e-12)
    assert torch.equal(result, _twin.spearman(x, _twin.doubled_rank(y.unsqueeze(0))[0]))


def test_sums_beyond_64_bits_stay_exact() -> None:
    # D³/3 passes 2^63 at D = 3,024,617; the closed form for a reversed half tells whether anything overflowed.
    d = 3_500_000
    x = torch.arange(d, dtype=torch.float32).unsqueeze(0)
    y = torch.cat([torch.arange(d // 2), torch.arange(d - 1, d // 2 - 1, -1)]).float()
    difference = sum((2 * k - (d // 2 - 1)) ** 2 for k in range(d // 2))  # of ranks, in the reversed half
    exact = 1 - 6 * difference / (d**3 - d)
    q = ops.SpearmanReference(y).doubled_ranks
    result = torch.ops.captum_proto.spearman(x, q)
    assert abs(float(result) - exact) < 1e-14
    assert torch.equal(result, _twin.spearman(x, q))


@pytest.mark.parametrize("dtype", FLOATING)
def test_strided_expanded_and_offset_inputs(dtype: torch.dtype) -> None:
    base = rows("after a ReLU", 6, 400).to(dtype)
    y = rows("dense", 1, 200, seed=2).to(dtype)[0]
    for x in (base[::2, ::2], base.t()[:200].t(), base[1:, 200:], base[:1, :200].expand(5, 200), base[:, :200].flip(1)):
        assert torch.equal(ops.rank(x), ops.rank(x.clone()))
        assert torch.equal(ops.spearman(x, y), ops.spearman(x.clone(), y))
        assert torch.equal(ops.path_distance(x, y.float())[1], ops.path_distance(x.clone(), y.float())[1])


@pytest.mark.parametrize("n", [0, 1, 33])
@pytest.mark.parametrize("d", [0, 1])
def test_empty_and_single(n: int, d: int) -> None:
    x = torch.zeros(n, d)
    assert ops.rank(x).shape == (n, d)
    assert ops.spearman(x, torch.zeros(d)).isnan().all()
    similarity, distance = ops.path_distance(x, torch.ones(d))
    assert similarity.isnan().all()
    assert distance.tolist() == [float(d)] * n


def test_rank_takes_any_number_of_axes_and_exact_integers() -> None:
    x = torch.randint(-5, 5, (2, 3, 40), dtype=torch.int32)
    np.testing.assert_array_equal(ops.rank(x).numpy(), scipy.stats.rankdata(x.numpy(), axis=-1))
    assert ops.rank(torch.tensor([2.0, 1.0])).tolist() == [2.0, 1.0]


@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("d", [7, 1000, 70_000])
@pytest.mark.parametrize("per_row", [False, True])
def test_path_distance_is_spearman_and_l1(dtype: torch.dtype, d: int, per_row: bool) -> None:
    x = rows("after a ReLU", 5, d).to(dtype)
    mean = rows("dense", 5, d, seed=3).float().abs()
    mean = mean if per_row else mean[0]
    similarity, distance = ops.path_distance(x, mean)
    assert torch.equal(similarity, ops.spearman(x, mean))
    expected = [
        math.fsum(abs(a - b) for a, b in zip(r.tolist(), m.tolist(), strict=True))
        for r, m in zip(x, mean.expand(5, d), strict=True)
    ]
    np.testing.assert_allclose(distance.numpy(), expected, rtol=1e-13)
    assert distance.dtype == similarity.dtype == torch.float64


def test_results_do_not_depend_on_threads_batch_or_repetition() -> None:
    x = rows("after a ReLU", 9, 30_000).float()
    mean = rows("dense", 1, 30_000, seed=4).float()[0].abs()
    images = rows("dense", 5, 3 * 40 * 40).float().view(5, 3, 40, 40)
    threads = torch.get_num_threads()

    def everything() -> list[torch.Tensor]:
        return [*ops.path_distance(x, mean), ops.rank(x), ops.high_frequency_loss(images)]

    try:
        torch.set_num_threads(1)
        by_one_thread = everything()
        torch.set_num_threads(2)
        by_two_threads = everything()
    finally:
        torch.set_num_threads(threads)
    for a, b, c in zip(by_one_thread, by_two_threads, everything(), strict=True):
        assert torch.equal(a, b)
        assert torch.equal(a, c)
    alone = [ops.path_distance(row.unsqueeze(0), mean) for row in x]
    assert torch.equal(torch.cat([pair[0] for pair in alone]), by_one_thread[0])
    assert torch.equal(torch.cat([pair[1] for pair in alone]), by_one_thread[1])


IMAGE_SHAPES = [(2, 3, 5, 7), (1, 1, 1, 1), (2, 3, 1, 6), (2, 1, 6, 1), (3, 4, 33, 65), (0, 3, 4, 4), (2, 0, 4, 4)]


@pytest.mark.parametrize("shape", IMAGE_SHAPES)
@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("dtype", FLOATING)
def test_high_frequency_loss_by_its_definition(shape: tuple[int, ...], power: int, dtype: torch.dtype) -> None:
    images = torch.randn(shape, dtype=torch.float64).to(dtype)
    expected = []
    for image in images.double().numpy():
        terms = [np.abs(np.diff(image, axis=axis)) ** power for axis in (1, 2)]
        expected.append(sum(float(term.mean()) for term in terms if term.size))
    loss = ops.high_frequency_loss(images, power)
    assert loss.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    np.testing.assert_allclose(loss.numpy(), expected, rtol=1e-12 if dtype == torch.float64 else 1e-6, atol=1e-12)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("dtype", FLOATING)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced", "expanded"])
def test_high_frequency_loss_native_equals_twin_in_every_layout(power: int, dtype: torch.dtype, layout: str) -> None:
    images = torch.randn(3, 4, 18, 22, dtype=torch.float64).to(dtype)
    images = {
        "contiguous": images,
        "channels_last": images.contiguous(memory_format=torch.channels_last),
        "sliced": images[:, ::2, 1::2, 3:],
        "expanded": images[:, :1].expand(3, 4, 18, 22),
    }[layout]
    grad = torch.randn(3, dtype=torch.float64).to(torch.float64 if dtype == torch.float64 else torch.float32)
    tight = {"rtol": 1e-12, "atol": 1e-13} if dtype == torch.float64 else {"rtol": 1e-6, "atol": 1e-7}
    loose = {torch.float16: 2e-3, torch.bfloat16: 1.6e-2}.get(dtype)
    torch.testing.assert_close(
        native.high_frequency_loss(images, power), _twin.high_frequency_loss(images, power), **tight
    )
    back = native.high_frequency_loss_backward(grad, images, power)
    expected = _twin.high_frequency_loss_backward(grad, images, power)
    torch.testing.assert_close(back, expected, **(tight if loose is None else {"rtol": loose, "atol": 1e-4}))
    assert back.dtype == images.dtype
    if layout == "channels_last":
        assert back.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("power", [1, 2])
def test_high_frequency_loss_has_the_gradient_of_its_value(power: int) -> None:
    images = torch.randn(2, 3, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: ops.high_frequency_loss(x, power), images)


def test_flat_images_have_no_gradient() -> None:
    images = torch.full((2, 3, 8, 8), 0.5, requires_grad=True)
    ops.high_frequency_loss(images).sum().backward()
    assert images.grad is not None
    assert not images.grad.any()


def _opcheck_arguments() -> dict[str, tuple[object, ...]]:
    x = rows("after a ReLU", 3, 300).float()
    ranks = ops.SpearmanReference(x[0]).doubled_ranks
    images = torch.randn(2, 3, 6, 5, requires_grad=True)
    return {
        "high_frequency_loss": (images, 1),
        "high_frequency_loss_backward": (torch.randn(2), images.detach(), 2),
        "doubled_rank": (x,),
        "rank": (x,),
        "spearman": (x, ranks),
        "path_distance": (x, x[1].contiguous(), ranks),
    }


@pytest.mark.parametrize("name", list(_opcheck_arguments()))
def test_opcheck(name: str) -> None:
    results = torch.library.opcheck(getattr(torch.ops.captum_proto, name).default, _opcheck_arguments()[name])
    assert set(results.values()) == {"SUCCESS"}


def test_compiles_without_a_graph_break() -> None:
    x = rows("after a ReLU", 4, 500).float()
    images = torch.randn(2, 3, 9, 9)

    def everything(x: torch.Tensor, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        reference = ops.SpearmanReference(x[0])
        return (
            ops.high_frequency_loss(images, 2),
            ops.rank(x),
            ops.spearman(x, reference),
            *ops.path_distance(x, x[1], reference),
        )

    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")
    for a, b in zip(compiled(x, images), everything(x, images), strict=True):
        assert torch.equal(a, b)


@pytest.mark.slow
def test_compiles_with_inductor_and_differentiates() -> None:
    images = torch.randn(2, 3, 9, 9, requires_grad=True)
    compiled = torch.compile(lambda x: (ops.high_frequency_loss(x) * 2).sum(), fullgraph=True)
    compiled(images).backward()
    expected = torch.ops.captum_proto.high_frequency_loss_backward(torch.full((2,), 2.0), images.detach(), 1)
    torch.testing.assert_close(images.grad, expected)


def test_ranks_carry_no_gradient() -> None:
    x = torch.randn(2, 50, requires_grad=True)
    assert not ops.spearman(x, x.detach()[0]).requires_grad
    assert not ops.rank(x).requires_grad


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: ops.high_frequency_loss(torch.rand(3, 8, 8)), ValueError, r"\(3, 8, 8\).*\(N, C, H, W\)"),
        (lambda: ops.high_frequency_loss(torch.zeros(1, 3, 8, 8, dtype=torch.uint8)), TypeError, "uint8.*float"),
        (lambda: ops.high_frequency_loss(torch.rand(1, 3, 8, 8), 3), ValueError, "power is 3"),
        (lambda: ops.rank(torch.tensor(1.0)), ValueError, "no dimensions"),
        (lambda: ops.rank(torch.zeros(2, 2, dtype=torch.int64)), TypeError, "int64.*float64"),
        (lambda: ops.rank(torch.zeros(2, 2, dtype=torch.complex64)), TypeError, "complex64"),
        (lambda: ops.spearman(torch.rand(2, 5), torch.rand(4)), ValueError, r"\(4,\).*\(5,\)"),
        (lambda: ops.spearman(torch.rand(2, 5), torch.rand(3, 5)), ValueError, r"\(3, 5\)"),
        (lambda: ops.spearman(torch.rand(2, 5, 1), torch.rand(5)), ValueError, "rows"),
        (lambda: ops.SpearmanReference(torch.rand(1, 2, 3)), ValueError, r"\(D,\) or \(N, D\)"),
        (lambda: ops.path_distance(torch.zeros(2, 5, dtype=torch.int32), torch.rand(5)), TypeError, "int32"),
        (lambda: ops.path_distance(torch.rand(2, 5), torch.rand(5).half()), TypeError, "float16.*float32 or float64"),
        (lambda: ops.path_distance(torch.rand(2, 5), torch.rand(6)), ValueError, r"mean has shape \(6,\)"),
    ],
)
def test_bad_input_gets_one_sentence(call, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        call()


needs_kernels = pytest.mark.skipif(not ops.backend()["cpu"]["native"], reason="only the twin is here")


@needs_kernels
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: native.rank(torch.zeros(3)), r"x has the shape \(3,\); expected rows \(N, D\)"),
        (lambda: native.rank(torch.zeros(1, 3, dtype=torch.int32)), "x has a dtype .* expected float16"),
        (lambda: native.spearman(X, RANKS[:, :4]), r"doubled_ranks has the shape \(2, 4\); for x of shape \(2, 5\)"),
        (lambda: native.spearman(X, RANKS.float()), "doubled_ranks must be int32"),
        (lambda: native.path_distance(X, X[:, :4], RANKS), r"mean has the shape \(2, 4\)"),
        (lambda: native.path_distance(X, X.half(), RANKS), "mean must be float32 or float64"),
        (lambda: native.accumulate(torch.zeros(5), X), "sums must be contiguous and float64"),
        (lambda: native.accumulate(torch.zeros(4, dtype=torch.float64), X), r"sums have the shape \(4,\)"),
        (lambda: native.high_frequency_loss(X, 1), r"images has the shape \(2, 5\); expected \(N, C, H, W\)"),
        (lambda: native.high_frequency_loss(X[None, None], 3), "power is 3"),
        (
            lambda: native.high_frequency_loss_backward(X[0], X[None, None], 1),
            r"grad_output has the shape \(5,\); expected one",
        ),
    ],
)
def test_the_kernels_refuse_what_does_not_fit(call, words: str) -> None:
    with pytest.raises(RuntimeError, match=f"^captum_proto: {words}"):
        call()


@needs_kernels
def test_the_longest_row_is_the_same_in_python_and_in_the_kernels() -> None:
    longest = _schemas.MAX_ROW_LENGTH
    assert native.doubled_rank(torch.empty(0, longest)).shape == (0, longest)
    with pytest.raises(RuntimeError, match=f"rows of {longest + 1} values; at most {longest} can be ranked"):
        native.doubled_rank(torch.empty(0, longest + 1))
    with pytest.raises(ValueError, match=f"rows of {longest + 1} values; at most {longest} can be ranked"):
        ops.rank(torch.empty(0, longest + 1))


def test_the_native_module_is_what_was_tested() -> None:
    native = ops.backend()["cpu"]
    if not native["native"]:
        pytest.skip(f"only the twin was tested: {native['reason']}")
    x = torch.zeros(1, 4)
    assert torch._C._dispatch_has_kernel_for_dispatch_key("captum_proto::spearman", "CPU")
    assert ops.rank(x).tolist() == [[2.5] * 4]


def test_a_second_derivative_is_refused_in_one_sentence() -> None:
    images = torch.randn(1, 1, 4, 4, requires_grad=True)
    (gradient,) = torch.autograd.grad(ops.high_frequency_loss(images, 2).sum(), images, create_graph=True)
    with pytest.raises(RuntimeError, match="can be differentiated once"):
        gradient.sum().backward()
