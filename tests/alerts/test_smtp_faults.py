"""Every fault of a mail server in a real conversation, and what becomes of the row: nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path

import pytest

from alerts.mail import TEMPLATES
from alerts.notice import Contact, Delivery
from alerts.rule import Level, Role
from alerts.sender import Settled, backoff, circuit_pause_s
from alerts.smtp import Server, WrongServer, server_of
from app.store.outbox import Addressee, Waiting, enqueue, merge, recipients
from tests.alerts.a_mail_server import CUT, SLOW, Certificate, MailServer, only, serving
from tests.alerts.a_notice import facts
from tests.alerts.an_outbox import CONTACTS, DOMAIN, REGION, ZONE, Outbox, an_outbox
from tests.e2e.service import free_port


@pytest.fixture
async def outbox(database_url: str) -> AsyncIterator[Outbox]:
    async with an_outbox(database_url) as outbox:
        yield outbox


@pytest.fixture
def server() -> Iterator[MailServer]:
    with serving(MailServer()) as server:
        yield server


async def test_a_mail_goes_out_once(outbox: Outbox, server: MailServer) -> None:
    await outbox.put()
    sender = outbox.sender(server.url)
    assert (await sender.drain(), await sender.drain()) == (1, 0)
    assert await outbox.rows("state, attempts, last_code, sent_at") == [("sent", 1, 250, outbox.clock.now)]
    (mail,) = server.mails()
    alert = (await outbox.rows("alert_id"))[0]
    assert str(mail["Message-ID"]).startswith(f"<a{alert}.2.")
    assert mail["References"] == f"<a{alert}@tcewatch.example>"


async def test_one_connection_carries_many_mails(outbox: Outbox, server: MailServer) -> None:
    for number in range(5):
        await outbox.put(alert_id=await outbox.alert(period=str(number)))
    assert await outbox.sender(server.url).drain() == 5
    assert (len(server.kept), server.conversations) == (5, 5)


async def test_nobody_answers_and_the_rows_are_kept(outbox: Outbox) -> None:
    for number in range(2):
        await outbox.put(alert_id=await outbox.alert(period=str(number)))
    sender = outbox.sender(f"smtp://127.0.0.1:{free_port()}")
    assert await sender.one() == circuit_pause_s(1)  # the server is left alone; the second row is not even claimed
    assert await outbox.rows("state, attempts, doubts") == [("retry", 1, 0), ("queued", 0, 0)]
    assert "smtp-unreachable" in await outbox.alarms()
    assert await sender.one() == circuit_pause_s(2)


async def test_the_alarm_ends_with_the_first_mail_that_goes(outbox: Outbox) -> None:
    await outbox.put()
    server = MailServer()
    sender = outbox.sender(server.url)
    await sender.drain()
    outbox.clock.on(minutes=2)
    with serving(server):
        assert await sender.drain() == 1
    assert await outbox.alarms() == {}


@pytest.mark.parametrize("code", ["421 busy", "451 slow down"])
async def test_a_busy_server_is_left_alone_by_all(outbox: Outbox, server: MailServer, code: str) -> None:
    server.faults["MAIL"] = [code]
    for number in range(2):
        await outbox.put(alert_id=await outbox.alert(period=str(number)))
    sender = outbox.sender(server.url)
    assert await sender.one() == circuit_pause_s(1)
    assert await outbox.rows("state, last_code") == [("retry", int(code[:3])), ("queued", None)]
    outbox.clock.on(minutes=2)
    assert await sender.drain() == 2
    assert len(set(server.ids())) == len(server.kept) == 2


async def test_a_greylisting_server_is_asked_again_after_five_minutes(outbox: Outbox, server: MailServer) -> None:
    server.faults["RCPT"] = ["450 greylisted"]
    await outbox.put()
    sender = outbox.sender(server.url)
    await sender.drain()
    (next_at,) = await outbox.rows("next_at")
    assert next_at - outbox.clock.now >= timedelta(minutes=5)
    outbox.clock.on(minutes=4.9)
    assert await sender.drain() == 0
    outbox.clock.on(minutes=1)
    assert await sender.drain() == 1


async def test_a_refused_address_is_marked_and_the_next_contact_is_told(outbox: Outbox, server: MailServer) -> None:
    server.faults["RCPT manager@example.com"] = ["550 no such user"]
    await outbox.put()
    assert await outbox.sender(server.url).drain() == 1
    assert await outbox.rows("state, last_code, kind") == [("failed", 550, "raised"), ("sent", 250, "next_contact")]
    assert [email for email, _ in server.kept] == ["deputy@example.com"]
    bad = await outbox.pool.fetchrow("SELECT bad_why, refused_times FROM recipient WHERE email = 'manager@example.com'")
    assert bad is not None
    assert tuple(bad) == ("no such user", 1)
    assert (await outbox.alarms())["mail-failed"] == "manager@example.com"


async def test_when_nobody_at_the_enterprise_can_be_reached_the_county_is_told(
    outbox: Outbox, server: MailServer
) -> None:
    for contact in CONTACTS:
        server.faults[f"RCPT {contact['email']}"] = ["550 no such user"]
    await outbox.put()
    assert await outbox.sender(server.url).drain() == 1
    assert [email for email, _ in server.kept] == ["county@example.com"]
    server.faults["RCPT"] = ["550 no"] * 9
    await outbox.put(alert_id=await outbox.alert(period="another"))
    assert await outbox.sender(server.url).drain() == 0
    assert {"nobody-left", "mail-failed"} <= set(await outbox.alarms())


async def test_a_failed_mail_that_is_sent_again_ends_its_alarm(outbox: Outbox, server: MailServer) -> None:
    server.faults["RCPT manager@example.com"] = ["550 mailbox closed"]
    await outbox.put()
    sender = outbox.sender(server.url)
    await sender.drain()
    assert await outbox.alarms() == {"mail-failed": "manager@example.com"}
    await outbox.pool.execute("UPDATE outbox SET state = 'queued', next_at = $1 WHERE state = 'failed'", outbox.clock())
    assert await sender.drain() == 1
    assert await outbox.alarms() == {}


def said(mail: EmailMessage) -> str:
    """The text part of a mail."""
    body = mail.get_body(("plain",))
    assert body is not None
    return str(body.get_content())


async def of_two_counties(outbox: Outbox, email: str) -> None:
    """Rows of a night for somebody who stands for two counties, one a county; and the digest of them."""
    async with outbox.pool.acquire() as connection, connection.transaction():
        for owner in (REGION, "445302"):
            alert_id = await outbox.alert(period=owner)
            contact = Contact("Both", email if owner == REGION else email.upper(), "en")
            (who,) = await recipients(connection, [Addressee(owner, Role.COUNTY, contact)])
            told = facts(level="orange", alert=alert_id, name=f"plant of {owner}")
            row = Waiting(alert_id, 2, who, "raised", Level.ORANGE, Delivery.GROUPED, told, outbox.clock.now)
            await enqueue(connection, [row], domain=DOMAIN, now=outbox.clock.now)
        now = outbox.clock.now.astimezone(ZONE)
        await merge(connection, [Delivery.GROUPED], key="run1", top=50, link=None, domain=DOMAIN, now=now)


async def test_one_person_of_two_counties_gets_one_mail_a_night(outbox: Outbox, server: MailServer) -> None:
    await of_two_counties(outbox, "both@example.com")
    assert await outbox.sender(server.url).drain() == 1
    (mail,) = server.mails()
    for owner in (REGION, "445302"):
        assert f"plant of {owner}" in said(mail)
    assert await outbox.rows("state") == ["merged", "merged", "sent"]


async def test_who_is_told_instead_of_them_hears_of_their_own_county_alone(outbox: Outbox, server: MailServer) -> None:
    await outbox.pool.execute("INSERT INTO region_contact VALUES ('445302', 'other@example.com', 'Other', 'en')")
    server.faults["RCPT both@example.com"] = ["550 no such user"]
    await of_two_counties(outbox, "both@example.com")
    assert await outbox.sender(server.url).drain() == 2
    told = {email: said(mail) for (email, _), mail in zip(server.kept, server.mails(), strict=True)}
    assert set(told) == {"county@example.com", "other@example.com"}
    assert f"plant of {REGION}" in told["county@example.com"]
    assert "plant of 445302" not in told["county@example.com"]
    assert "plant of 445302" in told["other@example.com"]
    assert f"plant of {REGION}" not in told["other@example.com"]


async def test_an_address_that_reads_like_a_relay_may_be_bad(outbox: Outbox, server: MailServer) -> None:
    server.faults["RCPT relay@example.com"] = ["550 5.1.1 <relay@example.com>: no such user"]
    await outbox.put("relay@example.com")
    await outbox.sender(server.url).drain()
    assert (await outbox.rows("state"))[0] == "failed"


async def test_a_bad_address_blocks_nobody_else(outbox: Outbox, server: MailServer) -> None:
    server.faults["RCPT manager@example.com"] = ["550 no such user"]
    alert = await outbox.alert()
    await outbox.put(alert_id=alert)
    await outbox.put("deputy@example.com", alert_id=alert)
    await outbox.sender(server.url).drain()
    assert sorted(email for email, _ in server.kept) == ["county@example.com", "deputy@example.com"]


async def test_a_refused_login_stops_the_sender(outbox: Outbox) -> None:
    certificate = Certificate.made()
    with serving(
        MailServer(), tls_context=certificate.server, authenticator=only("us", "right"), auth_required=True
    ) as server:
        await outbox.put()
        there = Server("127.0.0.1", server.port, "starttls", "us", "wrong")
        sender = outbox.sender("", server=there, context=certificate.client)
        await sender.one()
        assert sender.barred
        assert "535" in await alarm_detail(outbox, "smtp-barred")
        assert (await outbox.rows("state"), server.kept) == (["retry"], [])
        outbox.clock.on(minutes=2)
        right = Server("127.0.0.1", server.port, "starttls", "us", "right")
        assert await outbox.sender("", server=right, context=certificate.client).drain() == 1
        assert "smtp-barred" not in await outbox.alarms()


async def alarm_detail(outbox: Outbox, kind: str) -> str:
    return str(await outbox.pool.fetchval("SELECT detail FROM platform_alarm WHERE kind = $1", kind))


async def test_without_starttls_nothing_is_sent_in_clear_text(outbox: Outbox, server: MailServer) -> None:
    await outbox.put()
    sender = outbox.sender("", server=Server("127.0.0.1", server.port, "starttls"))
    await sender.one()
    assert (sender.barred, server.kept, server.conversations) == (True, [], 0)
    assert "STARTTLS" in await alarm_detail(outbox, "smtp-barred")


@pytest.mark.parametrize("tls", ["starttls", "implicit"])
async def test_a_certificate_nobody_vouches_for_is_no_server(outbox: Outbox, tls: str) -> None:
    certificate = Certificate.made()
    options = {"tls_context": certificate.server} if tls == "starttls" else {"ssl_context": certificate.server}
    with serving(MailServer(), **options) as server:
        await outbox.put()
        there = Server("127.0.0.1", server.port, tls)
        assert await outbox.sender("", server=there).drain() == 0
        assert (await outbox.rows("state"), server.kept) == (["retry"], [])
        outbox.clock.on(minutes=2)
        assert await outbox.sender("", server=there, context=certificate.client).drain() == 1


async def test_a_mail_too_large_goes_once_more_without_its_chart(outbox: Outbox, server: MailServer) -> None:
    server.faults["DATA"] = ["552 too large"]
    await outbox.put()
    assert await outbox.sender(server.url).drain() == 1
    (mail,) = server.mails()
    assert "image/png" not in [part.get_content_type() for part in mail.walk()]
    assert await outbox.rows("state, plain") == [("sent", True)]


async def test_a_mail_too_large_twice_has_failed(outbox: Outbox, server: MailServer) -> None:
    server.faults["DATA"] = ["552 too large", "552 too large"]
    await outbox.put()
    await outbox.sender(server.url).drain()
    assert (await outbox.rows("state, last_code"))[0] == ("failed", 552)
    assert [email for email, _ in server.kept] == ["deputy@example.com"]


@pytest.mark.parametrize("fault", [CUT, SLOW])
async def test_an_answer_that_never_comes_costs_one_duplicate_at_most(
    outbox: Outbox, server: MailServer, fault: str
) -> None:
    server.faults["DATA"] = [fault] * 3
    await outbox.put()
    there = Server("127.0.0.1", server.port, "none", answer_timeout_s=0.2)
    sender = outbox.sender("", server=there)
    await sender.drain()
    assert await outbox.rows("state, doubts") == [("uncertain", 1)]
    outbox.clock.on(minutes=14)
    assert (await sender.drain(), len(server.kept)) == (0, 1)
    outbox.clock.on(minutes=2)
    await sender.drain()
    assert await outbox.rows("state, doubts") == [("uncertain", 2)]
    outbox.clock.on(days=3)
    await sender.drain()
    assert (len(server.kept), len(set(server.ids()))) == (2, 1)


async def test_after_a_doubt_an_answer_is_believed(outbox: Outbox, server: MailServer) -> None:
    server.faults["DATA"] = [CUT]
    await outbox.put()
    sender = outbox.sender(server.url)
    await sender.drain()
    outbox.clock.on(minutes=16)
    assert await sender.drain() == 1
    assert await outbox.rows("state, doubts") == [("sent", 1)]


async def test_after_three_days_it_has_failed_and_says_so(outbox: Outbox, server: MailServer) -> None:
    server.faults["RCPT manager@example.com"] = ["450 later"] * 200
    await outbox.put()
    sender = outbox.sender(server.url)
    for _ in range(90):
        await sender.drain()
        outbox.clock.on(hours=1.3)
    assert (await outbox.rows("state, last_code"))[0] == ("failed", 450)
    assert "given up after 72 h" in str((await outbox.rows("last_error"))[0])
    assert [email for email, _ in server.kept] == ["deputy@example.com"]


async def test_a_contact_without_a_usable_address_is_no_lost_alert(outbox: Outbox, server: MailServer) -> None:
    await outbox.put("nowhere")
    assert await outbox.sender(server.url).drain() == 1
    assert await outbox.rows("state") == ["failed", "sent"]
    assert (await outbox.alarms())["mail-failed"] == "nowhere"


async def test_an_address_no_smtp_can_carry_is_told_to_the_next_contact(outbox: Outbox, server: MailServer) -> None:
    for address in ("two@at@signs", "王经理@example.com"):
        await outbox.put(address, alert_id=await outbox.alert(period=address))
    await outbox.put("manager@例子.中国", alert_id=await outbox.alert(period="idn"))
    assert await outbox.sender(server.url).drain() == 3
    assert await outbox.rows("state") == ["failed", "failed", "sent", "sent", "sent"]
    told = [email for email, _ in server.kept]
    assert sorted(told) == ["manager@example.com", "manager@example.com", "manager@xn--fsqu00a.xn--fiqs8s"]


@pytest.mark.parametrize("code", ["550 not our sender", "553 sender not allowed"])
async def test_a_server_that_refuses_our_own_address_is_an_alarm_and_loses_nothing(
    outbox: Outbox, server: MailServer, code: str
) -> None:
    server.faults["MAIL"] = [code]
    await outbox.put()
    sender = outbox.sender(server.url)
    await sender.one()
    assert await outbox.rows("state, last_code") == [("retry", int(code[:3]))]
    assert code[4:] in await alarm_detail(outbox, "smtp-refused")
    outbox.clock.on(minutes=2)
    assert await sender.drain() == 1
    assert await outbox.alarms() == {}


RELAYS = (
    "554 5.7.1 <manager@example.com>: Relay access denied",
    "550 relay not permitted",
    "550 5.7.1 Unable to relay for manager@example.com",
    "553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)",
    "554 5.7.1 <alerts@tcewatch.example>: Sender address rejected: Access denied",
    "554 5.7.1 Service unavailable; Client host rejected",
)


@pytest.mark.parametrize("said", RELAYS)
async def test_a_server_that_does_not_relay_for_us_is_an_alarm_and_no_bad_address(
    outbox: Outbox, server: MailServer, said: str
) -> None:
    server.faults["RCPT manager@example.com"] = [said]
    await outbox.put()
    await outbox.put("somebody@other.example", alert_id=await outbox.alert(period="other"))
    sender = outbox.sender(server.url)
    assert await sender.drain() == 1, "other domains are not kept waiting"
    assert await outbox.rows("state, last_code") == [("retry", int(said[:3])), ("sent", 250)]
    assert await outbox.pool.fetchval("SELECT sum(refused_times) FROM recipient") == 0
    assert await outbox.alarms() == {"smtp-refused": "example.com"}
    assert "manager@" not in await alarm_detail(outbox, "smtp-refused")
    outbox.clock.on(minutes=7)
    assert await sender.drain() == 1
    assert await outbox.alarms() == {}
    assert [email for email, _ in server.kept] == ["somebody@other.example", "manager@example.com"]


async def test_a_server_that_wants_a_login_bars_us_and_marks_no_address(outbox: Outbox, server: MailServer) -> None:
    server.faults["RCPT"] = ["530 5.7.0 authentication required"]
    await outbox.put()
    sender = outbox.sender(server.url)
    await sender.one()
    assert (sender.barred, await outbox.rows("state")) == (True, ["retry"])
    assert await outbox.pool.fetchval("SELECT refused_times FROM recipient") == 0


async def test_a_name_nobody_knows_and_a_server_that_says_nothing_are_no_server(outbox: Outbox) -> None:
    await outbox.put()
    sender = outbox.sender("smtps://mail.invalid:465")
    assert await sender.one() == circuit_pause_s(1)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        outbox.clock.on(minutes=2)
        there = Server("127.0.0.1", mute.getsockname()[1], "none", connect_timeout_s=0.2)
        assert await outbox.sender("", server=there).one() == circuit_pause_s(1)
    assert await outbox.rows("state, attempts, doubts") == [("retry", 2, 0)]
    assert "smtp-unreachable" in await outbox.alarms()


async def test_a_failing_template_is_told_and_the_facts_go_out_plainly(
    outbox: Outbox, server: MailServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for template in TEMPLATES.glob("*.j2"):
        (tmp_path / template.name).write_text("{{ nothing.like.it }}")
    monkeypatch.setattr("alerts.mail.render.__defaults__", (tmp_path,))
    await outbox.put()
    await outbox.sender(server.url).drain()
    assert "mail-template" in await outbox.alarms()
    assert "budget: 120000.0" in server.mails()[0].get_content()
    assert await outbox.rows("state, plain") == [("sent", True)]


async def test_what_exceeds_a_recipients_limit_waits_for_a_digest_and_red_does_not(
    outbox: Outbox, server: MailServer
) -> None:
    for number in range(8):
        await outbox.put(alert_id=await outbox.alert(period=str(number)), limits={"per_hour": 5, "per_day": 20})
    red = await outbox.alert(Level.RED, period="red")
    await outbox.put(alert_id=red, level=Level.RED, limits={"per_hour": 5, "per_day": 20})
    assert await outbox.sender(server.url).drain() == 6
    assert (await outbox.rows("delivery", "state = 'queued'")) == ["daily"] * 3


async def test_many_senders_at_once_keep_a_recipients_limit_to_the_mail(outbox: Outbox, server: MailServer) -> None:
    for number in range(30):
        await outbox.put(alert_id=await outbox.alert(period=str(number)), limits={"per_hour": 5, "per_day": 20})
    sent = await asyncio.gather(*(outbox.sender(server.url).drain() for _ in range(6)))
    assert (sum(sent), len(server.kept)) == (5, 5)
    assert (await outbox.rows("delivery", "state = 'queued'")) == ["daily"] * 25


async def test_what_was_put_off_by_the_server_keeps_the_limit_when_it_is_tried_again(
    outbox: Outbox, server: MailServer
) -> None:
    for number in range(8):
        await outbox.put(alert_id=await outbox.alert(period=str(number)), limits={"per_hour": 5, "per_day": 20})
    server.faults["RCPT"] = ["450 4.2.0 greylisted"] * 8
    await outbox.sender(server.url).drain()
    assert set(await outbox.rows()) == {"retry"}
    outbox.clock.on(minutes=10)
    assert await outbox.sender(server.url).drain() == 5


async def test_a_mail_that_may_have_come_counts_and_is_sent_again_all_the_same(
    outbox: Outbox, server: MailServer
) -> None:
    for number in range(6):
        await outbox.put(alert_id=await outbox.alert(period=str(number)), limits={"per_hour": 5, "per_day": 20})
    lost = await outbox.book.claim("dies", outbox.clock.now, outbox.clock.now + timedelta(minutes=5))
    assert lost is not None
    outbox.clock.on(minutes=6)
    assert await outbox.sender(server.url).drain() == 4
    outbox.clock.on(minutes=16)
    assert await outbox.sender(server.url).drain() == 1
    assert await outbox.rows("state, delivery, doubts") == [("sent", "immediate", 1)] + [
        ("sent", "immediate", 0)
    ] * 4 + [("queued", "daily", 0)]


def test_retries_wait_longer_and_longer_up_to_an_hour() -> None:
    middle = [backoff(attempt, 0.5) for attempt in range(1, 10)]
    assert [wait.total_seconds() / 60 for wait in middle] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert (backoff(3, 0.0), backoff(3, 1.0)) == (timedelta(minutes=3.2), timedelta(minutes=4.8))


@pytest.mark.parametrize(
    ("url", "plain_allowed", "tls"),
    [
        ("smtp+starttls://us:pw@mail.example:587", False, "starttls"),
        ("smtps://mail.example", False, "implicit"),
        ("smtp://127.0.0.1:1025", False, "none"),
        ("smtp://mailpit:1025", True, "none"),
    ],
)
def test_addresses_of_servers(url: str, plain_allowed: bool, tls: str) -> None:
    assert server_of(url, plain_allowed=plain_allowed).tls == tls


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("smtp://mail.example:25", "clear text"),
        ("smtp://us:pw@127.0.0.1:25", "password in clear text"),
        ("http://mail.example", "smtps"),
        ("smtps://", "host"),
        ("smtps://mail.example:99999", "port"),
        ("smtps://mail.example/path", "nothing behind"),
    ],
)
def test_addresses_that_would_tell_secrets_or_lead_nowhere_are_refused(url: str, why: str) -> None:
    with pytest.raises(WrongServer, match=why):
        server_of(url)


def test_a_server_shows_no_password() -> None:
    assert "pw" not in repr(server_of("smtps://us:pw@mail.example"))


async def test_a_lease_that_was_lost_is_not_written_over(outbox: Outbox, server: MailServer) -> None:
    await outbox.put()
    row = await outbox.book.claim("one", outbox.clock.now, outbox.clock.now + timedelta(minutes=5))
    assert row is not None
    assert await outbox.book.claim("two", outbox.clock.now, outbox.clock.now + timedelta(minutes=5)) is None
    outbox.clock.on(minutes=6)
    await outbox.book.claim("two", outbox.clock.now, outbox.clock.now + timedelta(minutes=5))
    assert not await outbox.book.settle(row, "one", Settled("sent"), outbox.clock.now)
    assert await outbox.rows("state, doubts") == [("uncertain", 1)]
