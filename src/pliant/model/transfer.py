"""How long clients take that each move a file to or from servers, folded: two rates and a fixed part.

    T = max(N V / (S s), ceil(N / h) V / c) + l

N clients move V bytes each, S servers give s bytes/s each, a host that carries clients c bytes/s, h such hosts there
are; l is what takes its time whatever is moved. Servers keep a host each. So the curve is flat while the servers limit
it, and rises in proportion to the clients on the fullest host from a knee on, at ratio N c / (S s).

The bound of each resource taken alone, as in the roofline model (Williams, Waterman & Patterson, CACM 52(4), 2009).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pliant.errors import UserError

_LOSS_AT = 0.05
"""Residuals, in logarithms, from which on a point counts less than its square: some are disturbed."""
_PARAMETERS = 3
_STARTS = (0.25, 1.0, 4.0)
"""Times a first guess of a rate."""


@dataclass(frozen=True)
class Shape:
    """N `clients` on so many `hosts`, so many `servers`, and what each client moves, in bytes."""

    clients: int
    servers: int
    hosts: int
    size_bytes: float

    @property
    def ratio(self) -> float:
        """Clients to a host."""
        return self.clients / self.hosts


@dataclass(frozen=True)
class Point:
    """A shape, and how long it took, in seconds."""

    shape: Shape
    seconds: float


@dataclass(frozen=True)
class Transfer:
    """The model: bytes/s of a server and of a host with clients, and seconds. `spread` is the factor by which 95 % of
    the points that it was calibrated on are off, at the most."""

    server_byte_s: float
    host_byte_s: float
    fixed_s: float
    spread: float = 1.0

    def seconds(self, shape: Shape) -> float:
        """How long it takes."""
        servers_s = shape.clients * shape.size_bytes / (shape.servers * self.server_byte_s)
        hosts_s = math.ceil(shape.clients / shape.hosts) * shape.size_bytes / self.host_byte_s
        return max(servers_s, hosts_s) + self.fixed_s

    def within(self, shape: Shape) -> tuple[float, float]:
        """The interval in which it is, 19 times of 20, as far as points are like those that it was calibrated on."""
        seconds = self.seconds(shape)
        return seconds / self.spread, seconds * self.spread

    def knee(self, clients: int, servers: int) -> float:
        """The ratio from which on hosts limit it, in clients to a host; at most all on one, at least one."""
        return min(float(clients), max(1.0, clients * self.host_byte_s / (servers * self.server_byte_s)))


def calibrate(points: Sequence[Point]) -> Transfer:
    """The model that fits best, by least squares of logarithms with a robust loss. UserError from too few points, or
    from such that do not tell the rates apart."""
    from scipy.optimize import least_squares  # a third of a second

    if len(points) <= _PARAMETERS:
        raise UserError(f"{len(points)} points are too few to calibrate {_PARAMETERS} parameters")
    if any(not (point.seconds > 0 and point.shape.size_bytes > 0) for point in points):
        raise UserError("a point of no time, or of nothing that is moved, tells nothing")
    if len({point.shape.ratio for point in points}) < 2:
        raise UserError("points at one ratio alone do not tell a server's rate from a host's: measure at two or more")
    logs = np.log([point.seconds for point in points])

    def residuals(parameters: np.ndarray) -> np.ndarray:
        model = _of(parameters)
        return np.log([model.seconds(point.shape) for point in points]) - logs

    fastest = max(p.shape.clients * p.shape.size_bytes / p.seconds for p in points)
    guess = [fastest / max(p.shape.servers for p in points), fastest / min(p.shape.hosts for p in points)]
    least_s = min(point.seconds for point in points)
    # Where one of the rates decides everywhere at first, nothing leads to the other.
    starts = [np.log([guess[0] * one, guess[1] * two, least_s / 2]) for one in _STARTS for two in _STARTS]
    found = [least_squares(residuals, start, loss="soft_l1", f_scale=_LOSS_AT) for start in starts]
    best = min(found, key=lambda each: float(each.cost))
    model = _of(best.x)
    # Points that were fitted are nearer than others: by the parameters that they gave, once of the residuals' size and
    # once of the prediction's (as in linear regression).
    wider = ((len(points) + _PARAMETERS) / (len(points) - _PARAMETERS)) ** 0.5
    spread = float(np.exp(wider * np.quantile(np.abs(residuals(best.x)), 0.95)))
    return Transfer(model.server_byte_s, model.host_byte_s, model.fixed_s, spread)


def _of(parameters: np.ndarray) -> Transfer:
    server, host, fixed = np.exp(parameters)
    return Transfer(float(server), float(host), float(fixed))
