"""Checks a hub's log over HTTPS with nothing of the hub's own code: C2SP checkpoint, tlog-tiles, RFC 6962.

Needs Python 3.10 or newer and `cryptography`. What is believed is the verifier key on the command line, nothing else:

    python3 check_log.py --url https://localhost:7444 --ca certs/ca.pem --vkey hub.vkey \
        [--old checkpoint.last] [--save checkpoint.last] [--index N] [--everything] [--policy FILE]

Ends with 0 when all checks hold, 1 when one fails, 3 when the log can't be reached.
"""

import argparse
import base64
import hashlib
import http.client
import json
import pathlib
import ssl
import sys
import urllib.parse

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

WIDTH = 256
MAX_ANSWER = 256 * (2 + 65535)


class CheckFailed(Exception):
    """The log is not what was signed."""


def require(holds, what):
    if not holds:
        raise CheckFailed(what)


# --- Hashes: RFC 6962, section 2.1 ---


def sha256(data):
    return hashlib.sha256(data).digest()


def leaf_hash(entry):
    return sha256(b"\x00" + entry)


def node_hash(left, right):
    return sha256(b"\x01" + left + right)


def split(size):
    """Largest power of two smaller than size."""
    return 1 << ((size - 1).bit_length() - 1)


def verify_inclusion(leaf, index, size, path, root):
    """RFC 9162, section 2.1.3.2."""
    if index >= size:
        return False
    node, last, current = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if node % 2 == 1 or node == last:
            current = node_hash(sibling, current)
            while node % 2 == 0 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        node, last = node >> 1, last >> 1
    return last == 0 and current == root


# --- Signed notes and checkpoints: C2SP signed-note, tlog-checkpoint ---


class VerifierKey:
    """`name+hash+base64(type || key)`; type 1 signs notes, type 4 cosigns them."""

    def __init__(self, text, kind=1):
        self.name, key_hash, encoded = text.strip().split("+", 2)
        data = base64.b64decode(encoded, validate=True)
        require(len(data) == 33 and data[0] == kind, f"the verifier key is not of type {kind}")
        self.key_hash = sha256(self.name.encode() + b"\n" + data)[:4]
        require(self.key_hash.hex() == key_hash, "the verifier key's hash is wrong")
        self.key = Ed25519PublicKey.from_public_bytes(data[1:])


class Checkpoint:
    """A signed tree head; verified when it exists."""

    def __init__(self, note, key):
        text, separator, signatures = note.rpartition("\n\n")
        require(separator, "the checkpoint is not a signed note")
        text += "\n"
        require(self._is_signed(text, signatures, key), f"the checkpoint is not signed by {key.name}")
        lines = text.split("\n")
        require(len(lines) >= 4, "the checkpoint has fewer than three lines")
        self.origin, size, root = lines[:3]
        require(self.origin == key.name, f"the checkpoint is of {self.origin}, not of {key.name}")
        require(size.isdecimal() and str(int(size)) == size, "the tree size is malformed")
        self.size, self.root, self.note = int(size), base64.b64decode(root, validate=True), note
        require(len(self.root) == 32, "the root has not 32 bytes")

    @staticmethod
    def _is_signed(text, signatures, key):
        found = False
        for line in signatures.split("\n"):
            mark, name, encoded = (line.split(" ", 2) + ["", ""])[:3]
            if mark != "\u2014" or name != key.name:
                continue
            data = base64.b64decode(encoded, validate=True)
            if data[:4] != key.key_hash:
                continue
            try:
                key.key.verify(data[4:], text.encode())
            except InvalidSignature as error:
                raise CheckFailed("the checkpoint's signature is wrong") from error
            found = True
        return found


# --- Witnesses: C2SP tlog-cosignature, tlog-policy ---


def has_cosigned(note, key):
    """True when the note carries a good cosignature/v1 by this witness; a bad one in its name fails the check."""
    text, _, signatures = note.rpartition("\n\n")
    found = False
    for line in signatures.split("\n"):
        mark, name, encoded = (line.split(" ", 2) + ["", ""])[:3]
        data = base64.b64decode(encoded, validate=True) if mark == "\u2014" and name == key.name else b""
        if data[:4] != key.key_hash:
            continue
        time = int.from_bytes(data[4:12], "big")
        try:
            key.key.verify(data[12:], f"cosignature/v1\ntime {time}\n{text}\n".encode())
        except InvalidSignature as error:
            raise CheckFailed(f"the cosignature of {name} is wrong") from error
        found = True
    return found


def check_policy(policy, note):
    """Whether the note is cosigned as the policy asks; its `log` lines are not used here."""
    met, taken, quorum = {}, set(), None
    for number, line in enumerate(policy.split("\n"), 1):
        words = line.split()
        wrong = f"line {number} of the policy is not good"
        if not words or words[0].startswith("#") or words[0] == "log":
            continue
        if words[0] == "witness":
            require(len(words) in (3, 4) and words[1] not in met, wrong)
            met[words[1]] = has_cosigned(note, VerifierKey(words[2], kind=4))
        elif words[0] == "group":
            name, least, *members = words[1:]
            require(members and name not in met and not taken & set(members) and set(members) <= set(met), wrong)
            require(len(set(members)) == len(members), wrong)
            taken |= set(members)
            least = {"any": 1, "all": len(members)}.get(least) or int(least)
            require(1 <= least <= len(members), wrong)
            met[name] = sum(met[member] for member in members) >= least
        else:
            require(words[0] == "quorum" and len(words) == 2 and quorum is None, wrong)
            quorum = True if words[1] == "none" else met.get(words[1])
            require(quorum is not None, wrong)
    require(quorum is not None, "the policy has no quorum")
    require(quorum, "the checkpoint is not cosigned as the policy asks")


# --- The site: C2SP tlog-tiles ---


class Site:
    def __init__(self, url, ca):
        parts = urllib.parse.urlsplit(url)
        self.prefix = parts.path.rstrip("/")
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=ca)
            self.connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=30, context=context)
        else:
            self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=30)

    def get(self, path):
        self.connection.request("GET", f"{self.prefix}/{path}")
        answer = self.connection.getresponse()
        body = answer.read(MAX_ANSWER + 1)
        require(answer.status == 200, f"{path}: the log answers {answer.status}")
        require(len(body) <= MAX_ANSWER, f"{path}: too large")
        return body


def tile_path(row, index, width):
    groups = [f"{index % 1000:03}"]
    while index >= 1000:
        index //= 1000
        groups.insert(0, f"x{index % 1000:03}")
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{row}/{'/'.join(groups)}{partial}"


class Tree:
    """The tree of a checkpoint; hashes come from tiles, and nothing is believed before it leads to the signed root."""

    def __init__(self, site, checkpoint):
        self.site, self.size, self.root = site, checkpoint.size, checkpoint.root
        self.tiles = {}
        # The root follows from the partial tiles at the edge, so this verifies each of them.
        require(self.hash(0, self.size) == self.root, "the tiles do not hash to the signed root")

    def width(self, level, index):
        return min(WIDTH, (self.size >> (8 * level)) - index * WIDTH)

    def tile(self, level, index):
        if (level, index) not in self.tiles:
            width = self.width(level, index)
            path = tile_path(level, index, width)
            data = self.site.get(path)
            require(len(data) == 32 * width, f"{path}: has not {width} hashes")
            hashes = [data[at : at + 32] for at in range(0, len(data), 32)]
            if width == WIDTH:
                above = self.tile(level + 1, index // WIDTH)[index % WIDTH]
                require(mth(hashes) == above, f"{path}: does not hash to the tile above it")
            self.tiles[level, index] = hashes
        return self.tiles[level, index]

    def entries(self, index):
        width = self.width(0, index)
        path = tile_path("entries", index, width)
        data, entries = self.site.get(path), []
        while data:
            length = int.from_bytes(data[:2], "big")
            require(len(data) >= 2 + length, f"{path}: is cut off")
            entries.append(data[2 : 2 + length])
            data = data[2 + length :]
        require(len(entries) == width, f"{path}: has {len(entries)} entries, not {width}")
        return entries

    def hash(self, start, end):
        """MTH(D[start:end]) for any range that RFC 6962 names."""
        size = end - start
        if size == 0:
            return sha256(b"")
        if size & (size - 1) == 0 and start % size == 0:
            return self.complete(size.bit_length() - 1, start // size)
        middle = start + split(size)
        return node_hash(self.hash(start, middle), self.hash(middle, end))

    def complete(self, height, index):
        """Hash of a complete subtree: in a tile, or a few levels above one."""
        level, above = divmod(height, 8)
        first = index << above
        hashes = self.tile(level, first // WIDTH)[first % WIDTH : first % WIDTH + (1 << above)]
        while len(hashes) > 1:
            hashes = [node_hash(*hashes[at : at + 2]) for at in range(0, len(hashes), 2)]
        return hashes[0]

    def inclusion_path(self, index, start, end):
        """PATH of RFC 6962, section 2.1.1, for a leaf in D[start:end]."""
        if end - start == 1:
            return []
        middle = start + split(end - start)
        if index < middle:
            return self.inclusion_path(index, start, middle) + [self.hash(middle, end)]
        return self.inclusion_path(index, middle, end) + [self.hash(start, middle)]


# --- Checks ---


def check(site, key, old_note, index, everything, policy=None):
    done = []
    checkpoint = Checkpoint(site.get("checkpoint").decode(), key)
    done.append(f"the checkpoint of {checkpoint.size} leaves is signed by {key.name}")
    if policy is not None:
        check_policy(policy, checkpoint.note)
        done.append("it is cosigned as the policy asks")
    tree = Tree(site, checkpoint)
    done.append("the tiles hash to the signed root")
    if old_note is not None:
        old = Checkpoint(old_note, key)
        require(old.size <= tree.size, f"the log went back from {old.size} to {tree.size} leaves")
        require(tree.hash(0, old.size) == old.root, f"history forked: the log of {old.size} leaves is not in this one")
        done.append(f"the log of {old.size} leaves is its beginning")
    if index is not None:
        require(index < tree.size, f"there is no leaf {index}")
        entry = tree.entries(index // WIDTH)[index % WIDTH]
        path = tree.inclusion_path(index, 0, tree.size)
        included = verify_inclusion(leaf_hash(entry), index, tree.size, path, tree.root)
        require(included, f"entry {index} is not in the log")
        done.append(f"entry {index} ({len(entry)} bytes) is in the log")
    if everything:
        check_everything(tree)
        done.append(f"all {tree.size} entries and all tiles are what was signed")
    return checkpoint, done


def check_everything(tree):
    level = 0
    while tree.size >> (8 * level):
        count = tree.size >> (8 * level)
        for index in range((count + WIDTH - 1) // WIDTH):
            hashes = tree.tile(level, index)
            if level == 0:
                leaves = [leaf_hash(entry) for entry in tree.entries(index)]
                require(leaves == hashes, f"bundle {index} does not hash to its tile")
        level += 1


def mth(hashes):
    if len(hashes) == 1:
        return hashes[0]
    middle = split(len(hashes))
    return node_hash(mth(hashes[:middle]), mth(hashes[middle:]))


def main():
    parser = argparse.ArgumentParser(description="Checks a hub's log over HTTPS.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--vkey", required=True, help="verifier key: a file or its text")
    parser.add_argument("--ca", help="CAs of the site's certificate (PEM); else the system's")
    parser.add_argument("--old", help="a checkpoint that was saved before")
    parser.add_argument("--save", help="save the checkpoint here when all checks hold")
    parser.add_argument("--index", type=int, help="prove that this entry is in the log")
    parser.add_argument("--everything", action="store_true", help="check all tiles and all entries")
    parser.add_argument("--policy", help="which witnesses have to have cosigned (C2SP tlog-policy)")
    options = parser.parse_args()
    vkey = options.vkey
    if pathlib.Path(vkey).exists():
        vkey = pathlib.Path(vkey).read_text(encoding="utf-8")
    old = pathlib.Path(options.old).read_text(encoding="utf-8") if options.old else None
    try:
        site = Site(options.url, options.ca)
        policy = pathlib.Path(options.policy).read_text(encoding="utf-8") if options.policy else None
        checkpoint, done = check(site, VerifierKey(vkey), old, options.index, options.everything, policy)
    except (CheckFailed, ValueError) as error:
        print(f"FAILED: {error}", file=sys.stderr)
        return 1
    except (OSError, http.client.HTTPException) as error:
        print(f"the log can't be reached: {error}", file=sys.stderr)
        return 3
    if options.save:
        pathlib.Path(options.save).write_text(checkpoint.note, encoding="utf-8")
    print(json.dumps({"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex(), "checked": done}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
