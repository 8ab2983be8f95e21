"""Which arguments a transform differentiates by."""

import operator
from collections.abc import Sequence
from typing import Any

from tapegrad.errors import ArgumentError, UnexpectedArgumentError

Argnums = int | Sequence[int]


class Chosen:
    """The numbers of the arguments to differentiate by, as the user gave them."""

    __slots__ = ("name", "numbers", "single")

    def __init__(self, name: str, argnums: Argnums) -> None:
        self.name = name
        self.single = not isinstance(argnums, (tuple, list, range))
        try:
            given: Any = (argnums,) if self.single else argnums
            if any(isinstance(number, bool) for number in given):
                raise TypeError
            self.numbers = tuple(operator.index(number) for number in given)
        except TypeError:
            raise UnexpectedArgumentError(f"{name}: argnums is an int or a tuple of ints; got {argnums!r}") from None

    def __call__(self, args: Sequence[Any]) -> list[int]:
        """The numbers counted from 0, for these positional arguments."""
        count = len(args)
        for number in self.numbers:
            if not -count <= number < count:
                raise ArgumentError(
                    f"{self.name}: argnums names argument {number}, but {count} positional arguments were given "
                    f"(keyword arguments are never differentiated)"
                )
        numbers = [number % count for number in self.numbers]
        if len(set(numbers)) != len(numbers):
            raise ArgumentError(f"{self.name}: argnums={self.numbers} names one of {count} arguments twice")
        return numbers


def require_callable(name: str, f: Any) -> None:
    """Raise where what is to be differentiated is no function."""
    if not callable(f):
        raise UnexpectedArgumentError(f"{name}: a function is differentiated; got a {type(f).__name__}")


def tuple_of(name: str, what: str, given: Any) -> tuple[Any, ...]:
    """The primals or tangents that a user gave, which come in a tuple."""
    if type(given) not in (tuple, list):
        raise UnexpectedArgumentError(
            f"{name}: {what} are a tuple, with one for each argument of the function; got a {type(given).__name__}"
        )
    return tuple(given)
