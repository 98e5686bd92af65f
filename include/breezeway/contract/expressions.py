"""Arithmetic of fields, as a contract states it: `torque * rotational_speed`, `rms(vibration)`."""

import ast
import math
import operator
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np

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


def _finite(number: float) -> float:
    try:
        constant = float(number)
    except OverflowError:
        constant = math.inf
    if not math.isfinite(constant):
        raise ValueError("a number is larger than a float can be")
    return constant


class Expression:
    """Parsed once, evaluated over columns; element by element, so a batch's size never
    changes a bit of the result.

    Args:
        text: `+ - * /`, parentheses, numbers, names of scalar fields, and one of
            `VECTOR_FUNCTIONS` of a vector field.
        scalars: names of the scalar and category fields.
        vectors: names of the vector fields.

    Raises:
        ValueError: the text is no such expression; the message says what is wrong.

    >>> power = Expression("torque * 2", {"torque"}, set())
    >>> power({"torque": np.array([1.5, 4.0])})
    array([3., 8.])
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
        self.takes_vectors = False
        """Whether it is a figure of a vector field, alone or among others."""
        self._evaluate = self._build(tree, DEPTH)

    def __call__(self, columns: Mapping[str, Any]) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            value = self._evaluate(columns)
        return np.where(np.isfinite(value), value, np.nan)  # x / 0 is a missing value

    def of_reading(self, values: Mapping[str, float]) -> float:
        """The same, to the bit, for one reading, where the expression takes no vector.

        >>> Expression("torque / 0", {"torque"}, set()).of_reading({"torque": 1.0})
        nan
        """
        value = self._evaluate(values)
        return value if math.isfinite(value) else math.nan

    def _build(self, node: ast.AST, depth: int) -> Callable[[Mapping[str, Any]], Any]:
        if depth == 0:
            raise ValueError(f"more than {DEPTH} operations within each other")
        match node:
            case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
                constant = _finite(number)
                return lambda columns: constant
            case ast.Name(id=name):
                self._expect_scalar(name)
                return lambda columns: columns[name]
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner = self._build(operand, depth - 1)
                return lambda columns: -inner(columns)
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                apply = _OPERATORS[type(op)]
                a, b = self._build(left, depth - 1), self._build(right, depth - 1)
                return lambda columns: apply(a(columns), b(columns))
            case ast.Call(func=ast.Name(id=function), args=[ast.Name(id=name)], keywords=[]):
                return self._call(function, name)
        raise ValueError(
            f"{ast.unparse(node)!r} is not allowed: use + - * /, parentheses, numbers, fields "
            f"and {', '.join(VECTOR_FUNCTIONS)} of a vector field"
        )

    def _call(self, function: str, name: str) -> Callable[[Mapping[str, Any]], Any]:
        if function not in VECTOR_FUNCTIONS:
            raise ValueError(f"{function}() is unknown; known are {', '.join(VECTOR_FUNCTIONS)}")
        if name not in self._vectors:
            raise ValueError(f"{function}({name}) needs a vector field")
        apply = VECTOR_FUNCTIONS[function]
        self.takes_vectors = True
        return lambda columns: apply(columns[name])

    def _expect_scalar(self, name: str) -> None:
        if name in self._vectors:
            raise ValueError(f"{name} is a vector: take rms({name}) or another figure of it")
        if name not in self._scalars:
            raise ValueError(f"{name} is no field; fields are {', '.join(sorted(self._scalars))}")
