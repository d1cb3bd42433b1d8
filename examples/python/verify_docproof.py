"""Checks a .docproof file, independently of the hub's own code: standard library and `cryptography` only.

    python verify_docproof.py FILE.docproof --trust KEYS

Written from docs/docproof.md. One JSON object on standard output; exit code 0 for PROVEN alone. The order of the
checks is that of the document, so the first fault is the same one that `truc verify` names.
"""

import argparse
import base64
import hashlib
import json
import sys
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

MAGIC = b"truc docproof v1\n"
MANIFEST, ADDRESSING, RECEIPT, STATUS = (
    f"application/vnd.truc.{kind}.v1+protobuf" for kind in ("manifest", "addressing", "receipt", "status")
)
ACCEPTANCE, CONSIGNMENT, HANDOVER, HANDOVER_FAILURE, REGISTERED, REJECTION = 1, 3, 5, 6, 7, 8
BUSINESS, PARKED, RECALL, DIRECTORY, RECORDED = 64, 65, 66, 68, 69
ERASED, HOLD = 72, 73
ATTACHMENTS, ALL = 1, 2
HELD, RELEASED, CANCELLED = 77, 78, 79
LOG_KEY_CHANGE = 75
EVENTS = {*range(1, 15), *range(64, 72), ERASED, HOLD, HELD, RELEASED, CANCELLED}
UNKNOWN_KEY, BAD_SIGNATURE, KEY_REVOKED, KEY_NOT_VALID, UNSUPPORTED, DUPLICATE = 15, 16, 17, 18, 19, 32
AGENCY_SEAL, PERSON = 1, 2


class NotProven(Exception):
    """The first fault, and in which part of the file: `leaf` comes with its index."""

    def __init__(self, place, problem, leaf=None):
        super().__init__(problem)
        self.place, self.leaf = place, leaf


# Protobuf on the wire


def varint(data, at, strict):
    value = shift = 0
    while at < len(data) and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >> 64 or (strict and shift and not byte):
                break
            return value, at
        shift += 7
    raise ValueError("a varint that is too long or cut")


def wire(data, strict=False):
    """Fields of a message in their order, as (number, value): an int, or bytes."""
    at = 0
    while at < len(data):
        key, at = varint(data, at, strict)
        number, kind = key >> 3, key & 7
        if number == 0 or kind not in ((0, 2) if strict else (0, 1, 2, 5)):
            raise ValueError("not protobuf")
        if kind in (0, 2):
            value, at = varint(data, at, strict)
        if kind != 0:
            size = {1: 8, 5: 4}.get(kind) or (value if kind == 2 else 0)
            if size > len(data) - at:
                raise ValueError("a field is cut")
            value, at = data[at : at + size], at + size
        yield number, value


class Message:
    """A message by field numbers: `one` the last value, `all` every value."""

    def __init__(self, data, canonical=None):
        """`canonical` maps the known numbers to int, bytes, "many" or "choice", and lets no other form pass."""
        self.fields, last, choice = {}, 0, False
        for number, value in wire(data, canonical is not None):
            self.fields.setdefault(number, []).append(value)
            if canonical is None:
                continue
            kind = canonical.get(number)
            repeats = number == last and kind != "many"
            wrong_type = kind is None or isinstance(value, int) != (kind is int)
            empty = kind in (int, bytes) and not value
            if number < last or repeats or wrong_type or empty or (choice and kind == "choice"):
                raise ValueError(f"field {number} is not in its one allowed form")
            last, choice = number, choice or kind == "choice"

    def all(self, number):
        return self.fields.get(number, [])

    def last(self, number, default):
        value = self.fields.get(number, [default])[-1]
        if type(value) is not type(default):
            raise ValueError(f"field {number} is of another type")
        return value

    def int(self, number):
        value = self.last(number, 0)
        return value - (1 << 64) if value >> 63 else value

    def bytes(self, number):
        return self.last(number, b"")

    def text(self, number):
        return self.bytes(number).decode()

    def message(self, number):
        return Message(self.bytes(number))


# Signed notes and the tree


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def base64_exact(text):
    value = base64.b64decode(text, validate=True)
    if base64.b64encode(value).decode() != text:
        raise ValueError("base64 that is not in its one form")
    return value


class Key:
    """A C2SP verifier key: type 1 signs notes, type 4 cosigns them."""

    def __init__(self, text, kind=1):
        self.text, (self.name, hash_text, encoded) = text, text.split("+", 2)
        key = base64_exact(encoded)
        self.hash = sha256(self.name.encode(), b"\n", key)[:4]
        if len(key) != 33 or key[0] != kind or self.hash.hex() != hash_text:
            raise ValueError("not a verifier key")
        self.key = Ed25519PublicKey.from_public_bytes(key[1:])

    def signature(self, line):
        """The bytes of a signature line by this key."""
        dash, signer, value = line.split(" ")
        value = base64_exact(value)
        if dash != "\u2014" or signer != self.name or value[:4] != self.hash:
            raise ValueError(f"not signed by {self.text}")
        return value[4:]


def open_note(note, keys):
    """The text of a note that exactly these keys signed, in this order (C2SP signed-note)."""
    text, _, signatures = note.rpartition("\n\n")
    lines = signatures.removesuffix("\n").split("\n")
    if not signatures.endswith("\n") or len(lines) != len(keys) or any(ord(c) < 32 and c != "\n" for c in note):
        raise ValueError(f"not {len(keys)} signatures")
    for key, line in zip(keys, lines):
        key.key.verify(key.signature(line), (text + "\n").encode())
    return text


def head_of(text):
    """Origin, size and root of a checkpoint's text."""
    origin, size, root = text.split("\n")
    if str(int(size)) != size or int(size) < 0:
        raise ValueError("not a checkpoint")
    return origin, int(size), base64_exact(root)


def open_checkpoint(note, key):
    """Origin, size and root of a checkpoint with exactly one signature: this key's."""
    origin, size, root = head_of(open_note(note, [key]))
    if origin != key.name:
        raise ValueError("not a checkpoint of this log")
    return origin, size, root


PROOF = "c2sp.org/tlog-proof@v1\n"


def inclusion_root(index, size, leaf, path):
    """The root that an audit path leads to (RFC 9162 section 2.1.3.2)."""
    node, last, current = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ValueError("the path is too long")
        if node % 2 or node == last:
            current = sha256(b"\x01", sibling, current)
            while node % 2 == 0 and node:
                node, last = node >> 1, last >> 1
        else:
            current = sha256(b"\x01", current, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise ValueError("the path is too short")
    return current


def log_keys(text):
    """The keys of a log from the proofs of their changes, oldest first: [(verifier key, last size or None)]."""
    keys, before = [], -1
    if text and not text.startswith(PROOF):
        raise ValueError("not a proof of a change of the log's key")
    for proof in text.split(PROOF)[1:]:
        head, note = proof.split("\n\n", 1)
        extra, place, *path = head.split("\n")
        leaf = base64_exact(extra.removeprefix("extra "))
        index = int(place.removeprefix("index "))
        event = Message(leaf)
        if not extra.startswith("extra ") or place != f"index {index}" or event.int(3) != LOG_KEY_CHANGE:
            raise ValueError("not a proof of a change of the log's key")
        statement = event.message(21).message(14).text(1)
        header, old, new, where = statement.rpartition("\n\n")[0].split("\n")
        old, new = Key(old), Key(new)
        if header != "truc log key change v1" or where != str(index) or index <= before or old.name != new.name:
            raise ValueError("not a statement about this place of the log")
        if old.text == new.text or (keys and keys[-1][0] != old.text) or event.message(7).text(3) != old.name:
            raise ValueError("the changes do not follow each other")
        open_note(statement, [old, new])
        _, size, root = open_checkpoint(note, old)
        path = [base64_exact(one) for one in path]
        if size != index + 1 or inclusion_root(index, size, sha256(b"\x00", leaf), path) != root:
            raise ValueError("the change is not the last leaf under the old key's last head")
        keys[-1:] = [(old.text, size), (new.text, None)]
        before = index
    return keys


def trusted_key(key, text, trusted):
    """The key that the file names, with the sizes that it signs: trusted, or tied to a trusted one by proven changes."""
    keys = log_keys(text)
    names = [known for known, _ in keys]
    if keys and key not in names:
        raise ValueError("the changes are of another log's key")
    if key not in trusted and not (key in names and any(known in trusted for known in names)):
        raise ValueError(f"{key!r} is not trusted")
    at = names.index(key) if key in names else 0
    first = keys[at - 1][1] + 1 if at else 0
    return Key(key), first, keys[at][1] if keys else None


def check_cosignatures(note, given):
    """Witnesses whose cosignatures are good by the keys beside them (C2SP tlog-cosignature); whose they are, nobody says."""
    text, found = note.rpartition("\n\n")[0] + "\n", {}
    for one in given:
        one = Message(one, {1: bytes, 2: bytes})
        key, line = Key(one.text(1), kind=4), one.text(2)
        stamped = key.signature(line.removesuffix("\n"))
        time = int.from_bytes(stamped[:8], "big")
        if not line.endswith("\n") or "\n" in line[:-1] or time >> 63:
            raise ValueError("not a cosignature")
        key.key.verify(stamped[8:], f"cosignature/v1\ntime {time}\n{text}".encode())
        public = key.key.public_bytes_raw()
        if public in found:
            raise ValueError("a witness twice")
        found[public] = key.name
    return sorted(found.values())


def several_root(leaves, start, end, given):
    """Root over [start, end): a subtree without any of the leaves is the next given hash (RFC 6962 section 2.1)."""
    if not leaves:
        return next(given)
    if end - start == 1:
        return leaves[0][1]
    middle = start + (1 << (end - start - 1).bit_length() - 1)
    left = several_root([leaf for leaf in leaves if leaf[0] < middle], start, middle, given)
    right = several_root([leaf for leaf in leaves if leaf[0] >= middle], middle, end, given)
    return sha256(b"\x01", left, right)


# Evidence


class Envelope:
    """A DSSE envelope; `kind` of a signature is 2 Ed25519, 3 ECDSA P-256, 4 CMS, 0 unknown."""

    def __init__(self, data, canonical=False):
        shape = {1: bytes, 2: bytes, 3: "many"} if canonical else None
        inner = {1: bytes, 2: "choice", 3: "choice", 4: "choice"} if canonical else None
        message = Message(data, shape)
        self.type, self.payload, self.signatures = message.text(1), message.bytes(2), []
        self.data = data
        for signature in message.all(3):
            signature = Message(signature, inner)
            kind = next((number for number in (2, 3, 4) if signature.all(number)), 0)
            self.signatures.append((signature.bytes(1), kind, signature.bytes(kind) if kind else b""))

    def __eq__(self, other):
        mine, other = ((one.type, one.payload, one.signatures) for one in (self, other))
        return mine == other


def check_counters(counters, kind, index):
    """Numbers stand on acceptances and consignments, and name the leaf of the number before."""
    for number in {ACCEPTANCE: (2, 3), CONSIGNMENT: (1,)}.get(kind, (1, 2, 3)):
        if counters.all(number) or kind not in (ACCEPTANCE, CONSIGNMENT):
            raise ValueError("its counters are not those of such an event")
    for number in (1, 2, 3):
        if counters.all(number):
            one = counters.message(number)
            value, before, digest = one.int(1), one.int(2), one.bytes(3)
            first = value == 1 and before == 0 and not digest
            later = value > 1 and before < index and len(digest) == 32
            if not first and not later:
                raise ValueError("a counter that does not have the form of its number")


class Event:
    """One leaf, read."""

    def __init__(self, index, leaf, leaf_hash, origin):
        message = Message(leaf)
        self.index, self.hash, self.kind, self.time = index, leaf_hash, message.int(3), message.int(5)
        if message.int(2) != 1 or self.kind not in EVENTS or message.message(7).text(3) != origin:
            raise ValueError("not evidence of this hub, or of a version that is unknown")
        self.sender = message.message(8).text(1)
        self.recipients = [Message(party).text(1) for party in message.all(9)]
        self.document = (self.sender, message.text(10), message.int(11)) if message.text(10) else None
        self.manifest, self.signatures, self.previous = message.bytes(12), message.all(13), message.bytes(15)
        self.speech = Envelope(message.bytes(17)) if message.all(17) else None
        self.count, self.digest, self.code = message.int(18), message.bytes(19), message.int(20)
        self.change, self.deadline = message.message(21), message.int(23)
        # On whose word it happened: an operator's, in an action that has a leaf of its own.
        self.by_hand, self.redirected_to = bool(message.all(26)) and message.int(27) != 0, message.text(28)
        verdict = message.message(14)
        self.rules, self.as_of, self.legal = verdict.int(1), verdict.int(2), verdict.int(4)
        reports = map(Message, verdict.all(3))
        self.reports = [(r.bytes(1), bool(r.int(2)), r.int(3), r.int(4), r.text(5)) for r in reports]
        self.erasure, self.hold = message.message(30), message.message(31)
        if self.speech and sha256(self.speech.payload) != message.bytes(22):
            raise ValueError("the signed message inside has another digest")
        if message.all(35):
            check_counters(message.message(35), self.kind, index)


# The story


def names(message, event, origin, numbers):
    """Whether a signed message is about the event's document: id, sender, revision and hub at these field numbers."""
    document, sender, revision, hub = numbers
    said = (message.text(sender), message.text(document), message.int(revision))
    return said == event.document and message.text(hub) == origin


class Course:
    """The course of one delivery, replayed by the rules of docs/docproof.md."""

    def __init__(self, event, asks):
        (self.recipient,) = event.recipients
        self.list, self.last, self.deadline, self.end, self.reason = (
            event.previous, event.hash, event.deadline, "WAITING", "")
        self.open, self.code, self.asked, self.held, self.late = True, 0, asks, False, False

    def go_on(self, event, origin, manifest):
        if event.previous != self.last:
            raise ValueError("an event before it is not in the file")
        agency = None
        if event.speech is None:
            self.by_hand(event) if event.kind in (HELD, RELEASED, CANCELLED) else self.expire(event)
        elif event.speech.type == RECEIPT:
            agency = self.receipt(event, origin, manifest)
        else:
            agency = self.status(event, origin)
        self.last = event.hash
        return agency

    def expire(self, event):
        early = event.time < self.deadline and not event.by_hand
        if not self.open or event.kind != HANDOVER_FAILURE or early:
            raise ValueError("no deadline passed")
        self.close("EXPIRED")

    def by_hand(self, event):
        """An operator's word: held, released, sent again after an end without the recipient, or cancelled."""
        again = event.kind == RELEASED and self.late
        if not event.by_hand or not (self.open or again) or (event.kind == RELEASED and not (self.held or again)):
            raise ValueError("no word that an operator can give here")
        self.held = event.kind == HELD
        if event.kind == CANCELLED:
            self.close("CANCELLED")
        elif again:
            self.open, self.late, self.deadline = True, False, event.deadline
            self.end = self.end if self.end == "REFUSED_BY_CLERK" else "WAITING"

    def close(self, end):
        self.open, self.end = False, self.end if self.end == "REFUSED_BY_CLERK" else end
        self.held, self.late = False, end in ("EXPIRED", "CANCELLED")

    def receipt(self, event, origin, manifest):
        said = Message(event.speech.payload)
        outcome = {HANDOVER: 1, REJECTION: 2}.get(event.kind)
        agrees = names(said, event, origin, (1, 2, 3, 9)) and said.bytes(4) == manifest
        in_time = self.open and event.time < self.deadline
        if not agrees or not in_time or said.text(5) != self.recipient or outcome != said.int(6):
            raise ValueError("the signed receipt does not fit the event")
        self.close("REFUSED_BY_SYSTEM" if outcome == 2 else "TAKEN_OVER")
        self.reason = said.text(7) if outcome == 2 else self.reason
        return self.recipient

    def status(self, event, origin):
        said = Message(event.speech.payload)
        code, sender = said.int(6), event.document[0]
        whose = said.text(5) if code == 13 else said.text(4)
        agrees = event.speech.type == STATUS and names(said, event, origin, (1, 2, 3, 9)) and code == event.code
        if not agrees or whose != self.recipient or (code == 13 and said.text(4) != sender):
            raise ValueError("the signed status does not fit the event")
        if event.kind != self.move(code):
            raise ValueError("the event does not follow from the status")
        if event.kind == REJECTION:
            self.end, self.reason = "REFUSED_BY_CLERK", said.text(7)
        return said.text(4)

    def move(self, code):
        """Applies a status code; returns the event that has to prove it."""
        now = self.code
        if code not in (1, 2, 3, 4, 5, 6, 13, 15, 16):
            return RECORDED
        if code == 13:
            if now in (2, 6, 15) or self.asked:
                return RECORDED
            self.asked = True
            return RECALL
        if code in (15, 16):
            if not self.asked:
                return RECORDED
            self.code, self.asked = (15 if code == 15 else now), False
            return BUSINESS
        crosses = (code == 2 and now >= 3) or (now == 2 and code > 2)
        if (code == now and code != 5) or crosses or code < now:
            return RECORDED
        self.code, self.asked = code, self.asked and code != 2
        return {2: REJECTION, 3: REGISTERED}.get(code, BUSINESS)


class Reader:
    """Reads the events of one document."""

    def __init__(self, envelope, events, origin):
        self.origin, self.lists, self.courses, self.speeches = origin, [], {}, []
        self.redirects = {}
        first = (event for event in events if event.kind == ACCEPTANCE and event.speech is None)
        self.first, self.envelope, self.erased = next(first, None), envelope, []
        if envelope is None:
            self.operation = self.operation_of_the_erased(events)
        else:
            self.check_envelope(envelope)
            self.manifest = Message(envelope.payload)
            self.operation = self.manifest.int(13)
            self.speeches.append((self.first, envelope, MANIFEST, self.first.sender))
        for event in events:
            try:
                self.take(event)
            except ValueError as problem:
                raise NotProven("leaf", str(problem), event.index) from None
        for event in self.lists:
            self.check_list(event)

    def check_envelope(self, envelope):
        first, manifest = self.first, Message(envelope.payload)
        agrees = (
            first is not None
            and envelope.type == MANIFEST
            and sha256(envelope.payload) == first.manifest
            and [sha256(value) for _, _, value in envelope.signatures] == first.signatures
            and [key for key, _, _ in envelope.signatures] == [report[0] for report in first.reports]
            and names(manifest, first, self.origin, (1, 4, 2, 9))
        )
        if not agrees:
            raise NotProven("envelope", "not the envelope that the hub accepted")

    def operation_of_the_erased(self, events):
        """Without the envelope the log has to say that it was erased; it also says what the manifest's operation was."""
        for event in events:
            if self.first is not None and event.kind == ERASED and event.erasure.int(1) == ALL:
                self.check_erasure(event)
                return event.erasure.int(7)
        raise NotProven("envelope", "missing, and no evidence says that it was erased")

    def of_document(self, event):
        if event.recipients or event.speech or event.previous != self.first.hash:
            raise ValueError("not about the document as a whole, after its acceptance")

    def check_erasure(self, event):
        self.of_document(event)
        said = event.erasure
        scope, parts, whole = said.int(1), said.all(2), said.bytes(3)
        sizes = {len(part) for part in parts} <= {32}
        if not sizes or (scope, len(whole)) not in ((ATTACHMENTS, 0), (ALL, 32)):
            raise ValueError("does not say what was erased")
        if self.envelope is None:
            return
        named = [Message(part).bytes(4) for part in self.manifest.all(11)]
        if parts != named or said.int(7) != self.manifest.int(13) or (whole and whole != sha256(self.envelope.data)):
            raise ValueError("other contents than the document has")

    def take(self, event):
        if event.kind == DIRECTORY:
            return
        parked = event.kind == PARKED and not event.manifest
        if event.document != self.first.document or (event.manifest != self.first.manifest and not parked):
            raise ValueError("about another document")
        if event.kind == ACCEPTANCE:
            self.lists.append(event)
            if event is not self.first:
                self.added(event)
        elif event.kind == CONSIGNMENT:
            self.consigned(event)
        elif event.kind == ERASED:
            self.check_erasure(event)
            self.erased.append(event)
        elif event.kind == HOLD:
            self.of_document(event)
        elif event.kind != PARKED:
            (recipient,) = event.recipients
            if recipient not in self.courses:
                raise ValueError("its consignment is not in the file")
            agency = self.courses[recipient].go_on(event, self.origin, self.first.manifest)
            if event.kind == CANCELLED:
                self.redirects[event.hash] = event.redirected_to
            if agency is not None:
                self.speeches.append((event, event.speech, event.speech.type, agency))

    def added(self, event):
        said = Message(event.speech.payload) if event.speech else Message(b"")
        agrees = event.speech and event.speech.type == ADDRESSING and said.bytes(4) == event.manifest
        if not agrees or not names(said, event, self.origin, (1, 2, 3, 8)):
            raise ValueError("not an addition of recipients")
        self.speeches.append((event, event.speech, ADDRESSING, event.sender))

    def consigned(self, event):
        course = Course(event, self.operation in (1, 2))
        listed = any(course.list == given.hash for given in self.lists)
        if course.recipient in self.courses or not (listed or self.redirects.get(course.list) == course.recipient):
            raise ValueError("a second consignment, or one without its acceptance")
        self.courses[course.recipient] = course

    def check_list(self, event):
        mine = sorted(course.recipient for course in self.courses.values() if course.list == event.hash)
        digest = sha256("".join(f"{recipient}\n" for recipient in mine).encode())
        if len(mine) > event.count or (len(mine) == event.count and digest != event.digest):
            raise NotProven("leaf", "other recipients than those of the acceptance", event.index)

    def missing(self):
        # Those to whom it was redirected stand in no list.
        lists = {event.hash for event in self.lists}
        listed = sum(course.list in lists for course in self.courses.values())
        return sum(event.count for event in self.lists) - listed


# Keys


def is_good(key, kind, value, message):
    """None if the signature is good, else the code of its problem. The algorithm is the key's."""
    public = serialization.load_der_public_key(key["spki"])
    try:
        if isinstance(public, Ed25519PublicKey) and kind == 2:
            public.verify(value, message)
        elif isinstance(public, ec.EllipticCurvePublicKey) and kind == 3:
            public.verify(value, message, ec.ECDSA(hashes.SHA256()))
        else:
            return UNSUPPORTED
    except InvalidSignature:
        return BAD_SIGNATURE
    return None


def judge(envelope, agency, keys, at):
    """Reports on every signature, and the legal value: as the hub has to have judged."""
    reports, good = [], set()
    message = b"DSSEv1 %d %s %d %s" % (
        len(envelope.type.encode()), envelope.type.encode(), len(envelope.payload), envelope.payload)
    for key_id, kind, value in envelope.signatures:
        key = keys.get(key_id)
        if key is None:
            reports.append((key_id, False, UNKNOWN_KEY, 0, ""))
            continue
        problem = DUPLICATE if key_id in good else is_good(key, kind, value, message)
        if problem is None:
            good.add(key_id)
            over = key["until"] and key["until"] <= at
            problem = KEY_REVOKED if key["revoked"] else KEY_NOT_VALID if at < key["from"] or over else None
        reports.append((key_id, problem is None, problem or 0, key["kind"], key["agency"]))
    kinds = {kind for _, valid, _, kind, whose in reports if valid and whose == agency}
    if not kinds:
        raise ValueError("no valid signature of the agency")
    return reports, 1 if {AGENCY_SEAL, PERSON} <= kinds else 2


def judge_all(reader, events):
    """Judges every signed message with the keys as of the place of the log at which the hub judged it."""
    by_index, cases, used = {event.index: event for event in events}, [], set()
    for event, envelope, kind, agency in reader.speeches:
        came = by_index.get(event.as_of)
        parked = came is not None and came.kind == PARKED and came.speech == envelope
        if event.rules != 1 or not (came is event or parked):
            raise NotProven("leaf", "what its verdict rests on is not in the file", event.index)
        used.add(event.as_of)
        cases.append((event.as_of, event, envelope, kind, agency, came.time))
    for event in events:
        if event.kind == PARKED and event.index not in used:
            raise NotProven("leaf", "belongs to no event of the file", event.index)
    changes, keys = [event for event in events if event.kind == DIRECTORY], {}
    for as_of, event, envelope, kind, agency, at in sorted(cases, key=lambda case: case[0]):
        while changes and changes[0].index < as_of:
            note_key(changes.pop(0).change, keys)
        try:
            if envelope.type != kind or judge(envelope, agency, keys, at) != (event.reports, event.legal):
                raise ValueError("the hub's verdict does not follow")
        except ValueError as problem:
            raise NotProven("leaf", str(problem), event.index) from None
    return len(cases)


def note_key(change, keys):
    if not change.all(5):
        return
    key = change.message(5)
    if sha256(key.bytes(3)) != key.bytes(1):
        raise ValueError("key_id is not the digest of the key")
    keys[key.bytes(1)] = {
        "agency": key.text(2), "spki": key.bytes(3), "kind": key.int(4),
        "from": key.int(5), "until": key.int(6), "revoked": key.int(7),
    }


# The file


def read_file(data):
    """The file in its one allowed form: key, checkpoint, envelope, [(index, leaf, hash)], [hash], changes, [cosignature]."""
    if not data.startswith(MAGIC):
        raise ValueError("does not begin with the magic line")
    shape = {1: bytes, 2: bytes, 3: "many", 4: "many", 5: "many", 20: bytes, 21: "many"}
    file = Message(data[len(MAGIC) :], shape)
    if len(file.all(3)) > 1:
        raise ValueError("two envelopes")
    leaves = [Message(leaf, {1: int, 2: bytes, 3: bytes}) for leaf in file.all(4)]
    envelope = Envelope(file.bytes(3), canonical=True) if file.all(3) else None
    leaves = [(leaf.int(1), leaf.bytes(2), leaf.bytes(3)) for leaf in leaves]
    return file.text(1), file.text(2), envelope, leaves, file.all(5), file.text(20), file.all(21)


def at(place, work, leaf=None):
    """Runs a step; whatever goes wrong in it is a fault of that place."""
    try:
        return work()
    except (ValueError, InvalidSignature, StopIteration, RecursionError) as problem:
        raise NotProven(place, str(problem) or type(problem).__name__, leaf) from None


def check_inclusion(leaves, size, root, given):
    indexes = [index for index, _, _ in leaves]
    if not indexes or indexes != sorted(set(indexes)) or indexes[0] < 0 or indexes[-1] >= size:
        raise ValueError("the leaves are not in order, or not in the tree")
    if any(len(one) != 32 for one in given):
        raise ValueError("a hash has not 32 bytes")
    rest = iter(given)
    found = several_root([(index, one) for index, _, one in leaves], 0, size, rest)
    if found != root or next(rest, None) is not None:
        raise ValueError("the leaves do not give the signed root")


def verify(data, trusted):
    """What the file proves; NotProven with the first fault."""
    key, note, envelope, leaves, given, changes, cosigned = at("file", lambda: read_file(data))
    key, first, last = at("hub_key", lambda: trusted_key(key, changes, trusted))
    origin, size, root = at("checkpoint", lambda: open_checkpoint(note, key))
    if size < first or (last is not None and size > last):
        raise NotProven("checkpoint", "signed by a key of the log that signs heads of other sizes")
    witnesses = at("checkpoint", lambda: check_cosignatures(note, cosigned))
    for index, leaf, leaf_hash in leaves:
        if len(leaf) > 65_535 or sha256(b"\x00", leaf) != leaf_hash:
            raise NotProven("leaf", "damaged", index)
    at("proof", lambda: check_inclusion(leaves, size, root, given))
    events = [at("leaf", lambda one=one: Event(*one, origin), one[0]) for one in leaves]
    reader = at("envelope", lambda: Reader(envelope, events, origin))
    messages = judge_all(reader, events)
    recipients = {course.recipient: course for course in reader.courses.values()}
    return {
        "verdict": "INCOMPLETE" if reader.missing() else "PROVEN",
        "document_id": reader.first.document[1],
        "sender": reader.first.sender,
        "revision": reader.first.document[2],
        "manifest_sha256": reader.first.manifest.hex(),
        "hub": origin,
        "tree_size": size,
        "cosigned_in_the_name_of": witnesses,
        "signed_messages": messages,
        "missing": reader.missing(),
        "erased": [
            {"leaf": event.index, "policy": event.erasure.text(5), "envelope_sha256": event.erasure.bytes(3).hex() or None,
             "parts_sha256": [part.hex() for part in event.erasure.all(2)]}
            for event in reader.erased
        ],
        "recipients": [
            {"recipient": who, "end": recipients[who].end, "status_code": recipients[who].code,
             "reason": recipients[who].reason}
            for who in sorted(recipients)
        ],
    }


def read_trust(path):
    lines = (line.strip() for line in Path(path).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--trust", required=True, help="verifier keys of hubs, one a line")
    arguments = parser.parse_args()
    try:
        answer = verify(Path(arguments.file).read_bytes(), read_trust(arguments.trust))
    except NotProven as fault:
        answer = {"verdict": "NOT_PROVEN", "place": fault.place, "leaf": fault.leaf, "problem": str(fault)}
    print(json.dumps(answer, ensure_ascii=False))
    return 0 if answer["verdict"] == "PROVEN" else 1


if __name__ == "__main__":
    sys.exit(main())
