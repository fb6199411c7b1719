"""The loop from a door to the ledger, and what it needs the ledger to be."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from ingest.batch import Group


class LedgerUnavailable(Exception):
    """The ledger cannot take a group now (database gone, read-only, full). Nothing was kept; the same group may come again."""


class ReadingSink(Protocol):
    """The ledger as ingest needs it; `app.store` keeps it."""

    async def save(self, group: Group) -> npt.NDArray[np.int8]:
        """Commit a group in one transaction and answer one `Verdict` a row.

        Rows, revisions, refusals (those of the group and the conflicts found on the way), marks for the rollup and the
        gateways' last sequence numbers are one transaction. Saving twice changes nothing: the second time every stored
        row is a duplicate. Raises LedgerUnavailable when the database cannot be had.
        """
