"""Latency of links, measured where the kernel has netem; elsewhere a study that asks for it is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support import FIGURES, background, deployed, out, pliant, python, request, study, until

from pliant.machine import facts

pytestmark = pytest.mark.real

LATENCY_S = 0.020
ECHO = """
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 5002))
print("ready", flush=True)
while True:
    s.sendto(*s.recvfrom(100))
"""
ROUND_TRIPS = """
import socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
times = []
for _ in range(30):
    begin = time.monotonic()
    s.sendto(b"x", (sys.argv[1], 5002))
    s.recvfrom(100)
    times.append(time.monotonic() - begin)
print(sorted(times)[len(times) // 2])
"""


@pytest.mark.speed
def test_latency_is_refused_or_measured(tmp_path):
    if facts.look().netem:
        measured(tmp_path)
        return
    file = study(tmp_path)
    file.write_text(file.read_text().replace("cores =", 'latency = "5 ms"\ncores ='))
    done = pliant("check", file)
    assert done.returncode == 2
    assert f"{file}: platform.host.latency: this machine's kernel cannot delay packets (netem)" in done.stderr
    assert "Traceback" not in done.stderr


def measured(tmp_path):
    """A message between hosts crosses two uplinks, so there and back are four; within a host it crosses none."""
    nodes = [request(name, number) for number, name in enumerate(("a1", "a2", "b1"), 1)]
    with deployed(nodes, {"a1": 1, "a2": 1, "b1": 2}, replace(FIGURES, latency_s=LATENCY_S)) as deployment:
        log = tmp_path / "echo.log"
        with background(deployment, "a1", python(ECHO), log):
            until(lambda: log.exists() and log.read_text(), "the echo")
            for limited in (True, False, True):
                deployment.limit(limited)
                between, within = (float(out(deployment, n, *python(ROUND_TRIPS, "10.77.1.1"))) for n in ("b1", "a2"))
                expected = 4 * LATENCY_S if limited else 0.0
                # What a round trip takes without them is this machine's, and in both.
                assert expected <= between <= expected + 0.003 + 4 * within
                assert within <= LATENCY_S
