"""What may happen to a service in the field: each call does the harm and undoes what does not undo itself."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable, Mapping

from tests.faults.proxy import Proxy
from tests.faults.site import Site
from tests.wait import until

# Where a harm lasts, its length is what is tried: these pauses are the harm itself, not a wait for its end.

Harm = Callable[[Site, random.Random], None]


def kill_service(site: Site, chance: random.Random) -> None:
    """kill -9 of the service at whatever it does, and a new start."""
    site.plant.service.kill()
    site.restart()


def stop_service(site: Site, chance: random.Random) -> None:
    """SIGTERM: it drains and leaves with status 0, and a new start."""
    status = site.plant.service.stop()
    assert status == 0, site.plant.service.log()
    site.restart()


def kill_database(site: Site, chance: random.Random) -> None:
    """kill -9 of the database server, and a new start."""
    site.stack.database().kill()
    site.stack.up()


def end_sessions(site: Site, chance: random.Random) -> None:
    """An administrator ends every session of the service."""
    site.sql(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid()"
    )


def read_only(site: Site, chance: random.Random) -> None:
    """The database turns read-only for a moment, as after a failover to a standby."""
    site.sql("ALTER DATABASE tcewatch SET default_transaction_read_only = on")
    end_sessions(site, chance)
    time.sleep(chance.uniform(0.2, 0.8))  # how long the failover takes
    site.sql("ALTER DATABASE tcewatch RESET default_transaction_read_only")
    end_sessions(site, chance)


def kill_broker(site: Site, chance: random.Random) -> None:
    """kill -9 of the broker: what it had acknowledged and not saved is gone, and a new start."""
    site.stack.broker().kill()
    site.stack.up()


def forget_broker(site: Site, chance: random.Random) -> None:
    """kill -9 of the broker, which starts without a session or a queue, as one without persistence; accounts are kept
    in a file of their own."""
    site.stack.broker().kill()
    (site.stack.state / "broker" / "mosquitto.db").unlink(missing_ok=True)
    site.stack.up()


def cut_at_commit(site: Site, chance: random.Random) -> None:
    """The connection breaks when the COMMIT has reached the database and before its answer comes back."""
    site.to_database.cut_after(b"COMMIT")


def cut_database(site: Site, chance: random.Random) -> None:
    site.to_database.cut()


def cut_broker(site: Site, chance: random.Random) -> None:
    site.to_broker.cut()


def freeze_database(site: Site, chance: random.Random) -> None:
    """A half-open connection: nobody answers and nobody hangs up, for longer than the service is ready to wait."""
    site.to_database.freeze()
    time.sleep(chance.uniform(3.5, 4.5))
    site.to_database.thaw()


def freeze_broker(site: Site, chance: random.Random) -> None:
    site.to_broker.freeze()
    time.sleep(chance.uniform(0.5, 2.0))
    site.to_broker.thaw()


def slow_ways(site: Site, chance: random.Random) -> None:
    """300 ms more on each way: the service on another continent than its database or its broker."""
    for way in (site.to_database, site.to_broker):
        way.slow(delay_s=0.3)
        _hindered(way, chance.randint(2, 6))
        way.slow()


def lossy_ways(site: Site, chance: random.Random) -> None:
    """Packets are lost between the service and its servers."""
    for way in (site.to_database, site.to_broker):
        way.lose(chance)
        _hindered(way, chance.randint(1, 3))
        way.lose(None)


def _hindered(way: Proxy, chunks: int) -> None:
    """Waits until so many more chunks had to wait: gateways always send, so some come by."""
    enough = way.hindered + chunks
    until(lambda: way.hindered >= enough, what="something had to wait on this way", deadline_s=60, pause_s=0.01)


def pause_service(site: Site, chance: random.Random) -> None:
    """The whole process stands still for a while, as on a machine that swaps."""
    pid = site.plant.service.pid
    os.kill(pid, signal.SIGSTOP)
    time.sleep(chance.uniform(0.3, 1.5))
    os.kill(pid, signal.SIGCONT)


def lock_readings(site: Site, chance: random.Random) -> None:
    """Somebody holds the table of readings for themselves."""
    site.sql(
        f"BEGIN; LOCK TABLE reading IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep({chance.uniform(0.3, 1.5):.2f}); END"
    )


def set_clock(site: Site, chance: random.Random) -> None:
    """The service's clock is up to a day off, ahead or behind, and is set right again. Without a compiler it is not."""
    site.clock.set(chance.choice((-1, 1)) * chance.randint(3, 86_400))
    time.sleep(chance.uniform(1.0, 2.5))
    site.clock.set(0)


HARMS: Mapping[str, Harm] = {
    harm.__name__: harm
    for harm in (
        kill_service,
        stop_service,
        kill_database,
        end_sessions,
        read_only,
        kill_broker,
        forget_broker,
        cut_at_commit,
        cut_database,
        cut_broker,
        freeze_database,
        freeze_broker,
        slow_ways,
        lossy_ways,
        pause_service,
        lock_readings,
        set_clock,
    )
}
