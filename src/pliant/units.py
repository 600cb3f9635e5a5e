"""Quantities as people write them ("200 Mbit/s", "64 MiB", "10 %", "1h30"), parsed once, at the edge; SI inside.

`parse_*` turn text into a number (bit/s, byte/s, bytes, a fraction of 1, seconds, watts, g/kWh) and raise `UnitError`,
whose text says what is wrong and what would be right. `format_*` turn numbers into text with three significant digits
that parses back to within 0.5 %. `BitRate`, `ByteRate`, `Size`, `Fraction`, `Duration`, `Power` and `CarbonIntensity`
are the types of model fields that hold such quantities: in a study they must be written with their unit; a default
given as a number is in the SI unit.

Prefixes follow IEC 80000-13: k, M, G, T, P are powers of 1000; Ki, Mi, Gi, Ti, Pi powers of 1024; case matters.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from fractions import Fraction as Exact
from typing import Annotated, TypeVar

from pydantic import BeforeValidator, WithJsonSchema

__all__ = [
    "BitRate",
    "ByteRate",
    "CarbonIntensity",
    "Duration",
    "Fraction",
    "Power",
    "Size",
    "UnitError",
    "format_bit_rate",
    "format_byte_rate",
    "format_duration",
    "format_fraction",
    "format_power",
    "format_size",
    "parse_bit_rate",
    "parse_byte_rate",
    "parse_carbon_intensity",
    "parse_duration",
    "parse_fraction",
    "parse_power",
    "parse_size",
]


class UnitError(ValueError):
    """A text is not the quantity that is wanted; the error's own text says what would be right."""


_DECIMAL = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "Pi": 2**50}
_PREFIXES = {**_DECIMAL, **_BINARY}
_BIT_RATES = {f"{prefix}bit/s": factor for prefix, factor in _PREFIXES.items()}
_BYTE_RATES = {f"{prefix}B/s": factor for prefix, factor in _PREFIXES.items()}
_SIZES = {f"{prefix}B": factor for prefix, factor in _PREFIXES.items()}
_POWERS = {"mW": Exact(1, 1000), "W": Exact(1), "kW": Exact(1000), "MW": Exact(10**6)}
_INTENSITIES = {"g/kWh": Exact(1), "kg/kWh": Exact(1000), "kg/MWh": Exact(1), "t/MWh": Exact(1000)}

# Two digits of exponent at most: "1e999999999 B" must not cost a gigabyte to refuse.
_NUMBER = r"[+-]?(?:\d{1,40}(?:\.\d{0,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,2})?"
_QUANTITY = re.compile(rf"\s*({_NUMBER})\s*(.*?)\s*", re.ASCII)
_LOOSE_UNIT = re.compile(
    r"(?P<prefix>[kmgtp]?)(?P<binary>i?)(?P<base>bits?|bytes?|b)?(?P<per>/s|ps|/sec|/second)?", re.IGNORECASE
)


def parse_bit_rate(text: str) -> float:
    """Bits per second from a text such as "200 Mbit/s"; raises `UnitError`."""
    return float(_scaled(text, "rate", _BIT_RATES, "200 Mbit/s", _bit_rate_remedy))


def parse_byte_rate(text: str) -> float:
    """Bytes per second from a text such as "60 MB/s" or "60 MiB/s"; raises `UnitError`."""
    return float(_scaled(text, "disk rate", _BYTE_RATES, "60 MB/s", _byte_rate_remedy))


def parse_size(text: str) -> int:
    """Bytes, rounded to a whole number, from a text such as "64 MiB" or "4 GB"; raises `UnitError`."""
    size = round(_scaled(text, "size", _SIZES, "64 MiB", _size_remedy))
    if size < 1:
        raise UnitError(f'"{_shown(text)}" is less than one byte; write e.g. "64 MiB"')
    return size


def parse_power(text: str) -> float:
    """Watts from a text such as "95 W"; raises `UnitError`."""
    return float(_scaled(text, "power", _POWERS, "95 W", lambda number, unit: None))


def parse_carbon_intensity(text: str) -> float:
    """Grams of CO2 equivalent per kilowatt-hour from a text such as "56 g/kWh"; raises `UnitError`."""
    return float(_scaled(text, "carbon intensity", _INTENSITIES, "56 g/kWh", lambda number, unit: None))


def parse_fraction(text: str) -> float:
    """A fraction of 1, above 0 and at most 1, from a percentage such as "10 %"; raises `UnitError`."""
    number, unit = _split(text, "percentage", "10 %")
    if unit != "%":
        example = f"{_plain(float(number * 100))} %" if not unit and 0 < number < 1 else "10 %"
        raise UnitError(f'"{_shown(text)}" is not a percentage; write e.g. "{example}"')
    if not 0 < number <= 100:
        raise UnitError(f'"{_shown(text)}" is not above 0 % and at most 100 %; write e.g. "10 %"')
    return float(number / 100)


def parse_share(text: str) -> float:
    """As `parse_fraction`, but "0 %" is one too."""
    number, unit = _split(text, "percentage", "5 %")
    return 0.0 if number == 0 and unit == "%" else parse_fraction(text)


def _split(text: str, kind: str, example: str) -> tuple[Exact, str]:
    """The exact number and the unit (perhaps empty) that `text` is made of."""
    match = _QUANTITY.fullmatch(text)
    if match is None:
        raise UnitError(f'"{_shown(text)}" is not a {kind}; write e.g. "{example}"')
    return Exact(match[1]), match[2]


def _scaled(
    text: str,
    kind: str,
    units: Mapping[str, int | Exact],
    example: str,
    remedy: Callable[[Exact, str], str | None],
) -> Exact:
    """The number in `text` times the factor of its unit; `remedy` explains a unit that is not among `units`."""
    number, unit = _split(text, kind, example)
    if unit not in units:
        advice = remedy(number, unit) if number > 0 else None
        raise UnitError(f'"{_shown(text)}" {advice or f"is not a {kind}; write e.g. {_quoted(example)}"}')
    if number <= 0:
        raise UnitError(f'"{_shown(text)}" is not above zero; write e.g. "{example}"')
    return number * units[unit]


def _bit_rate_remedy(number: Exact, unit: str) -> str | None:
    """What to write instead of a unit that is no bit rate."""
    if unit in _BYTE_RATES:
        right = format_bit_rate(float(number * _BYTE_RATES[unit] * 8))
        return f"counts bytes, and a network rate is in bits; write {_quoted(right)}"
    loose = _loosely(unit)
    if loose is None or not loose["base"] or loose["base"] == "B":
        return None
    return f"is not a rate; write e.g. {_quoted(f'{_plain(float(number))} {_prefix(loose)}bit/s')}"


def _byte_rate_remedy(number: Exact, unit: str) -> str | None:
    """What to write instead of a unit that is no byte rate."""
    if unit in _BIT_RATES:
        right = format_byte_rate(float(number * _BIT_RATES[unit] / 8))
        return f"counts bits, and a disk rate is in bytes; write {_quoted(right)}"
    loose = _loosely(unit)
    if loose is None:
        return None
    return f"is not a disk rate; write e.g. {_quoted(f'{_plain(float(number))} {_prefix(loose)}B/s')}"


def _size_remedy(number: Exact, unit: str) -> str | None:
    """What to write instead of a unit that is no size."""
    loose = _loosely(unit)
    if loose is None or loose["per"]:
        return None
    if loose["base"] in ("bit", "bits"):
        right = format_size(max(1, round(number * _PREFIXES[_prefix(loose)] / 8)))
        return f"counts bits, and a size is in bytes; write {_quoted(right)}"
    shown, prefix = _plain(float(number)), _prefix(loose)
    if not prefix or prefix in _BINARY:
        return f"is not a size; write e.g. {_quoted(f'{shown} {prefix}B')}"
    binary = f"{prefix.upper()}i"
    return f'is not a size; write "{shown} {binary}B" (powers of 1024) or "{shown} {prefix}B" (powers of 1000)'


def _loosely(unit: str) -> dict[str, str] | None:
    """The parts of a unit written carelessly ("Mb", "mbps", "KB/s"), or None if it is something else."""
    match = _LOOSE_UNIT.fullmatch(unit)
    return match.groupdict(default="") if match and unit else None


def _prefix(loose: Mapping[str, str]) -> str:
    """The correct spelling of a carelessly written prefix."""
    letter = loose["prefix"].upper()
    if loose["binary"] and letter:
        return f"{letter}i"
    return "k" if letter == "K" else letter


_DURATIONS: Mapping[str, Exact] = {
    **dict.fromkeys(("us", "µs", "μs"), Exact(1, 10**6)),
    "ms": Exact(1, 1000),
    **dict.fromkeys(("s", "sec", "second", "seconds"), Exact(1)),
    **dict.fromkeys(("min", "m", "mins", "minute", "minutes"), Exact(60)),
    **dict.fromkeys(("h", "hour", "hours"), Exact(3600)),
    **dict.fromkeys(("d", "day", "days"), Exact(86400)),
}
_DURATION_PART = re.compile(rf"\s*({_NUMBER.removeprefix('[+-]?')})\s*([a-zµμ]*)\s*", re.ASCII)
_CLOCK = re.compile(r"\s*(\d{1,6}):([0-5]\d):([0-5]\d)\s*", re.ASCII)
# "1h30" is 90 minutes and "2min30" 150 seconds: a last number without a unit counts in the next smaller one.
_NEXT_SMALLER = {Exact(3600): Exact(60), Exact(60): Exact(1)}


def parse_duration(text: str) -> float:
    """Seconds from a text such as "90 s", "20 min", "1h30", "1 h 30 min" or "1:30:00"; raises `UnitError`."""
    clock = _CLOCK.fullmatch(text)
    total = Exact(int(clock[1]) * 3600 + int(clock[2]) * 60 + int(clock[3])) if clock else _duration_parts(text)
    if total <= 0:
        raise UnitError(f'"{_shown(text)}" is not above zero; write e.g. "20 min"')
    return float(total)


def _duration_parts(text: str) -> Exact:
    """The sum of the parts of a duration, which must come from the largest unit to the smallest."""
    refusal = UnitError(f'"{_shown(text)}" is not a duration; write e.g. "20 min", "90 s" or "1h30"')
    total, last, position = Exact(0), None, 0
    while position < len(text) or last is None:
        part = _DURATION_PART.match(text, position)
        if part is None:
            raise refusal
        if part[2]:
            factor = _DURATIONS.get(part[2])
        else:
            factor = _NEXT_SMALLER.get(last) if last is not None and part.end() == len(text) else None
        if factor is None or (last is not None and factor >= last):
            raise refusal
        total, last, position = total + Exact(part[1]) * factor, factor, part.end()
    return total


def format_bit_rate(rate_bit_s: float) -> str:
    """A rate in bit/s as text: "200 Mbit/s"."""
    return _prefixed(rate_bit_s, "bit/s", _DECIMAL)


def format_byte_rate(rate_byte_s: float) -> str:
    """A rate in byte/s as text, in powers of 1000: "60 MB/s"."""
    return _prefixed(rate_byte_s, "B/s", _DECIMAL)


def format_size(size_bytes: float) -> str:
    """A size in bytes as text: "64 MiB", or "64 MB" where only that is exact."""
    binary = _prefixed(size_bytes, "B", {"": 1, **_BINARY})
    decimal = _prefixed(size_bytes, "B", _DECIMAL)
    return decimal if _size_of(decimal) == size_bytes != _size_of(binary) else binary


def _size_of(shown: str) -> Exact:
    """The size in bytes that a text made by `_prefixed` stands for."""
    number, unit = shown.split()
    return Exact(number) * _SIZES[unit]


def format_power(power_w: float) -> str:
    """A power in watts as text: "95 W"."""
    return _prefixed(power_w, "W", {"": 1, "k": 10**3, "M": 10**6})


def format_fraction(fraction: float) -> str:
    """A fraction of 1 as a percentage: "10 %"; it may be negative."""
    return f"{_plain(fraction * 100)} %"


def format_duration(duration_s: float) -> str:
    """Seconds as text: "250 ms", "12.5 s", "20 min", "1 h 30 min"."""
    if duration_s < 0:
        return f"-{format_duration(-duration_s)}"
    if 0 < duration_s < 1:
        return f"{_plain(duration_s * 1000)} ms"
    if duration_s < 100:
        return f"{_plain(duration_s)} s"
    # Rounded to where half a unit is at most 0.5 % of the whole.
    grain = 1 if duration_s < 6000 else 60 if duration_s < 360_000 else 3600
    whole = round(duration_s / grain) * grain
    parts = ((whole // 3600, "h"), (whole // 60 % 60, "min"), (whole % 60, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count)


def _prefixed(value: float, unit: str, prefixes: Mapping[str, int]) -> str:
    """`value` with three significant digits and the largest prefix that leaves at least 1 before it."""
    fitting = (p for p in prefixes if float(f"{abs(value) / prefixes[p]:.3g}") >= 1)
    prefix = max(fitting, key=prefixes.__getitem__, default="")
    return f"{_plain(value / prefixes[prefix])} {prefix}{unit}"


def _plain(value: float) -> str:
    """`value` with three significant digits, without trailing zeros, and without an exponent below a million."""
    return f"{float(f'{value:.3g}') + 0.0:g}"


def _shown(text: str) -> str:
    """A user's text on one line, cut if it is very long."""
    line = "".join(c if c.isprintable() else " " for c in text)
    return line if len(line) <= 60 else f"{line[:57]}..."


def _quoted(text: str) -> str:
    return f'"{text}"'


_T = TypeVar("_T", int, float)


def _text(*examples: str) -> WithJsonSchema:
    """What a JSON Schema says of a quantity: it is written as text."""
    return WithJsonSchema({"type": "string", "examples": [*examples]}, mode="validation")


def _written(parse: Callable[[str], _T], example: str) -> Callable[[object], _T]:
    """A pydantic validator that lets only text with a unit through."""

    def validate(value: object) -> _T:
        if isinstance(value, str):
            return parse(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UnitError(f'a text with a unit is wanted here; write e.g. "{example}"')
        raise UnitError(f'{value} has no unit; write e.g. "{example}"')

    return validate


BitRate = Annotated[float, BeforeValidator(_written(parse_bit_rate, "200 Mbit/s")), _text("200 Mbit/s")]
"""A network rate, in bit/s."""
ByteRate = Annotated[float, BeforeValidator(_written(parse_byte_rate, "60 MB/s")), _text("60 MB/s")]
"""A disk rate, in byte/s."""
Size = Annotated[int, BeforeValidator(_written(parse_size, "64 MiB")), _text("64 MiB")]
"""A size, in bytes."""
Fraction = Annotated[float, BeforeValidator(_written(parse_fraction, "10 %")), _text("10 %")]
"""A fraction of 1, written as a percentage."""
Share = Annotated[float, BeforeValidator(_written(parse_share, "5 %")), _text("5 %")]
"""A fraction of 1 that may be nothing, written as a percentage."""
Duration = Annotated[float, BeforeValidator(_written(parse_duration, "20 min")), _text("20 min")]
"""A duration, in seconds."""
Power = Annotated[float, BeforeValidator(_written(parse_power, "95 W")), _text("95 W")]
"""A power, in watts."""
CarbonIntensity = Annotated[float, BeforeValidator(_written(parse_carbon_intensity, "56 g/kWh")), _text("56 g/kWh")]
"""What a kilowatt-hour of electricity emits, in grams of CO2 equivalent."""
