"""Lines between the three parties of a private vocabulary: TLS 1.3 both ways, and nobody but whom the agreement names.

In the place of mpyc's own, which trust any certificate of one authority, try for ever, and name nobody when a line
breaks. What travels is framed as mpyc frames it: a label of 8 bytes, a length of 4, the bytes. Knows no mpyc.
"""

from __future__ import annotations

import asyncio
import re
import ssl
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chatfed.types import ChatfedError

from ..durable import make_folder
from ..parties.certificates import SERVER, SERVER_KEY, CertificateError, make_authority, make_certificate
from .agreement import Agreement, Computing

HELLO = struct.Struct("<8sB32s")  # magic, who speaks, digest of its agreement
MAGIC = b"cfvocabP"
RETRY = 0.1  # seconds between two tries to connect
MOST_AHEAD = 16  # messages of a party that were not asked for yet: all take each step together
DONE = (1 << 62) + 1  # label of a party's last message: it has the result
DRAIN = 10.0  # seconds for what was sent to leave
_FRAME = struct.Struct("<qI")


class PartyFault(ChatfedError):
    """A computing party is not there, fell silent, or says what does not fit; names it."""

    code = "vocabulary_party"
    mend = "look at the party that is named, then start all three again: clients need not send again"


class NoParty(ChatfedError):
    """A folder or a file of parties does not fit the agreement of a private vocabulary."""

    code = "no_vocabulary_party"
    mend = "name the folder of chatfed vocabulary certificate, and a file with three of its lines"


class Said(bytes):
    """What a party said, and who it was."""

    sender: str


class Link(asyncio.Protocol):
    """A line to one other party, as mpyc's runtime uses one. Of more than `most` bytes at once nothing is kept."""

    def __init__(self, links: Links, peer: int | None) -> None:
        self.links, self.peer = links, peer  # peer None: whoever calls, until it has said who it is
        self.nbytes_sent = 0
        self._read, self._greeted, self._closed = bytearray(), False, False
        self.done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()  # said so, or ended without
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._kept: dict[int, Any] = {}  # by label: what came before it was asked for, or the Future that waits
        self._transport: Any = None

    @property
    def name(self) -> str:
        """Whose line it is."""
        return "a caller" if self.peer is None else self.links.agreed.parties[self.peer].name

    @property
    def waits(self) -> bool:
        """Whether something was asked for and has not come."""
        return any(isinstance(each, asyncio.Future) for each in self._kept.values())

    def connection_made(self, transport: Any) -> None:
        """Says who this is, once the certificate is that of the party that was called."""
        self._transport = transport
        self.links.lines.add(self)
        if self.peer is not None:
            if not self._shows_certificate_of(self.peer):
                self.links.fail(PartyFault(f"{self.name} shows another certificate than the agreement names."))
                return
            self._greet()

    def _greet(self) -> None:
        assert self.peer is not None
        links = self.links
        self._transport.write(HELLO.pack(MAGIC, links.own, links.agreed.digest) + links.keys_for(self.peer))

    def _shows_certificate_of(self, peer: int) -> bool:
        shown = self._transport.get_extra_info("ssl_object").getpeercert(True)
        return bool(shown == ssl.PEM_cert_to_DER_cert(self.links.agreed.parties[peer].certificate))

    def data_received(self, data: bytes) -> None:
        """Takes in what came: first the other's greeting, then frames."""
        self._read += data
        if not self._greeted and not self._take_greeting():
            return
        while len(self._read) >= _FRAME.size:
            label, size = _FRAME.unpack_from(self._read)
            if size > self.links.most:
                self._refuse(f"{self.name} sent {size} bytes at once, of {self.links.most} at most.")
                return
            if len(self._read) < _FRAME.size + size:
                return
            said = Said(self._read[_FRAME.size : _FRAME.size + size])
            said.sender = self.name
            del self._read[: _FRAME.size + size]
            if not self._take(label, said):
                return

    def _take(self, label: int, said: Said) -> bool:
        if label == DONE:
            _settle(self.done, True)
            return True
        waiting = self._kept.get(label)
        if isinstance(waiting, asyncio.Future):
            del self._kept[label]
            _settle(waiting, said)
        elif waiting is not None or len(self._kept) >= MOST_AHEAD:
            self._refuse(f"{self.name} sent {'a message twice' if waiting is not None else 'too many messages'}.")
            return False
        else:
            self._kept[label] = said
        return True

    def _take_greeting(self) -> bool:
        if len(self._read) < HELLO.size:
            return False
        magic, peer, digest = HELLO.unpack_from(self._read)
        expected = self.links.callers if self.peer is None else (self.peer,)
        if magic != MAGIC or peer not in expected or not self._shows_certificate_of(peer):
            self._transport.abort()  # of a stranger nothing is said, and nobody waits for it
            return False
        if peer in self.links.by_peer:  # a second line: the first one's keys stay
            self._transport.abort()
            return False
        keys = self.links.key_bytes_from(peer)
        if len(self._read) < HELLO.size + keys:
            return False
        called, self.peer = self.peer is None, peer
        if digest != self.links.agreed.digest:
            if called:
                self._greet()  # so that the other learns it as well
            self._refuse(f"{self.name} holds another agreement: compare the files' digests.")
            return False
        self.links.take_keys(peer, bytes(self._read[HELLO.size : HELLO.size + keys]))
        del self._read[: HELLO.size + keys]
        self._greeted = True
        if called:
            self._greet()
        self.links.meet(peer, self)
        return True

    def _refuse(self, why: str) -> None:
        self.links.fail(PartyFault(why, param=self.name))
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Where something was still to come, the party is named."""
        self._closed = True
        self.links.lines.discard(self)
        _settle(self.ended, None)
        _settle(self.done, False)
        if self._greeted:
            self.links.part(self)
            if self.waits:
                self.links.fail(PartyFault(f"{self.name} ended the line in the middle.", param=self.name))

    def send(self, label: int, said: bytes) -> None:
        """Sends one frame."""
        self._transport.write(_FRAME.pack(label, len(said)) + said)
        self.nbytes_sent += _FRAME.size + len(said)

    def receive(self, label: int) -> Any:
        """What came under a label, or the Future of it."""
        if label in self._kept:
            return self._kept.pop(label)
        if self._closed:
            self.links.fail(PartyFault(f"{self.name} ended the line in the middle.", param=self.name))
        self._kept[label] = asyncio.get_running_loop().create_future()
        return self._kept[label]

    def close_connection(self) -> None:
        """Sends what is left, and ends the line."""
        if self._transport is not None:
            self._transport.close()


def _settle(future: asyncio.Future[Any], result: Any) -> None:
    if not future.done():
        future.set_result(result)


class Links:
    """All lines of one party. Those with a lower number call those with a higher one, as in mpyc.

    keys_for, key_bytes_from, take_keys: the keys of pseudorandom sharing, by party; met: given each line that stands.
    """

    def __init__(self, agreed: Agreement, own: int, most: int) -> None:
        self.agreed, self.own, self.most = agreed, own, most
        self.by_peer: dict[int, Link] = {}
        self.lines: set[Link] = set()  # all that stand, of whoever
        self.fault: PartyFault | None = None
        self.failed: asyncio.Future[None] = asyncio.get_event_loop().create_future()
        self.all_met: asyncio.Future[None] = asyncio.get_event_loop().create_future()
        self.keys_for: Callable[[int], bytes] = lambda peer: b""
        self.key_bytes_from: Callable[[int], int] = lambda peer: 0
        self.take_keys: Callable[[int, bytes], None] = lambda peer, keys: None

    @property
    def callers(self) -> range:
        """Those that call this party."""
        return range(self.own)

    def meet(self, peer: int, link: Link) -> None:
        """A line stands, and its party holds the same agreement."""
        self.by_peer[peer] = link
        if len(self.by_peer) == len(self.agreed.parties) - 1 and not self.all_met.done():
            self.all_met.set_result(None)

    def part(self, link: Link) -> None:
        """A line ended: before all stand, its party may come again."""
        if not self.all_met.done() and link.peer is not None and self.by_peer.get(link.peer) is link:
            del self.by_peer[link.peer]

    def fail(self, why: PartyFault) -> None:
        """The first fault is what the program ends with."""
        if self.fault is None:
            self.fault = why
            if not self.failed.done():
                self.failed.set_result(None)

    async def within(self, job: Any, seconds: float, absent: Callable[[], Sequence[str]], doing: str) -> Any:
        """What a job gives, unless a line fails before. Raises PartyFault, after `seconds` at the latest."""
        task = asyncio.ensure_future(job)
        await asyncio.wait({task, self.failed}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if self.fault is not None:
            task.cancel()
            raise self.fault
        if task.done():
            return task.result()
        task.cancel()
        who = ", ".join(absent()) or "A party"
        raise PartyFault(f"{who} did not answer within {seconds:g} s while {doing}.", param=who)

    def absent(self) -> list[str]:
        """Parties to which no line stands yet."""
        others = (peer for peer in range(len(self.agreed.parties)) if peer != self.own)
        return [self.agreed.parties[peer].name for peer in others if peer not in self.by_peer]

    def silent(self) -> list[str]:
        """Parties from which something is still to come."""
        return [link.name for link in self.by_peer.values() if link.waits]

    @asynccontextmanager
    async def standing(self, folder: Path, listen: str, patience: float) -> Any:
        """Lines to both other parties, ended afterwards. Raises PartyFault, which names who is missing."""
        loop, servers, calls = asyncio.get_running_loop(), [], []
        try:
            if self.callers:
                context = server_context(folder, [self.agreed.parties[peer].certificate for peer in self.callers])
                port = self.agreed.parties[self.own].party_port
                servers.append(await _listening(loop, lambda: Link(self, None), listen, port, context))
            calls = [loop.create_task(self._call(peer, folder)) for peer in self._called()]
            await self.within(asyncio.shield(self.all_met), patience, self.absent, "connecting")
            yield self
        finally:
            for call in calls:
                call.cancel()
            for server in servers:
                server.close()
            await self._drained()

    async def _drained(self) -> None:
        """Ends the lines, once what was sent is gone."""
        lines = list(self.lines)
        for link in lines:
            link.close_connection()
        if lines:
            await asyncio.wait([link.ended for link in lines], timeout=DRAIN)

    async def unsure(self, seconds: float) -> list[str]:
        """Says that this party has the result, and waits for the others to say so; the names of those that did not."""
        for link in self.by_peer.values():
            link.send(DONE, b"")
        await asyncio.wait([link.done for link in self.by_peer.values()], timeout=seconds)
        return [link.name for link in self.by_peer.values() if not (link.done.done() and link.done.result())]

    def _called(self) -> Iterator[int]:
        yield from range(self.own + 1, len(self.agreed.parties))

    async def _call(self, peer: int, folder: Path) -> None:
        """Tries until it stands, and again where it ends before all do; whoever waits for it has a bound."""
        party = self.agreed.parties[peer]
        context = client_context(party.certificate, folder)
        while not self.all_met.done():
            try:
                _, link = await asyncio.get_running_loop().create_connection(
                    lambda: Link(self, peer), party.host, party.party_port, ssl=context
                )
                await asyncio.shield(link.ended)
            except ssl.SSLCertVerificationError:
                self.fail(PartyFault(f"{party.name} shows another certificate than the agreement names."))
                return
            except OSError:
                pass
            await asyncio.sleep(RETRY)


async def _listening(loop: Any, protocol: Any, listen: str, port: int, context: ssl.SSLContext) -> Any:
    try:
        return await loop.create_server(protocol, listen, port, ssl=context)
    except OSError as error:
        raise PartyFault(f"{listen}:{port} cannot be listened on ({error.strerror}): end what does.") from None


def server_context(folder: Path, callers: Sequence[str] = ()) -> ssl.SSLContext:
    """TLS 1.3 with the party's own certificate; with `callers`, PEM, for whoever shows one of these only.

    Raises CertificateError where the folder holds no certificate and key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    _show_own(context, folder)
    if callers:
        context.verify_mode = ssl.CERT_REQUIRED
        _trust(context, "".join(callers))
    return context


def client_context(certificate: str, folder: Path | None = None) -> ssl.SSLContext:
    """TLS 1.3 to whoever shows this very certificate, PEM; with `folder`, showing the party's own."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # not a name counts, but the one certificate
    _trust(context, certificate)
    if folder is not None:
        _show_own(context, folder)
    return context


def _trust(context: ssl.SSLContext, certificates: str) -> None:
    try:
        context.load_verify_locations(cadata=certificates)
    except (ssl.SSLError, ValueError):
        raise CertificateError("The agreement holds a certificate that is none.", param="parties") from None
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the certificate itself is what is trusted


def _show_own(context: ssl.SSLContext, folder: Path) -> None:
    try:
        context.load_cert_chain(folder / SERVER, folder / SERVER_KEY)
    except (OSError, ssl.SSLError) as error:
        raise CertificateError(
            f"{folder} holds no certificate and key of a party ({error.strerror or error}): make them with chatfed "
            "vocabulary certificate.",
            param=str(folder),
        ) from None


def make_party(name: str, host: str, home: Path, ports: str) -> Computing:
    """Draws a party's key and certificate. Raises NoParty, AgreementError or CertificateError."""
    numbers = re.fullmatch(r"(\d{1,5}),(\d{1,5})", ports, re.ASCII)
    if numbers is None:
        raise NoParty(f"--ports is {ports!r}: give two port numbers with a comma between.", param="ports")
    make_folder(home)
    make_authority(home)
    make_certificate(home, host, calls=True)
    return Computing(name, host, int(numbers[1]), int(numbers[2]), (home / SERVER).read_text(encoding="ascii"))
