"""Quantities: what is accepted, what is refused and with which remedy, and that formatting parses back."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from pliant import units
from pliant.units import UnitError


@pytest.mark.parametrize(
    ("parse", "text", "value"),
    [
        (units.parse_bit_rate, "200 Mbit/s", 200e6),
        (units.parse_bit_rate, "200Mbit/s", 200e6),
        (units.parse_bit_rate, " 1.5 Gbit/s ", 1.5e9),
        (units.parse_bit_rate, "1 Mibit/s", 2.0**20),
        (units.parse_bit_rate, "1e5 bit/s", 1e5),
        (units.parse_byte_rate, "60 MB/s", 60e6),
        (units.parse_byte_rate, "60 MiB/s", 60 * 2.0**20),
        (units.parse_byte_rate, "1.2 GB/s", 1.2e9),
        (units.parse_byte_rate, ".5 kB/s", 500.0),
        (units.parse_size, "64 MiB", 64 * 2**20),
        (units.parse_size, "64 MB", 64 * 10**6),
        (units.parse_size, "1.5 KiB", 1536),
        (units.parse_size, "3 B", 3),
        (units.parse_size, "9007199254740993 B", 9007199254740993),
        (units.parse_fraction, "10 %", 0.1),
        (units.parse_fraction, "2.5%", 0.025),
        (units.parse_fraction, "100 %", 1.0),
        (units.parse_duration, "90 s", 90.0),
        (units.parse_duration, "20 min", 1200.0),
        (units.parse_duration, "1h30", 5400.0),
        (units.parse_duration, "1h30m", 5400.0),
        (units.parse_duration, "1 h 30 min 5 s", 5405.0),
        (units.parse_duration, "1:30:00", 5400.0),
        (units.parse_duration, "1.5 h", 5400.0),
        (units.parse_duration, "2min30", 150.0),
        (units.parse_duration, "250 ms", 0.25),
        (units.parse_duration, "1 day", 86400.0),
        (units.parse_power, "95 W", 95.0),
        (units.parse_power, "0.2 kW", 200.0),
    ],
)
def test_what_is_accepted(parse, text, value):
    assert parse(text) == value


@pytest.mark.parametrize(
    ("parse", "text", "message"),
    [
        (units.parse_bit_rate, "200 Mb", '"200 Mb" is not a rate; write e.g. "200 Mbit/s"'),
        (units.parse_bit_rate, "1 Gbps", '"1 Gbps" is not a rate; write e.g. "1 Gbit/s"'),
        (units.parse_bit_rate, "5 Kbit/s", '"5 Kbit/s" is not a rate; write e.g. "5 kbit/s"'),
        (units.parse_bit_rate, "25 MB/s", '"25 MB/s" counts bytes, and a network rate is in bits; write "200 Mbit/s"'),
        (units.parse_bit_rate, "fast", '"fast" is not a rate; write e.g. "200 Mbit/s"'),
        (units.parse_bit_rate, "", '"" is not a rate; write e.g. "200 Mbit/s"'),
        (units.parse_bit_rate, "200", '"200" is not a rate; write e.g. "200 Mbit/s"'),
        (units.parse_bit_rate, "nan Mbit/s", '"nan Mbit/s" is not a rate; write e.g. "200 Mbit/s"'),
        (units.parse_bit_rate, "inf", '"inf" is not a rate; write e.g. "200 Mbit/s"'),
        (units.parse_bit_rate, "0 Mbit/s", '"0 Mbit/s" is not above zero; write e.g. "200 Mbit/s"'),
        (units.parse_bit_rate, "-1 Mbit/s", '"-1 Mbit/s" is not above zero; write e.g. "200 Mbit/s"'),
        (units.parse_bit_rate, "1e999999999 bit/s", 'is not a rate; write e.g. "200 Mbit/s"'),
        (units.parse_byte_rate, "60 Mbit/s", '"60 Mbit/s" counts bits, and a disk rate is in bytes; write "7.5 MB/s"'),
        (units.parse_byte_rate, "60 MB", '"60 MB" is not a disk rate; write e.g. "60 MB/s"'),
        (units.parse_byte_rate, "60 Mb/s", '"60 Mb/s" is not a disk rate; write e.g. "60 MB/s"'),
        (units.parse_size, "64M", '"64M" is not a size; write "64 MiB" (powers of 1024) or "64 MB" (powers of 1000)'),
        (units.parse_size, "64 KB", 'write "64 KiB" (powers of 1024) or "64 kB" (powers of 1000)'),
        (units.parse_size, "64 Mbit", '"64 Mbit" counts bits, and a size is in bytes; write "8 MB"'),
        (units.parse_size, "64 MB/s", '"64 MB/s" is not a size; write e.g. "64 MiB"'),
        (units.parse_size, "0.1 B", '"0.1 B" is less than one byte; write e.g. "64 MiB"'),
        (units.parse_fraction, "0.1", '"0.1" is not a percentage; write e.g. "10 %"'),
        (units.parse_fraction, "120 %", '"120 %" is not above 0 % and at most 100 %; write e.g. "10 %"'),
        (units.parse_fraction, "0 %", '"0 %" is not above 0 % and at most 100 %; write e.g. "10 %"'),
        (units.parse_duration, "10", '"10" is not a duration; write e.g. "20 min", "90 s" or "1h30"'),
        (units.parse_duration, "1:30", '"1:30" is not a duration; write e.g. "20 min", "90 s" or "1h30"'),
        (units.parse_duration, "30 min 1 h", '"30 min 1 h" is not a duration'),
        (units.parse_duration, "20 M", '"20 M" is not a duration'),
        (units.parse_duration, "0 s", '"0 s" is not above zero; write e.g. "20 min"'),
        (units.parse_power, "95", '"95" is not a power; write e.g. "95 W"'),
        (units.parse_power, "95 w", '"95 w" is not a power; write e.g. "95 W"'),
    ],
)
def test_what_is_refused_and_the_remedy(parse, text, message):
    with pytest.raises(UnitError) as refused:
        parse(text)
    assert message in str(refused.value)


PARSERS = [
    units.parse_bit_rate,
    units.parse_byte_rate,
    units.parse_size,
    units.parse_fraction,
    units.parse_duration,
    units.parse_power,
]


@given(st.text(max_size=80), st.sampled_from(PARSERS))
def test_any_text_is_a_positive_finite_number_or_one_line_of_refusal(text, parse):
    try:
        value = parse(text)
    except UnitError as refused:
        assert "\n" not in str(refused) and "write" in str(refused)
    else:
        assert math.isfinite(value) and value > 0


@given(st.floats(min_value=1, max_value=1e16))
def test_rates_parse_back(rate):
    assert units.parse_bit_rate(units.format_bit_rate(rate)) == pytest.approx(rate, rel=0.005)
    assert units.parse_byte_rate(units.format_byte_rate(rate)) == pytest.approx(rate, rel=0.005)
    assert units.parse_power(units.format_power(rate)) == pytest.approx(rate, rel=0.005)


@given(st.integers(min_value=1, max_value=2**60))
def test_sizes_parse_back(size):
    assert units.parse_size(units.format_size(size)) == pytest.approx(size, rel=0.005)


@given(st.floats(min_value=1e-6, max_value=1e8))
def test_durations_parse_back(duration):
    assert units.parse_duration(units.format_duration(duration)) == pytest.approx(duration, rel=0.00501)


@given(st.floats(min_value=1e-4, max_value=1))
def test_fractions_parse_back(fraction):
    assert units.parse_fraction(units.format_fraction(fraction)) == pytest.approx(fraction, rel=0.005)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (units.format_bit_rate(999.6e6), "1 Gbit/s"),
        (units.format_byte_rate(60e6), "60 MB/s"),
        (units.format_byte_rate(0), "0 B/s"),
        (units.format_size(2**30), "1 GiB"),
        (units.format_size(64e6), "64 MB"),
        (units.format_duration(5400), "1 h 30 min"),
        (units.format_duration(0), "0 s"),
        (units.format_duration(0.25), "250 ms"),
        (units.format_duration(-90), "-90 s"),
        (units.format_fraction(0.1), "10 %"),
        (units.format_fraction(-0.0512), "-5.12 %"),
        (units.format_fraction(-0.0), "0 %"),
        (units.format_power(95), "95 W"),
    ],
)
def test_how_quantities_are_shown(text, shown):
    assert text == shown


class Model(BaseModel):
    nic: units.BitRate = 1e6
    block: units.Size = 4096


def test_a_model_takes_text_and_keeps_its_defaults_in_si():
    assert Model().nic == 1e6
    model = Model.model_validate({"nic": "2 Mbit/s", "block": "1 MiB"})
    assert (model.nic, model.block) == (2e6, 2**20)


@pytest.mark.parametrize("value", [200, 2.5, True, None, [], {}])
def test_a_model_refuses_what_has_no_unit(value):
    with pytest.raises(ValidationError, match=r'write e\.g\. "200 Mbit/s"'):
        Model.model_validate({"nic": value})
