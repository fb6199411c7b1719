"""Units of measure, and the way from each to the normal unit of a carrier.

Normal units: `kg` for what is weighed; `t` for the waters, whose factors are per tonne; `m3` for gases at
0 °C and 101.325 kPa; `kWh` for electricity; `MJ` for heat and cold. A volume of fuel does not become a mass here:
that takes a density, which belongs to the enterprise and not to a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

from energy.reading import Kind

M3_AT_20C = Decimal("0.931775541532")
"""Cubic metres at 0 °C in one at 20 °C, same pressure: 273.15 K / 293.15 K, to twelve digits. Chinese gas trade
meters at 20 °C, coal-equivalent and CO2 factors count at 0 °C; to ignore it is an error of 7 %."""

_TEN_THOUSAND = Decimal(10_000)
_MASS_KG = {"g": Decimal("0.001"), "kg": Decimal(1), "t": Decimal(1000)}
_WATER_T = {"kg": Decimal("0.001"), "t": Decimal(1), "m3": Decimal(1), "L": Decimal("0.001")}
_GAS_M3 = {"m3": Decimal(1), "Nm3": Decimal(1), "m3_20C": M3_AT_20C, "L": Decimal("0.001")}
_POWER_KWH = {"Wh": Decimal("0.001"), "kWh": Decimal(1), "MWh": Decimal(1000), "GWh": Decimal(1_000_000)}
_HEAT_MJ = {"kJ": Decimal("0.001"), "MJ": Decimal(1), "GJ": Decimal(1000), "TJ": Decimal(1_000_000)}


def _with_ten_thousands(units: Mapping[str, Decimal], *counted: str) -> dict[str, Decimal]:
    """Add the units that Chinese forms count by ten thousand (万), under both spellings."""
    by_ten_thousand = {spelling + unit: units[unit] * _TEN_THOUSAND for unit in counted for spelling in ("10^4 ", "万")}
    return {**units, **by_ten_thousand}


_AMOUNTS: Mapping[str, Mapping[str, Decimal]] = {
    "kg": _with_ten_thousands(_MASS_KG, "t"),
    # Water meters count cubic metres, water factors tonnes: by custom of the trade one is the other.
    "t": _with_ten_thousands(_WATER_T, "t", "m3"),
    "m3": _with_ten_thousands(_GAS_M3, "m3", "Nm3", "m3_20C"),
    "kWh": _with_ten_thousands(_POWER_KWH, "kWh"),
    # Heat meters often count kilowatt-hours; 1 kWh is 3.6 MJ exactly. The way back has no finite decimal.
    "MJ": _HEAT_MJ | {unit: factor * Decimal("3.6") for unit, factor in _POWER_KWH.items()},
}
_PER_HOUR = {"Wh": "W", "kWh": "kW", "MWh": "MW", "GWh": "GW"}
_RATES: Mapping[str, Mapping[str, Decimal]] = {
    normal: {_PER_HOUR.get(unit, f"{unit}/h"): factor for unit, factor in units.items()}
    for normal, units in _AMOUNTS.items()
}
NORMAL_UNITS = tuple(_AMOUNTS)


class UnitMismatch(ValueError):
    """A unit that does not exist or cannot measure this carrier. Attributes: unit, normal, accepted."""

    def __init__(self, unit: str, normal: str, accepted: tuple[str, ...]) -> None:
        self.unit, self.normal, self.accepted = unit, normal, accepted
        ways = ", ".join(accepted) or "none"
        super().__init__(f"no way from unit {unit!r} to {normal!r}; accepted: {ways}")


def to_normal(unit: str, normal: str, kind: Kind = Kind.REGISTER) -> Decimal:
    """How many normal units one `unit` is; for kind `rate`, normal units per hour. Exact, above 0.

    Raises UnitMismatch, which names what would be accepted.
    """
    ways = _ways(normal, kind)
    if unit not in ways:
        raise UnitMismatch(unit, normal, tuple(ways))
    return ways[unit]


def units_for(normal: str, kind: Kind = Kind.REGISTER) -> tuple[str, ...]:
    """The units a meter of this kind may have when the carrier's normal unit is `normal`; none if there is no such."""
    return tuple(_ways(normal, kind))


def _ways(normal: str, kind: Kind) -> Mapping[str, Decimal]:
    return (_RATES if kind is Kind.RATE else _AMOUNTS).get(normal, {})
