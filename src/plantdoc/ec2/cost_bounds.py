"""What machines cost at most where everything that ends them fails, except the reaper (plantdoc.ec2.reaper)."""

from __future__ import annotations

from dataclasses import dataclass

from plantdoc.aws import ec2_prices
from plantdoc.core.errors import UserError
from plantdoc.ec2 import reaper

MONTH = 30 * 24  # hours
REAPER_PERIOD = 15 * 60  # seconds between two runs of the reaper, as infra/base.yaml has it
# Dollars for a GB and a month of gp3 in us-east-1, of the date of ec2_prices.TABLE.
GP3_GB_MONTH = 0.08


@dataclass(frozen=True)
class WorstCase:
    """Dollars at on-demand prices of us-east-1, with the disk, without traffic."""

    instance_type: str
    hour: float
    one_machine: float  # from its start until the reaper ends it
    month: float  # one machine after the other for 30 days


def longest_life() -> float:
    """Hours from a machine's launch until the reaper has ended it, whatever its tag says."""
    return (reaper.LONGEST + reaper.GRACE + REAPER_PERIOD) / 3600


def worst_case(instance_type: str, disk_gb: int) -> WorstCase:
    """What one machine of this type costs at most, by the table of prices.

    Raises:
        UserError: the table does not have the type.
    """
    if instance_type not in ec2_prices.TABLE:
        raise UserError(
            f"the table in src/plantdoc/aws/ec2_prices.py has no {instance_type}: add it, in dollars an hour"
        )
    hour = ec2_prices.TABLE[instance_type] + disk_gb * GP3_GB_MONTH / MONTH
    return WorstCase(instance_type, hour, hour * longest_life(), hour * MONTH)


def table(types: list[str], disk_gb: int) -> str:
    """The table of docs/cost_bounds.md."""
    rows = [
        "| type | an hour, with the disk | one machine until the reaper ends it | 30 days, one after the other |",
        "|---|---|---|---|",
    ]
    for each in (worst_case(name, disk_gb) for name in types):
        rows.append(f"| {each.instance_type} | ${each.hour:.2f} | ${each.one_machine:.0f} | ${each.month:.0f} |")
    return "\n".join(rows)
