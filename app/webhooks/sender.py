"""Delivers webhooks: takes what is due, sends it signed, notes what came of it. At least once, in no promised order."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import ssl
from collections.abc import Callable
from datetime import datetime, timedelta

import httpx2
from prometheus_client import Counter

from app.store import webhooks
from app.store.database import Database
from app.store.readings import is_unavailable
from app.store.waiting import first_of
from app.store.webhooks import Due
from app.webhooks.address import ForbiddenAddress, target_of
from app.webhooks.patience import Attempt, judged, next_wait_s, why_disabled
from app.webhooks.signature import headers

log = logging.getLogger(__name__)

POLL_S = 1.0
LONGEST_WAIT_S = 30.0
WITHIN_S = 15.0
AT_ONCE = 16

ATTEMPTS = Counter("tcewatch_webhook_attempts", "Deliveries of webhooks that were tried", ("outcome",))


class WebhookSender:
    """Sends until told to stop. Several may run: each delivery is taken by one at a time."""

    def __init__(
        self,
        owner: Database,
        clock: Callable[[], datetime],
        *,
        private_allowed: bool,
        trust: ssl.SSLContext | None = None,
    ) -> None:
        self._owner, self._clock, self._private_allowed = owner, clock, private_allowed
        self._trust = trust or ssl.create_default_context()

    async def run(self, until: asyncio.Event) -> None:
        """Never ends by itself; while the database is away it waits."""
        wait_s = POLL_S
        while not until.is_set():
            try:
                done = await self.one_round()
                wait_s = POLL_S
            except Exception as error:
                if not is_unavailable(error):
                    log.exception("webhooks stopped, starting anew")
                done, wait_s = 0, min(2 * wait_s, LONGEST_WAIT_S)
            if not done:
                await first_of(wait_s, until)

    async def one_round(self) -> int:
        """Everything that is due, up to AT_ONCE. Answers how many there were; raises what the database raises."""
        now = self._clock()
        await webhooks.forget(self._owner.pool, now)
        due = await webhooks.claim(self._owner.pool, now, AT_ONCE)
        if not due:
            return 0
        timeout = httpx2.Timeout(WITHIN_S)
        async with httpx2.AsyncClient(verify=self._trust, timeout=timeout, trust_env=False) as client:
            await asyncio.gather(*(self._deliver(client, one) for one in due))
        return len(due)

    async def _deliver(self, client: httpx2.AsyncClient, due: Due) -> None:
        attempt = await self._try(client, due)
        now = self._clock()
        ATTEMPTS.labels("delivered" if attempt.delivered else "failed").inc()
        if attempt.delivered:
            await webhooks.delivered(self._owner.pool, due, attempt.status, now)
            return
        wait_s = next_wait_s(due.attempts, random.random())
        next_at = None if wait_s is None else now + timedelta(seconds=wait_s)
        failing_since = due.failing_since or now
        await webhooks.failed(
            self._owner.pool,
            due,
            attempt.status,
            str(attempt.error),
            next_at=next_at,
            now=now,
            disabled_why=why_disabled(attempt, failing_since, now),
        )
        facts = {"webhook": str(due.webhook_id), "why": attempt.error, "attempt": due.attempts, "dead": next_at is None}
        log.warning("webhook not delivered", extra=facts)

    async def _try(self, client: httpx2.AsyncClient, due: Due) -> Attempt:
        now_s = int(self._clock().timestamp())
        body = json.dumps(due.payload, ensure_ascii=False, separators=(",", ":")).encode()
        try:
            async with asyncio.timeout(WITHIN_S):
                target = await target_of(due.url, private_allowed=self._private_allowed)
                sent = client.stream(
                    "POST",
                    target.url,
                    content=body,
                    headers={
                        "Host": target.host_header,
                        "Content-Type": "application/json",
                        "User-Agent": "tcewatch-webhooks",
                        **headers(due.secrets, due.message_id, now_s, body),
                    },
                    extensions={"sni_hostname": target.host},
                )
                async with sent as answer:
                    return judged(answer.status_code)
        except ForbiddenAddress as error:
            return Attempt(None, str(error))
        except TimeoutError:
            return Attempt(None, f"no answer within {WITHIN_S:.0f} s")
        except (httpx2.HTTPError, OSError, ValueError) as error:
            return Attempt(None, f"{type(error).__name__}: {error}"[:500])
