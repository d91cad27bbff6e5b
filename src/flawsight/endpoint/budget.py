"""The cost of answers, and a limit on it."""

import threading

from ..errors import DetectorError, SettingsError
from .completion import Answer


class Budget:
    """Adds up costs, from several threads.

    Args:
        price_in, price_out: US$ per million tokens of input and output, at least 0.
        limit: US$ to spend at most, above 0; None is no limit.

    Raises:
        SettingsError: if an argument makes no sense, or there is a limit without prices.
    """

    def __init__(self, price_in: float, price_out: float, limit: float | None) -> None:
        if min(price_in, price_out) < 0:
            raise SettingsError("price_in and price_out must be at least 0.")
        if limit is not None and not (limit > 0 and price_in + price_out > 0):
            raise SettingsError("A budget must be above 0 and needs price_in and price_out.")
        self._prices = (price_in, price_out)
        self._limit = limit
        self._spent = 0.0
        self._lock = threading.Lock()

    def check(self) -> None:
        """Raise DetectorError if the limit is reached."""
        if self._limit is not None and self._spent >= self._limit:
            raise DetectorError(
                f"The budget of US$ {self._limit:g} is spent (US$ {self._spent:.4f}). The answers "
                "so far are saved; raise the budget and rerun the same command to resume."
            )

    def add(self, answer: Answer) -> float:
        """Add an answer to the total, and return its cost in US$.

        Raises:
            DetectorError: if there is a limit, but the server does not count tokens.
        """
        if answer.input_tokens is None or answer.output_tokens is None:
            if self._limit is not None:
                raise DetectorError(
                    "The server does not count tokens, so it allows no budget; leave it out."
                )
            return 0.0
        price_in, price_out = self._prices
        cost = (answer.input_tokens * price_in + answer.output_tokens * price_out) / 1e6
        with self._lock:
            self._spent += cost
        return cost
