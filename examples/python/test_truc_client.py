"""Checks what needs no hub. `python -m unittest`"""

import base64
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import truc_client as truc

# The tree of the leaves "one", "two", "three", signed with the seed 00 01 ... 1f: the same values as in the hub's tests.
VKEY = "hub.example/log+73c6f775+AQOhB7/zzhC+HXDdGOdLwJln5NYwm6UNXx3chmQSVTG4"
NOTE = (
    "hub.example/log\n3\nWqx3HImawpLnS/Gv4ubjAvi1WIOy0b8Ze0amvqbavKk=\n\n"
    "\u2014 hub.example/log c8b3dUoNXeo8RYTH/q0qF/c8EsBsHLajwTMPAc+gNfymcUxNJB65pdf4nHTL0DaMPEDD+HNGTBDjkn0p4XmuqIUBCgE=\n"
)
PATH = [
    base64.b64decode("0Nc2CrefWKseHj/mStd+LqC8B+NrX0btIiPt2SmN+ek="),
    base64.b64decode("Zx8UbF5HHooag6PCFM5LqQe486WIjRTMjNPOdbsS75Q="),
]


class Signing(unittest.TestCase):
    def test_pae_counts_bytes(self):
        self.assertEqual(
            truc.pae("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world",
        )
        self.assertEqual(truc.pae("đ", b""), "DSSEv1 2 đ 0 ".encode())

    def test_a_signature_is_for_one_type_of_payload_by_one_key(self):
        pb, key = PROTOCOL.pb, Ed25519PrivateKey.generate()
        envelope = truc.sign_envelope(pb, truc.RECEIPT, pb.RecipientReceipt(recipient="H53"), key)
        truc.verify_envelope(envelope, truc.RECEIPT, key.public_key())
        with self.assertRaises(truc.NotProven):
            truc.verify_envelope(envelope, truc.MANIFEST, key.public_key())
        with self.assertRaises(truc.NotProven):
            truc.verify_envelope(envelope, truc.RECEIPT, Ed25519PrivateKey.generate().public_key())
        envelope.payload += b"x"
        with self.assertRaises(truc.NotProven):
            truc.verify_envelope(envelope, truc.RECEIPT, key.public_key())


class Proofs(unittest.TestCase):
    def test_a_checkpoint_of_another_implementation_opens(self):
        size, root = truc.Verifier.parse(VKEY).open_checkpoint(NOTE)
        self.assertEqual(size, 3)
        self.assertEqual(truc.root_of_path(b"two", 1, size, PATH), root)
        self.assertNotEqual(truc.root_of_path(b"one", 1, size, PATH), root)
        self.assertNotEqual(truc.root_of_path(b"two", 0, size, PATH), root)

    def test_every_changed_character_of_a_checkpoint_is_noticed(self):
        verifier = truc.Verifier.parse(VKEY)
        for at in range(NOTE.index("\n\n") + 1):
            bent = NOTE[:at] + chr(ord(NOTE[at]) ^ 1) + NOTE[at + 1 :]
            with self.assertRaises(truc.NotProven, msg=f"character {at}"):
                verifier.open_checkpoint(bent)
        for wrong in ("", "\n\n", NOTE.rpartition("\n\n")[0], NOTE.replace("\u2014", "-")):
            with self.assertRaises(truc.NotProven):
                verifier.open_checkpoint(wrong)

    def test_paths_have_one_length(self):
        for path in (PATH[:1], PATH + PATH[:1], []):
            with self.assertRaises(truc.NotProven):
                truc.root_of_path(b"two", 1, 3, path)
        with self.assertRaises(truc.NotProven):
            truc.root_of_path(b"two", 3, 3, PATH)

    def test_every_leaf_of_every_small_tree_is_found(self):
        for size in range(1, 20):
            leaves = [bytes([at]) for at in range(size)]
            for index in range(size):
                path = audit_path(index, leaves)
                self.assertEqual(truc.root_of_path(leaves[index], index, size, path), root_of(leaves))

    def test_verifier_keys_carry_their_hash(self):
        for wrong in (VKEY.replace("73c6", "73c7"), VKEY.replace("hub.", "bub."), VKEY[:-4]):
            with self.assertRaises(ValueError):
                truc.Verifier.parse(wrong)

    def test_a_receipt_is_proven_as_a_whole(self):
        pb = PROTOCOL.pb
        evidence = pb.Evidence(document_id="17", issuer=pb.Party(hub="hub.test/log")).SerializeToString()
        receipt, verifier = log_of_one(pb, evidence)
        self.assertEqual(truc.verify_receipt(pb, receipt, verifier).document_id, "17")
        receipt.evidence += b"\x10\x01"
        with self.assertRaises(truc.NotProven):
            truc.verify_receipt(pb, receipt, verifier)
        foreign = pb.Evidence(issuer=pb.Party(hub="other.test/log")).SerializeToString()
        with self.assertRaises(truc.NotProven):
            truc.verify_receipt(pb, *log_of_one(pb, foreign))


class Files(unittest.TestCase):
    def test_names_never_leave_their_folder_nor_replace_each_other(self):
        names = ["a.pdf", "A.pdf", "../../etc/passwd", "..", "", "a.pdf", ".env", ".env", "x\0y"]
        parts = [SimpleNamespace(name=name) for name in names]
        self.assertEqual(
            truc.part_names(parts),
            ["a.pdf", "A-2.pdf", ".._.._etc_passwd", "part", "part-2", "a-3.pdf", ".env", ".env-2", "x_y"],
        )

    def test_digests_are_of_the_whole_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "a")
            path.write_bytes(b"abc" * 100_000)
            size, digest = truc.digest_of_file(path)
            self.assertEqual((size, len(digest)), (300_000, 32))
            path.write_bytes(b"")
            self.assertEqual(truc.digest_of_file(path)[1].hex()[:8], "e3b0c442")


def root_of(leaves):
    """RFC 6962, section 2.1, as it is written there."""
    if len(leaves) == 1:
        return truc.leaf_hash(leaves[0])
    split = largest_power_below(len(leaves))
    return truc.node_hash(root_of(leaves[:split]), root_of(leaves[split:]))


def audit_path(index, leaves):
    """RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    split = largest_power_below(len(leaves))
    if index < split:
        return audit_path(index, leaves[:split]) + [root_of(leaves[split:])]
    return audit_path(index - split, leaves[split:]) + [root_of(leaves[:split])]


def largest_power_below(number):
    return 1 << ((number - 1).bit_length() - 1)


def log_of_one(pb, leaf):
    key = Ed25519PrivateKey.generate()
    public = b"\x01" + key.public_key().public_bytes_raw()
    key_hash = truc.hashlib.sha256(b"hub.test/log\n" + public).digest()[:4]
    text = f"hub.test/log\n1\n{base64.b64encode(truc.leaf_hash(leaf)).decode()}\n"
    signature = base64.b64encode(key_hash + key.sign(text.encode())).decode()
    note = f"{text}\n\u2014 hub.test/log {signature}\n"
    verifier = truc.Verifier.parse(f"hub.test/log+{key_hash.hex()}+{base64.b64encode(public).decode()}")
    return pb.Receipt(evidence=leaf, index=0, checkpoint=note), verifier


PROTOCOL = truc.Protocol()

if __name__ == "__main__":
    unittest.main()
