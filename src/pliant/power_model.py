"""What a host draws and what the grid emits: linear in CPU utilisation between an idle and a busy host. Pure.

Fan, Weber & Barroso, "Power provisioning for a warehouse-sized computer", ISCA 2007. What disks and NICs draw beyond
that, cooling, and the network between hosts are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass

DEFAULT_IDLE_W = 95.0
"""Idle power of one host: see POWER_SOURCE."""


DEFAULT_BUSY_W = 190.74
"""Power of one host with every core busy: see POWER_SOURCE."""


POWER_SOURCE = (
    "a node of Grid'5000's taurus cluster (two Intel Xeon E5-2630, 12 cores): 95.0 W idle, 190.738 W on average under "
    "NAS EP class C at its highest frequency, as recorded in Batsim's platforms/energy_platform_homogeneous_no_net.py "
    "(github.com/oar-team/batsim)"
)


DEFAULT_CARBON_G_KWH = 480.0
"""What a kilowatt-hour emits: see CARBON_SOURCE."""


CARBON_SOURCE = (
    "the world's mean of 2023, life cycle included (Ember, Global Electricity Review 2024); write the site's own as "
    "`carbon` in [power]"
)


@dataclass(frozen=True)
class PowerModel:
    """Watts of one host, idle and with every core busy. Raises ValueError unless 0 <= idle_w <= busy_w.

    `origin` says where they come from if neither the study file nor pliant's default does. `carbon_g_kwh` is what the
    grid emits, in grams of CO2 equivalent.
    """

    idle_w: float = DEFAULT_IDLE_W
    busy_w: float = DEFAULT_BUSY_W
    origin: str = ""
    carbon_g_kwh: float = DEFAULT_CARBON_G_KWH

    def __post_init__(self) -> None:
        if not 0 <= self.idle_w <= self.busy_w < float("inf"):
            raise ValueError(f"a host cannot draw {self.idle_w} W idle and {self.busy_w} W busy")
        if not 0 <= self.carbon_g_kwh < float("inf"):
            raise ValueError(f"a kilowatt-hour cannot emit {self.carbon_g_kwh} g")

    @property
    def source(self) -> str:
        """Where the watts come from."""
        if self.origin:
            return self.origin
        default = self.idle_w == DEFAULT_IDLE_W and self.busy_w == DEFAULT_BUSY_W
        return f"the default, {POWER_SOURCE}" if default else "the study file"

    @property
    def carbon_source(self) -> str:
        """Where the carbon intensity comes from."""
        return f"the default, {CARBON_SOURCE}" if self.carbon_g_kwh == DEFAULT_CARBON_G_KWH else "the study file"

    def co2e_kg(self, energy_kwh: float) -> float:
        """What so much energy emits, in kilograms of CO2 equivalent."""
        return energy_kwh * self.carbon_g_kwh / 1000

    def watts(self, utilisation: float) -> float:
        """Power of one host at that CPU utilisation (0 to 1; values outside are clipped)."""
        return self.idle_w + (self.busy_w - self.idle_w) * min(max(utilisation, 0.0), 1.0)
