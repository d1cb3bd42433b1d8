"""Checks an answer of `truc audit complete -o FILE`, independently of the hub's own code: standard library and
`cryptography` only.

    python check_completeness.py FILE --trust KEYS

Written from docs/completeness.md. One JSON object on standard output; exit code 0 for COMPLETE alone. Every gap is named
as `truc verify` names it.
"""

import argparse
import json
import sys
from datetime import date, timedelta
from pathlib import Path

from verify_docproof import Key, Message, open_checkpoint, several_root, sha256, trusted_key, varint

MAGIC = b"truc completeness v1\n"
ACCEPTANCE, REJECTED, CONSIGNMENT, HANDOVER, EXPIRED, REFUSED, DIGEST, CANCELLED = 1, 2, 3, 5, 6, 8, 74, 79
DAY_US, OFFSET_US = 86_400_000_000, 25_200_000_000
EMPTY = sha256(b"")
# Fields of Deliveries, in the order of their numbers.
SIDE = ["consigned", "handed_over", "refused", "returned", "expired", "pending", "cancelled"]
NUMBERS = ["sent", "sent_first", "sent_last", "rejected", "received_first", "received_last"]


class NotProven(Exception):
    """The file says nothing; in which part the first fault is."""

    def __init__(self, place, problem):
        super().__init__(problem)
        self.place = place


def name(day):
    return str(date(1970, 1, 1) + timedelta(days=day))


def leaf_hash(data):
    return sha256(b"\x00", data)


def tree_root(hashes):
    """RFC 6962 section 2.1, from the leaf hashes."""
    if not hashes:
        return EMPTY
    if len(hashes) == 1:
        return hashes[0]
    middle = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\x01", tree_root(hashes[:middle]), tree_root(hashes[middle:]))


def path_root(leaf, index, size, path):
    """RFC 9162 section 2.1.3.2; None if the path does not fit."""
    if index >= size:
        return None
    node, last = leaf, size - 1
    for sibling in path:
        if last == 0 or len(sibling) != 32:
            return None
        if index & 1 or index == last:
            node = sha256(b"\x01", sibling, node)
            while not index & 1 and index:
                index, last = index >> 1, last >> 1
        else:
            node = sha256(b"\x01", node, sibling)
        index, last = index >> 1, last >> 1
    return node if last == 0 else None


class Evidence:
    """What the checks need of one leaf."""

    def __init__(self, leaf, index, origin):
        message = Message(leaf)
        if message.int(2) != 1 or message.message(7).text(3) != origin or not message.int(3):
            raise ValueError("not evidence of this hub, or of a version that is unknown")
        self.index, self.hash, self.event, self.time = index, leaf_hash(leaf), message.int(3), message.int(5)
        self.sender = message.message(8).text(1)
        self.recipients = [Message(party).text(1) for party in message.all(9)]
        self.code, self.digest = message.int(20), message.bytes(36)
        counters = message.message(35)
        self.sent, self.received, self.pair = (self.counter(counters, at) for at in (1, 2, 3))
        if message.all(35):
            fits = {ACCEPTANCE: not (self.received or self.pair), CONSIGNMENT: not self.sent}
            if not fits.get(self.event, False):
                raise ValueError("its counters are not those of such an event")

    def counter(self, counters, at):
        if not counters.all(at):
            return None
        one = counters.message(at)
        number, previous = one.int(1), (one.int(2), one.bytes(3))
        first = number == 1 and previous == (0, b"")
        later = number > 1 and previous[0] < self.index and len(previous[1]) == 32
        if not (first or later):
            raise ValueError("a counter that is not one")
        return number, previous

    def owners(self):
        return {agency for agency in [self.sender, *self.recipients] if agency}


class Day:
    """What a day was for the agency: as the digest says it, and as its leaves give it."""

    def __init__(self, data=b"", agency=""):
        message = Message(data)
        self.agency, self.evidence, self.root = message.text(1) or agency, message.int(2), message.bytes(3) or EMPTY
        for at, field in enumerate(NUMBERS, 4):
            setattr(self, field, message.int(at))
        self.outgoing, self.incoming = (self.side(message.message(at)) for at in (10, 11))

    @staticmethod
    def side(message):
        return {field: message.int(at) for at, field in enumerate(SIDE, 1)}

    def values(self):
        yield "evidence", self.evidence
        for field in NUMBERS:
            yield field, getattr(self, field)
        for side in ("outgoing", "incoming"):
            for field, value in getattr(self, side).items():
                yield f"{side}.{field}", value

    def recount(self, leaves, agency, before):
        """Counts the leaves as section 3 says; `before` is None where what was pending is not known."""
        self.evidence, self.root = len(leaves), tree_root([leaf.hash for leaf in leaves])
        for side in ("outgoing", "incoming"):
            getattr(self, side)["pending"] = getattr(before, side)["pending"] if before else 0
        for leaf in leaves:
            if leaf.sender == agency:
                self.sent += leaf.event == ACCEPTANCE
                self.rejected += leaf.event == REJECTED
                self.span("sent", leaf.sent)
                self.count(self.outgoing, leaf)
            if agency in leaf.recipients:
                self.span("received", leaf.received)
                self.count(self.incoming, leaf)
        return self

    def span(self, field, counter):
        if counter:
            first = getattr(self, f"{field}_first") or counter[0]
            setattr(self, f"{field}_first", first)
            setattr(self, f"{field}_last", counter[0])

    @staticmethod
    def count(side, leaf):
        by_clerk = leaf.event == REFUSED and leaf.code
        ends = {HANDOVER: "handed_over", EXPIRED: "expired", CANCELLED: "cancelled", REFUSED: "refused"}
        if leaf.event == CONSIGNMENT:
            side["consigned"] += 1
            side["pending"] += 1
        elif by_clerk:
            side["returned"] += 1
        elif leaf.event in ends:
            side[ends[leaf.event]] += 1
            side["pending"] = max(0, side["pending"] - 1)


def without_witnesses(note, key):
    """The note with the log's own signature alone: witnesses may stand below it, and are not asked for here."""
    text, separator, lines = note.rpartition("\n\n")
    own = [line for line in lines.splitlines(keepends=True) if line.startswith(f"\u2014 {key.name} ")]
    return text + separator + "".join(own)


class Check:
    def __init__(self, head, trusted):
        key, note, self.agency = head.text(1), head.text(2), head.text(3)
        self.first, self.last = head.int(4), head.int(5)
        try:
            signer, first, last = trusted_key(key, head.text(6), trusted)
        except Exception as error:
            raise NotProven("hub_key", str(error)) from None
        try:
            self.origin, self.size, self.root = open_checkpoint(without_witnesses(note, signer), signer)
            if self.size < first or (last is not None and self.size > last):
                raise ValueError("signed by a key of the log that signs heads of other sizes")
        except Exception as error:
            raise NotProven("checkpoint", str(error)) from None
        if not self.agency or self.first > self.last:
            raise NotProven("file", "names no agency, or no days")
        self.gaps, self.numbers, self.before, self.start = [], {}, None, None
        self.open, self.said_before, self.ended = None, None, False

    def gap(self, code, **what):
        gap = {"code": code, **what}
        if gap not in self.gaps:
            self.gaps.append(gap)

    # Digests

    def day(self, page):
        self.close()
        if self.ended:
            raise NotProven("file", "more days than were asked for")
        index, leaf = page.int(1), page.bytes(2)
        try:
            evidence = Evidence(leaf, index, self.origin)
            if path_root(evidence.hash, index, self.size, page.all(3)) != self.root:
                raise ValueError("the digest is not in the checkpoint's tree")
            said = Message(evidence.digest)
            day, start, end = said.int(1), said.int(2), said.int(3)
            if evidence.event != DIGEST or not start < end <= index or len(said.bytes(5)) != 32:
                raise ValueError("not a digest of leaves before it")
        except (ValueError, UnicodeDecodeError) as error:
            after = self.before[0] + 1 if self.before else self.first
            return self.gap("DIGEST_NOT_PROVEN", day=name(after), problem=str(error))
        previous = (said.int(6), said.int(7), said.bytes(8))
        if self.before is None:
            missing = day < self.first or (start > 0 and previous[0] >= self.first)
        else:
            missing = previous != self.before[:3] or start != self.before[3] or day <= self.before[0]
        if missing:
            self.gap("DIGEST_MISSING", day=name(previous[0]))
        self.start = start if self.start is None else self.start
        self.ended = day >= self.last
        if self.first <= day <= self.last:
            self.open = (day, range(start, end), self.about(day, said, page), [], [], [])
        self.before = (day, index, evidence.hash, end)

    def about(self, day, digest, page):
        """What the digest says about the agency; None if that is not shown."""
        agencies, root = digest.int(4), digest.bytes(5)
        proof = page.message(4)
        try:
            if not page.all(4):
                raise ValueError("it is not here")
            data = proof.bytes(1)
            if not data:
                self.absent(proof, agencies, root)
                return Day(agency=self.agency)
            said = Day(data)
            if said.agency != self.agency or proof.all(4) or proof.all(5):
                raise ValueError("another agency's day")
            self.entry(self.agency, sha256(data), proof.int(2), agencies, proof.all(3), root)
            return said
        except ValueError as error:
            return self.gap("AGENCY_NOT_PROVEN", day=name(day), problem=str(error))

    @staticmethod
    def entry(agency, day_sha256, position, agencies, path, root):
        entry = leaf_hash(agency.encode() + b"\n" + day_sha256)
        if path_root(entry, position, agencies, path) != root:
            raise ValueError("it is not under the digest's root")

    def absent(self, proof, agencies, root):
        around = [proof.message(at) if proof.all(at) else None for at in (4, 5)]
        for one in filter(None, around):
            self.entry(one.text(1), one.bytes(2), one.int(3), agencies, one.all(4), root)
        before, after = around
        mine = self.agency.encode()
        fits = (before is None or before.bytes(1) < mine) and (after is None or mine < after.bytes(1))
        last = before.int(3) + 1 if before else 0
        fits = fits and last == (after.int(3) if after else agencies)
        if not fits or proof.int(2) or proof.all(3):
            raise ValueError("it does not show that the agency has no day")

    # Leaves

    def leaf(self, page):
        _, indexes, _, places, leaves, _ = self.open
        index, data = page.int(1), page.bytes(2)
        try:
            if index not in indexes:
                raise ValueError("is not of this day")
            if places and index <= places[-1][0]:
                raise ValueError("does not come behind the leaf before")
            places.append((index, leaf_hash(data)))
            if leaf_hash(data) != page.bytes(3):
                raise ValueError("its bytes do not have the hash that stands beside them")
            leaf = Evidence(data, index, self.origin)
            if self.agency not in leaf.owners():
                raise ValueError("does not belong to the agency")
            leaves.append(leaf)
        except ValueError as error:
            return self.gap("LEAF_FOREIGN", leaf=index, problem=str(error))
        to = leaf.recipients[0] if leaf.recipients else ""
        self.number("sent", leaf.sent, leaf)
        if to == self.agency:
            self.number("received", leaf.received, leaf)
            self.number(f"received from {leaf.sender}", leaf.pair, leaf)
        if leaf.sender == self.agency:
            self.number(f"sent to {to}", leaf.pair, leaf)

    def missing(self, counting, first, last):
        if 0 < first <= last:
            self.gap("NUMBER_MISSING", counting=counting, first=first, last=last)

    def number(self, counting, counter, leaf):
        if not counter:
            return
        number, previous = counter
        known = self.numbers.get(counting)
        if known is None:
            if number > 1 and previous[0] >= self.start:
                self.missing(counting, number - 1, number - 1)
        elif number > known[0] + 1:
            self.missing(counting, known[0] + 1, number - 1)
        elif number <= known[0] or (known[1] and previous != known[1]):
            self.gap("NUMBER_WRONG", counting=counting, number=number, leaf=leaf.index)
        self.numbers[counting] = (number, (leaf.index, leaf.hash))

    def close(self):
        if self.open is None:
            return
        (day, _, said, places, leaves, hashes), self.open = self.open, None
        if not self.included(places, hashes):
            self.gap("LEAVES_NOT_PROVEN", day=name(day))
        if said:
            found = Day(agency=self.agency).recount(leaves, self.agency, self.said_before)
            if self.said_before is None:
                for side in ("outgoing", "incoming"):
                    getattr(found, side)["pending"] = getattr(said, side)["pending"]
            for counting in ("sent", "received"):
                self.end_of_day(counting, said, found)
            for (field, one), (_, other) in zip(said.values(), found.values()):
                if one != other:
                    self.gap("COUNT_DIFFERS", day=name(day), field=field, said=one, found=other)
            if said.root != found.root:
                self.gap("ROOT_DIFFERS", day=name(day))
        self.said_before = said

    def end_of_day(self, counting, said, found):
        (a, b), (c, d) = (
            (getattr(one, f"{counting}_first"), getattr(one, f"{counting}_last")) for one in (said, found)
        )
        if (a, b) == (c, d):
            return
        if d == 0:
            self.missing(counting, a, b)
        else:
            self.missing(counting, a, c - 1)
            self.missing(counting, d + 1, b)
        if b > self.numbers.get(counting, (0, None))[0]:
            self.numbers[counting] = (b, None)

    def included(self, places, hashes):
        if not places or any(len(one) != 32 for one in hashes):
            return not places and not hashes
        given = iter(hashes)
        try:
            root = several_root(places, 0, self.size, given)
        except StopIteration:
            return False
        return root == self.root and next(given, None) is None

    def finish(self):
        self.close()
        last = self.before[0] if self.before else None
        if last is None or last < self.last:
            start = max(self.first, last + 1) if last is not None else self.first
            self.gap("DAYS_OPEN", first=name(start), last=name(self.last))
        return self.gaps


# The one allowed form of each page and of what is in it, by field number.
NEIGHBOUR = {1: bytes, 2: bytes, 3: int, 4: "many"}
AGENCY = {1: bytes, 2: int, 3: "many", 4: "many", 5: "many"}
LEAF = {1: int, 2: bytes, 3: bytes}
SHAPES = {
    1: {1: bytes, 2: bytes, 3: bytes, 4: int, 5: int, 6: bytes},
    2: {1: int, 2: bytes, 3: "many", 4: "choice"},
    3: {1: "many"},
    4: {1: "many"},
}


def canonical(kind, page):
    """The messages inside a page are in their one allowed form too."""
    if kind == 2:
        for proof in page.all(4):
            proof = Message(proof, AGENCY)
            if len(proof.all(4)) > 1 or len(proof.all(5)) > 1:
                raise ValueError("two neighbours of one side")
            for neighbour in proof.all(4) + proof.all(5):
                Message(neighbour, NEIGHBOUR)
    if kind == 3:
        for leaf in page.all(1):
            Message(leaf, LEAF)


def pages(file):
    if not file.startswith(MAGIC):
        raise NotProven("file", "does not begin with the line of its kind")
    at = len(MAGIC)
    try:
        while at < len(file):
            length, at = varint(file, at, True)
            if length > len(file) - at:
                raise ValueError("a page is cut")
            page, at = Message(file[at : at + length], {kind: "choice" for kind in SHAPES}), at + length
            if len(page.fields) != 1:
                raise ValueError("a page holds not one thing")
            ((kind, values),) = page.fields.items()
            (value,) = values
            message = Message(value, SHAPES[kind])
            canonical(kind, message)
            yield kind, message
    except (ValueError, KeyError) as error:
        raise NotProven("file", str(error)) from None


def check(file, trusted):
    found = pages(file)
    kind, head = next(found, (0, None))
    if kind != 1:
        raise NotProven("file", "does not begin with a head")
    checked = Check(head, trusted)
    for kind, page in found:
        if kind == 1 or (kind > 2 and checked.open is None):
            raise NotProven("file", "a page that does not belong here")
        if kind == 2:
            checked.day(page)
        elif kind == 3:
            for leaf in page.all(1):
                checked.leaf(Message(leaf))
        else:
            checked.open[5].extend(page.all(1))
    return checked, checked.finish()


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--trust", type=Path, required=True, help="verifier keys that you trust, one a line")
    arguments = arguments.parse_args()
    lines = (line.strip() for line in arguments.trust.read_text().splitlines())
    trusted = [line for line in lines if line and not line.startswith("#")]
    for key in trusted:
        Key(key)
    try:
        checked, gaps = check(arguments.file.read_bytes(), trusted)
    except NotProven as fault:
        print(json.dumps({"verdict": "NOT_PROVEN", "place": fault.place, "problem": str(fault), "gaps": []}))
        return 1
    verdict = "INCOMPLETE" if gaps else "COMPLETE"
    days = [name(checked.first), name(checked.last)]
    print(json.dumps({"verdict": verdict, "agency": checked.agency, "days": days, "gaps": gaps}, ensure_ascii=False))
    return 1 if gaps else 0


if __name__ == "__main__":
    sys.exit(main())
