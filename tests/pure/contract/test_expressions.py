"""What an expression of a contract means, for columns and for one reading."""

import math
from fractions import Fraction

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from breezeway.contract.expressions import Expression, Vectors

ODD = [math.nan, math.inf, 0.0, -0.0, 1.0, -1.0, 0.5, 5e-324, -5e-324, 1e308, -1e308, 1e16]
numbers = st.one_of(st.sampled_from(ODD), st.floats())
"""Infinity too: a contract allows none as a value, but an expression has it on its way."""


OPERATORS = ["+", "-", "*", "/", "<", "<=", ">", ">=", "==", "!="]


def _joined(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two, three = st.tuples(inner, inner), st.tuples(inner, inner, inner)
    return st.one_of(
        st.builds("-({})".format, inner),
        st.builds("{}({})".format, st.sampled_from(["abs", "log", "sqrt"]), inner),
        two.flatmap(
            lambda pair: st.sampled_from(
                [f"({pair[0]}) {op} ({pair[1]})" for op in OPERATORS]
                + [f"{name}({pair[0]}, {pair[1]})" for name in ("min", "max")]
            )
        ),
        three.flatmap(
            lambda each: st.sampled_from(
                [
                    "({}) if ({}) else ({})".format(*each),
                    "({}) < ({}) <= ({})".format(*each),
                    "min({}, {}, {})".format(*each),
                ]
            )
        ),
    )


texts = st.recursive(
    st.sampled_from(["a", "b", "a", "b", "0", "2", "0.5", "hour()"]), _joined, max_leaves=8
)


@settings(max_examples=120, deadline=None)
@given(texts, st.lists(st.tuples(numbers, numbers, numbers), min_size=1, max_size=20))
def test_columns_and_one_reading_agree_to_the_bit(text, rows):
    expression = Expression(text, {"a", "b"}, set())
    names = ("a", "b", "hour()")
    columns = {name: np.array(c) for name, c in zip(names, zip(*rows, strict=True), strict=True)}
    found = np.broadcast_to(expression(columns), len(rows))
    expected = [expression.of_reading(dict(zip(names, row, strict=True))) for row in rows]
    assert found.tobytes() == np.array(expected, np.float64).tobytes()


@pytest.mark.parametrize("size", [1, 3, 8, 17, 4096])
def test_a_logarithm_does_not_depend_on_its_neighbours(size):
    """Processors take several numbers at once."""
    expression = Expression("log(a) + sqrt(a)", {"a"}, set())
    column = np.random.default_rng(size).lognormal(0, 20, size)
    expected = [expression.of_reading({"a": number}) for number in column.tolist()]
    assert expression({"a": column}).tobytes() == np.array(expected).tobytes()
    assert expression({"a": np.repeat(column, 2)[::2]}).tobytes() == np.array(expected).tobytes()


NAN = math.nan


@pytest.mark.parametrize(
    ("text", "a", "b", "expected"),
    [
        ("abs(a)", -3, 0, 3),
        ("log(a)", math.e, 0, 1),
        ("log(a)", 0, 0, NAN),
        ("log(a)", -1, 0, NAN),
        ("sqrt(a)", 9, 0, 3),
        ("sqrt(a)", -9, 0, NAN),
        ("min(a, b)", 2, 1, 1),
        ("max(a, b, 7)", 2, 1, 7),
        ("min(a, b)", NAN, 1, NAN),
        ("min(a, b)", 1, NAN, NAN),
        ("max(a, b)", NAN, 1, NAN),
        ("a < b", 1, 2, 1),
        ("a < b", 2, 2, 0),
        ("a <= b", 2, 2, 1),
        ("a > b", 3, 2, 1),
        ("a >= b", 2, 2, 1),
        ("a == b", 2, 2, 1),
        ("a == b", 2, 3, 0),
        ("a != b", 2, 3, 1),
        ("a < b", NAN, 2, NAN),
        ("a != b", 2, NAN, NAN),
        ("0 < a < b", 1, 2, 1),
        ("0 < a < b", 3, 2, 0),
        ("0 < a < b", -1, 2, 0),
        ("0 < a < b", -1, NAN, NAN),
        ("a if b > 1 else -a", 5, 2, 5),
        ("a if b > 1 else -a", 5, 1, -5),
        ("a if b else 0", 5, 0.5, 5),
        ("a if b > 1 else -a", 5, NAN, NAN),
        ("3 if b else a", NAN, 1, 3),
        ("3 if b else a", NAN, 0, NAN),
        ("a / b", 1, 0, NAN),
        ("min(a / b, 4)", 1, 0, 4),
        ("1 < 2", 0, 0, 1),
    ],
)
def test_what_it_means(text, a, b, expected):
    expression = Expression(text, {"a", "b"}, set())
    found = expression.of_reading({"a": float(a), "b": float(b)})
    assert np.array_equal(found, expected, equal_nan=True)
    column = expression({"a": np.array([float(a)]), "b": np.array([float(b)])})
    assert np.array_equal(np.atleast_1d(column), [expected], equal_nan=True)


def test_figures_of_vectors_may_stand_among_the_rest():
    expression = Expression("max(v) if min(rms(v), a) > 2 else abs(min(v))", {"a"}, {"v"})
    vectors = Vectors(np.array([3.0, 4.0, -7.0, 1.0]), np.array([0, 2]))
    assert expression.takes_vectors and not expression.takes_time
    assert expression({"a": np.array([5.0, 1.0]), "v": vectors}).tolist() == [4.0, 7.0]


def test_a_field_may_have_the_name_of_a_function():
    expression = Expression("hour + min(hour, max)", {"hour", "max"}, set())
    assert expression.of_reading({"hour": 3.0, "max": 1.0}) == 4.0
    assert not expression.takes_time


def test_logarithms_are_right():
    for number in (2.0, 0.1, 1e300, 5e-324):
        found = Expression("log(a)", {"a"}, set()).of_reading({"a": number})
        whole = Fraction(number).limit_denominator(10**400)
        assert found == pytest.approx(math.log(whole.numerator) - math.log(whole.denominator))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("max(a)", r"max\(a\) needs a vector field, or several values as in max\(a, 0\)"),
        ("log(v)", "v is a vector: take rms"),
        ("min(a, v)", "v is a vector: take rms"),
        ("v > 2", "v is a vector: take rms"),
        ("exp(a)", r"exp\(\) is unknown: use \+ - \* /, .*comparisons.*abs, log, sqrt"),
        ("hour(a)", r"hour\(\) is unknown"),
        ("abs(a, b)", "is not allowed: use"),
        ("min()", "is not allowed: use"),
        ("min(a, key=b)", "is not allowed: use"),
        ("a in b", "is not allowed: use"),
        ("a and b", "is not allowed: use"),
        ("not a", "is not allowed: use"),
        ("a < c", "c is no field; fields are a, b"),
        ("a if c else b", "c is no field"),
        ("a ** b", "is not allowed: use"),
    ],
)
def test_what_is_none_is_refused_with_what_is_allowed(text, reason):
    with pytest.raises(ValueError, match=reason):
        Expression(text, {"a", "b"}, {"v"})
