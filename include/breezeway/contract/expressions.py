"""Arithmetic of fields, as a contract states it: `torque * rotational_speed`, `rms(vibration)`,
`max(inlet, outlet) if speed > 100 else 0`.

An expression is built twice, for columns and for single numbers. NumPy takes a microsecond for an
operation of two numbers, Python a thirtieth of it.
"""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import cached_property, reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from breezeway.contract.clock import HOUR, WEEKDAY

TEXT_CHARACTERS = 2000
DEPTH = 200
"""Operations within each other; a sum of n terms is n deep."""


class Vectors:
    """A column of vectors of varying length, laid end to end.

    Args:
        values: float64 of shape (elements,).
        starts: int64 of shape (rows,): where each row's vector begins in `values`. Every
            vector has at least one element.
    """

    def __init__(self, values: np.ndarray, starts: np.ndarray):
        self.values = values
        self.starts = starts
        self.lengths = np.diff(starts, append=len(values))

    def select(self, rows: np.ndarray) -> "Vectors":
        """The vectors of the rows where `rows` (bool) is true."""
        lengths = self.lengths[rows]
        return Vectors(self.values[np.repeat(rows, self.lengths)], np.cumsum(lengths) - lengths)

    def total(self, values: np.ndarray) -> np.ndarray:
        return np.add.reduceat(values, self.starts) if len(self.starts) else np.empty(0)

    @cached_property
    def mean(self) -> np.ndarray:
        return self.total(self.values) / self.lengths

    @cached_property
    def _squared_deviations(self) -> np.ndarray:
        deviations = np.repeat(self.mean, self.lengths)
        np.subtract(self.values, deviations, out=deviations)
        return np.square(deviations, out=deviations)

    @cached_property
    def variance(self) -> np.ndarray:
        return self.total(self._squared_deviations) / self.lengths

    def kurtosis(self) -> np.ndarray:
        fourth = self.total(np.square(self._squared_deviations)) / self.lengths
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(self.variance > 0, fourth / np.square(self.variance) - 3, np.nan)


VECTOR_FUNCTIONS: dict[str, Callable[[Vectors], np.ndarray]] = {
    "mean": lambda v: v.mean,
    "std": lambda v: np.sqrt(v.variance),
    "min": lambda v: np.minimum.reduceat(v.values, v.starts) if len(v.starts) else np.empty(0),
    "max": lambda v: np.maximum.reduceat(v.values, v.starts) if len(v.starts) else np.empty(0),
    "rms": lambda v: np.sqrt(v.total(np.square(v.values)) / v.lengths),
    "kurtosis": Vectors.kurtosis,
}
"""What a vector gives: `std` is the population's, `kurtosis` Fisher's excess (normal = 0)."""


def _divide(a: Any, b: Any) -> Any:
    try:
        return a / b
    except ZeroDivisionError:  # of two Python floats; as IEEE 754, and NumPy, have it
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.divide(a, b))


_OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: _divide,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def _log(number: float) -> float:
    return math.log(number) if number > 0 else math.nan


def _log_of_column(column: Any) -> np.ndarray:
    """The logarithm of the C library, as for one number: the last bits of NumPy's depend on the
    processor, and history may be made on another one than the server's."""
    positive = np.where(np.greater(column, 0), column, np.nan)
    logarithms = np.fromiter(map(math.log, positive.ravel().tolist()), np.float64, positive.size)
    return logarithms.reshape(positive.shape)


class _Engine(NamedTuple):
    """What columns and numbers need two ways for, with the same results. NaN stays NaN.

    Args:
        compare: 1 or 0, by a comparison of two values.
        choose: the second value where the first is not 0, else the third.
        functions: of one value.
        folds: of two values or more, by pairs.
    """

    compare: Callable[[Callable[[Any, Any], Any], Any, Any], Any]
    choose: Callable[[Any, Any, Any], Any]
    functions: dict[str, Callable[[Any], Any]]
    folds: dict[str, Callable[[Any, Any], Any]]


_COLUMNS = _Engine(
    compare=lambda apply, a, b: np.where(np.isnan(a) | np.isnan(b), np.nan, apply(a, b)),
    choose=lambda c, a, b: np.where(np.isnan(c), np.nan, np.where(c, a, b)),
    functions={"abs": abs, "log": _log_of_column, "sqrt": np.sqrt},
    # By comparisons: which of 0 and -0 NumPy's own minimum takes depends on the processor.
    folds={
        "min": lambda a, b: np.where((b < a) | (b != b), b, a),
        "max": lambda a, b: np.where((b > a) | (b != b), b, a),
    },
)
_NUMBERS = _Engine(
    compare=lambda apply, a, b: math.nan if a != a or b != b else float(apply(a, b)),
    choose=lambda c, a, b: math.nan if c != c else (a if c else b),
    functions={
        "abs": abs,
        "log": _log,
        "sqrt": lambda number: math.sqrt(number) if number >= 0 else math.nan,
    },
    folds={
        "min": lambda a, b: b if b < a or b != b else a,
        "max": lambda a, b: b if b > a or b != b else a,
    },
)
_CLOCK = {HOUR.removesuffix("()"): HOUR, WEEKDAY.removesuffix("()"): WEEKDAY}
ALLOWED = (
    "+ - * /, parentheses, numbers, fields, comparisons, `a if b else c`, "
    f"{', '.join(_NUMBERS.functions)}, {' and '.join(_NUMBERS.folds)} of several values, "
    f"{HOUR}, {WEEKDAY}, and {', '.join(VECTOR_FUNCTIONS)} of a vector field"
)
"""What an expression may consist of, for people."""


def _finite(number: float) -> float:
    try:
        constant = float(number)
    except OverflowError:
        constant = math.inf
    if not math.isfinite(constant):
        raise ValueError("a number is larger than a float can be")
    return constant


_Evaluate = Callable[[Mapping[str, Any]], Any]
_Build = Callable[..., list[_Evaluate]]


class Expression:
    """Parsed once, evaluated over columns; element by element, so a batch's size never
    changes a bit of the result.

    A comparison gives 1 or 0; one with a missing value is missing, and so is what a missing
    condition chooses, a logarithm of a number that is not above 0, and a root of one below 0.

    Args:
        text: of what `ALLOWED` names.
        scalars: names of the scalar and category fields.
        vectors: names of the vector fields.

    Raises:
        ValueError: the text is no such expression; the message says what is wrong.

    >>> power = Expression("torque * 2 if torque > 2 else 0", {"torque"}, set())
    >>> power({"torque": np.array([1.5, 4.0, np.nan])})
    array([ 0.,  8., nan])
    """

    def __init__(self, text: str, scalars: set[str], vectors: set[str]):
        if len(text) > TEXT_CHARACTERS:
            raise ValueError(f"{len(text)} characters; {TEXT_CHARACTERS} are allowed")
        try:
            tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError(f"{text!r} is not arithmetic of fields") from error
        self._scalars, self._vectors = scalars, vectors
        self.field = tree.id if isinstance(tree, ast.Name) else None
        """The scalar field that it is, where it is nothing more."""
        self.fields: set[str] = set()
        """The fields that it takes."""
        self.takes_vectors = False
        """Whether it is a figure of a vector field, alone or among others."""
        self.takes_time = False
        """Whether it needs the values of `clock`."""
        self._of_columns = self._build(tree, DEPTH, _COLUMNS)
        self._of_numbers = self._build(tree, DEPTH, _NUMBERS)

    def __call__(self, columns: Mapping[str, Any]) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            value = self._of_columns(columns)
        return np.where(np.isfinite(value), value, np.nan)  # x / 0 is a missing value

    def of_reading(self, values: Mapping[str, float]) -> float:
        """The same, to the bit, for one reading, where the expression takes no vector.

        >>> Expression("torque / 0", {"torque"}, set()).of_reading({"torque": 1.0})
        nan
        """
        value = self._of_numbers(values)
        return value if math.isfinite(value) else math.nan

    def _build(self, node: ast.AST, depth: int, engine: _Engine) -> _Evaluate:
        if depth == 0:
            raise ValueError(f"more than {DEPTH} operations within each other")

        def built(*nodes: ast.AST) -> list[_Evaluate]:
            return [self._build(inner, depth - 1, engine) for inner in nodes]

        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                constant = _finite(number)
                return lambda columns: constant
            case ast.Name(id=name):
                self._expect_scalar(name)
                return lambda columns: columns[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                [negated] = built(operand)
                return lambda columns: -negated(columns)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                apply = _OPERATORS[type(op)]
                a, b = built(left, right)
                return lambda columns: apply(a(columns), b(columns))
            case ast.IfExp() | ast.Compare():
                found = _condition(node, built, engine)
            case ast.Call(func=ast.Name(id=function), args=arguments, keywords=[]):
                found = self._call(function, arguments, built, engine)
            case _:
                found = None
        if found is None:
            raise ValueError(f"{ast.unparse(node)!r} is not allowed: use {ALLOWED}")
        return found

    def _call(
        self, function: str, arguments: list[ast.expr], built: _Build, engine: _Engine
    ) -> _Evaluate | None:
        match arguments:
            case [] if function in _CLOCK:
                self.takes_time, key = True, _CLOCK[function]
                return lambda columns: columns[key]
            case [argument] if function in engine.functions:
                [value], of_value = built(argument), engine.functions[function]
                return lambda columns: of_value(value(columns))
            case [ast.Name(id=name)]:
                return self._of_vector(function, name)
            case [_, _, *_] if function in engine.folds:
                values, fold = built(*arguments), engine.folds[function]
                return lambda columns: reduce(fold, [value(columns) for value in values])
        return None

    def _of_vector(self, function: str, name: str) -> _Evaluate:
        if function not in VECTOR_FUNCTIONS:
            raise ValueError(f"{function}() is unknown: use {ALLOWED}")
        if name not in self._vectors:
            several = f", or several values as in {function}({name}, 0)"
            raise ValueError(
                f"{function}({name}) needs a vector field"
                + (several if function in _NUMBERS.folds else "")
            )
        apply = VECTOR_FUNCTIONS[function]
        self.takes_vectors = True
        self.fields.add(name)
        return lambda columns: apply(columns[name])

    def _expect_scalar(self, name: str) -> None:
        if name in self._vectors:
            raise ValueError(f"{name} is a vector: take rms({name}) or another figure of it")
        if name not in self._scalars:
            raise ValueError(f"{name} is no field; fields are {', '.join(sorted(self._scalars))}")
        self.fields.add(name)


def _condition(node: ast.IfExp | ast.Compare, built: _Build, engine: _Engine) -> _Evaluate | None:
    if isinstance(node, ast.IfExp):
        c, a, b = built(node.test, node.body, node.orelse)
        choose = engine.choose
        return lambda columns: choose(c(columns), a(columns), b(columns))
    if not {*map(type, node.ops)} <= _COMPARISONS.keys():
        return None
    applied = [_COMPARISONS[type(op)] for op in node.ops]
    operands, compare = built(node.left, *node.comparators), engine.compare

    def chained(columns: Mapping[str, Any]) -> Any:
        """`0 < a < 5` is 1 if both hold."""
        pairs = zip(applied, pairwise([value(columns) for value in operands]), strict=True)
        return reduce(operator.mul, [compare(apply, a, b) for apply, (a, b) in pairs])

    return chained
