"""A client of a Truc hub, made from the published .proto files alone.

Three parts, each usable by itself:
  signing      pae, sign_envelope, verify_envelope         (DSSE with Ed25519)
  proofs       Verifier, verify_receipt                    (RFC 6962 tree, C2SP checkpoint), offline
  calls        Protocol, Client                            (gRPC over mutual TLS)
"""

import base64
import hashlib
import importlib.resources
import os
import secrets
import sys
import tempfile
import time
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import grpc
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

MANIFEST = "application/vnd.truc.manifest.v1+protobuf"
RECEIPT = "application/vnd.truc.receipt.v1+protobuf"
STATUS = "application/vnd.truc.status.v1+protobuf"

PROTO_DIR = Path(__file__).resolve().parents[2] / "proto"
CHUNK = 256 * 1024
MAX_MESSAGE = 64 * 1024 * 1024
# The hub is full or was restarted: the same request again is always safe.
PASSING = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)


class NotProven(Exception):
    """A proof, a digest or a signature is not what it should be."""


class Refused(Exception):
    """The hub refused; `reasons` holds (code name, detail) pairs."""

    def __init__(self, status, message, reasons):
        told = "; ".join(f"{code}: {detail}" for code, detail in reasons)
        super().__init__(f"{status}: {told or message}")
        self.reasons = reasons


# Signing


def read_key(path):
    """Reads an Ed25519 private key (PKCS#8 PEM), as `truc keygen` or `openssl genpkey` writes it."""
    key = serialization.load_pem_private_key(Path(path).read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError(f"{path}: this example signs with Ed25519 only")
    return key


def read_public_key(path):
    """Reads an Ed25519 public key (SPKI PEM)."""
    return serialization.load_pem_public_key(Path(path).read_bytes())


def key_id(public_key):
    """SHA-256 of the SubjectPublicKeyInfo."""
    der = public_key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(der).digest()


def pae(payload_type, payload):
    """The bytes that are signed."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def sign_envelope(pb, payload_type, message, key):
    """Serializes once, signs, and keeps exactly these bytes."""
    payload = message.SerializeToString()
    signature = pb.Signature(
        key_id=key_id(key.public_key()), ed25519=key.sign(pae(payload_type, payload))
    )
    return pb.SignedEnvelope(payload_type=payload_type, payload=payload, signatures=[signature])


def verify_envelope(envelope, payload_type, public_key):
    """Raises NotProven unless this key signed the envelope."""
    if envelope.payload_type != payload_type:
        raise NotProven(f"the envelope is a {envelope.payload_type}")
    message = pae(envelope.payload_type, envelope.payload)
    for signature in envelope.signatures:
        if signature.key_id != key_id(public_key):
            continue
        try:
            return public_key.verify(signature.ed25519, message)
        except InvalidSignature:
            raise NotProven("the envelope's signature is bad") from None
    raise NotProven("the envelope is not signed by this key")


# Proofs


@dataclass(frozen=True)
class Verifier:
    """A C2SP verifier key: name+hash+base64(0x01 || Ed25519 key)."""

    name: str
    key_hash: bytes
    key: Ed25519PublicKey

    @staticmethod
    def parse(text):
        name, key_hash, encoded = text.strip().split("+", 2)
        kind_and_key = base64.b64decode(encoded, validate=True)
        if len(kind_and_key) != 33 or kind_and_key[0] != 1:
            raise ValueError("not an Ed25519 verifier key")
        expected = hashlib.sha256(name.encode() + b"\n" + kind_and_key).digest()[:4]
        if bytes.fromhex(key_hash) != expected:
            raise ValueError("the hash of the verifier key is wrong")
        return Verifier(name, expected, Ed25519PublicKey.from_public_bytes(kind_and_key[1:]))

    def open_checkpoint(self, note):
        """Checks the signature of a checkpoint and returns (tree size, root)."""
        text, _, signatures = note.rpartition("\n\n")
        text += "\n"
        for line in signatures.removesuffix("\n").split("\n"):
            try:
                mark, name, encoded = line.split(" ")
                blob = base64.b64decode(encoded, validate=True)
            except ValueError:
                raise NotProven("the checkpoint is malformed") from None
            if mark != "\u2014" or name != self.name or blob[:4] != self.key_hash:
                continue
            try:
                self.key.verify(blob[4:], text.encode())
            except InvalidSignature:
                raise NotProven("the checkpoint's signature is bad") from None
            origin, size, root = text.removesuffix("\n").split("\n")
            if origin != self.name:
                raise NotProven(f"the checkpoint is of another log: {origin}")
            return int(size), base64.b64decode(root, validate=True)
        raise NotProven(f"the checkpoint is not signed by {self.name}")


def leaf_hash(leaf):
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of_path(leaf, index, size, path):
    """The root that an audit path leads to (RFC 9162, section 2.1.3.2)."""
    if index >= size:
        raise NotProven("the index is beyond the tree")
    node, last, current = index, size - 1, leaf_hash(leaf)
    for sibling in path:
        if last == 0:
            raise NotProven("the path is too long")
        if node % 2 == 1 or node == last:
            current = node_hash(sibling, current)
            while node % 2 == 0 and node != 0:
                node, last = node >> 1, last >> 1
        else:
            current = node_hash(current, sibling)
        node, last = node >> 1, last >> 1
    if last != 0:
        raise NotProven("the path is too short")
    return current


def verify_receipt(pb, receipt, verifier):
    """Proves that the evidence is in the hub's log, then returns it decoded. Needs no network."""
    size, root = verifier.open_checkpoint(receipt.checkpoint)
    if root_of_path(receipt.evidence, receipt.index, size, receipt.path) != root:
        raise NotProven("the evidence is not in the tree")
    evidence = pb.Evidence.FromString(receipt.evidence)
    if evidence.issuer.hub != verifier.name:
        raise NotProven(f"the evidence was issued by {evidence.issuer.hub}")
    return evidence


# Calls

# google.rpc.Status, as far as it is needed to read why the hub refused.
STATUS_PROTO = """syntax = "proto3";
package example;
import "google/protobuf/any.proto";
message Status { int32 code = 1; string message = 2; repeated google.protobuf.Any details = 3; }
"""


class Protocol:
    """The messages (`pb`) and service stubs (`rpc`), generated at run time into a temporary folder."""

    def __init__(self, proto_dir=PROTO_DIR):
        from grpc_tools import protoc

        self._folder = tempfile.TemporaryDirectory(prefix="truc-stubs-")
        out = self._folder.name
        Path(out, "example_status.proto").write_text(STATUS_PROTO)
        files = [str(file) for file in sorted(Path(proto_dir).glob("truc/v1/*.proto"))]
        google = importlib.resources.files("grpc_tools") / "_proto"
        arguments = [f"-I{proto_dir}", f"-I{out}", f"-I{google}", f"--python_out={out}", f"--grpc_python_out={out}"]
        if protoc.main(["protoc", *arguments, *files, "example_status.proto"]) != 0:
            raise RuntimeError(f"the .proto files in {proto_dir} can't be compiled")
        sys.path.insert(0, out)
        self.pb, self.rpc = SimpleNamespace(), SimpleNamespace()
        for file in files:
            name = Path(file).stem
            self._collect(self.pb, f"truc.v1.{name}_pb2")
            self._collect(self.rpc, f"truc.v1.{name}_pb2_grpc")
        self.status = importlib.import_module("example_status_pb2").Status

    @staticmethod
    def _collect(into, module):
        for name, value in vars(importlib.import_module(module)).items():
            if not name.startswith("_"):
                setattr(into, name, value)


class Client:
    """One connection to a hub."""

    def __init__(self, protocol, endpoint, ca, cert, key):
        self.protocol, self.pb = protocol, protocol.pb
        credentials = grpc.ssl_channel_credentials(
            root_certificates=Path(ca).read_bytes(),
            private_key=Path(key).read_bytes(),
            certificate_chain=Path(cert).read_bytes(),
        )
        options = [("grpc.max_receive_message_length", MAX_MESSAGE)]
        self.channel = grpc.secure_channel(endpoint.removeprefix("https://"), credentials, options)
        self.submission = protocol.rpc.SubmissionServiceStub(self.channel)
        self.delivery = protocol.rpc.DeliveryServiceStub(self.channel)
        self.statuses = protocol.rpc.StatusServiceStub(self.channel)
        self.terms = self.call(self.submission.GetCapabilities, self.pb.GetCapabilitiesRequest())
        self.verifier = Verifier.parse(self.terms.verifier_key)

    def close(self):
        self.channel.close()

    def call(self, method, request, attempts=6):
        """A call; repeated with the very same request while waiting can help."""
        for attempt in range(attempts):
            try:
                return method(request, timeout=120)
            except grpc.RpcError as error:
                if error.code() not in PASSING or attempt + 1 == attempts:
                    raise self.refused(error) from None
                time.sleep(0.25 * 2**attempt)

    def refused(self, error):
        """What the hub says about a refused call, with its stable reason codes."""
        reasons = []
        for name, value in error.trailing_metadata() or ():
            if name != "grpc-status-details-bin":
                continue
            for detail in self.protocol.status.FromString(value).details:
                refusal = self.pb.Refusal()
                if detail.Is(refusal.DESCRIPTOR) and detail.Unpack(refusal):
                    reasons += [(self.pb.ReasonCode.Name(r.code), r.detail) for r in refusal.reasons]
        return Refused(error.code().name, error.details(), reasons)

    def sign(self, payload_type, message, key):
        return sign_envelope(self.pb, payload_type, message, key)

    def check(self, receipt):
        """Verifies a receipt with the key that the hub announced."""
        return verify_receipt(self.pb, receipt, self.verifier)

    def manifest(self, sender, recipients, document_id, document, parts):
        """A manifest for now and for this hub."""
        return self.pb.Manifest(
            document_id=document_id,
            nonce=secrets.token_bytes(16),
            sender=sender,
            recipients=recipients,
            issued_at_us=now_us(),
            hub_origin=self.terms.origin,
            document=document,
            parts=parts,
        )

    def part(self, path, media_type):
        """Names a file by size and digest."""
        size, digest = digest_of_file(path)
        return self.pb.Part(name=Path(path).name, media_type=media_type, size=size, sha256=digest)

    def upload(self, path):
        """Uploads an attachment in chunks, from where an earlier attempt ended."""
        size, digest = digest_of_file(path)
        held = self.call(self.submission.QueryUpload, self.pb.QueryUploadRequest(sha256=digest))
        if held.complete:
            return

        def steps():
            begin = self.pb.UploadBegin(sha256=digest, size=size, offset=held.received)
            yield self.pb.UploadRequest(begin=begin)
            with open(path, "rb") as file:
                file.seek(held.received)
                while chunk := file.read(min(CHUNK, self.terms.max_chunk_bytes)):
                    yield self.pb.UploadRequest(data=chunk)

        try:
            done = self.submission.Upload(steps())
        except grpc.RpcError as error:
            raise self.refused(error) from None
        if not done.complete:
            raise NotProven(f"{path}: the hub holds {done.received} of {size} bytes")

    def submit(self, manifest, key, inline_parts=()):
        """Hands a document in; returns the proven acceptance as (receipt, evidence)."""
        envelope = self.sign(MANIFEST, manifest, key)
        request = self.pb.SubmitRequest(envelope=envelope, inline_parts=inline_parts)
        receipt = self.call(self.submission.Submit, request).receipt
        evidence = self.check(receipt)
        if evidence.manifest_sha256 != hashlib.sha256(envelope.payload).digest():
            raise NotProven("the hub's evidence is about another manifest")
        return receipt, evidence

    def fetch(self, agencies, most=10, wait_seconds=0):
        """Leases what waits for these agencies."""
        request = self.pb.FetchRequest(agencies=agencies, max=most, wait_us=int(wait_seconds * 1e6))
        return self.call(self.delivery.Fetch, request).offers

    def open_offer(self, offer):
        """Checks an offer against its proven acceptance; returns the manifest."""
        evidence = self.check(offer.acceptance)
        if evidence.event != self.pb.SUBMISSION_ACCEPTANCE:
            raise NotProven("the offer comes without an acceptance")
        if evidence.manifest_sha256 != hashlib.sha256(offer.envelope.payload).digest():
            raise NotProven("the offered manifest is not the one that was accepted")
        return self.pb.Manifest.FromString(offer.envelope.payload)

    def download(self, offer, part, path):
        """Fetches an attachment; the file appears only when size and digest are right."""
        digest, size, partial = hashlib.sha256(), 0, Path(f"{path}.partial")
        request = self.pb.DownloadRequest(delivery_id=offer.delivery_id, sha256=part.sha256)
        try:
            with open(partial, "wb") as file:
                for answer in self.delivery.Download(request):
                    file.write(answer.data)
                    digest.update(answer.data)
                    size += len(answer.data)
                    if size > part.size:
                        break
                file.flush()
                os.fsync(file.fileno())
        except grpc.RpcError as error:
            raise self.refused(error) from None
        if (size, digest.digest()) != (part.size, part.sha256):
            partial.unlink()
            raise NotProven(f"{part.name}: not the attachment that was signed")
        partial.rename(path)

    def acknowledge(self, offer, key, refusal=""):
        """Signs that the document was taken over, or refused with a reason; returns the proven (receipt, evidence)."""
        manifest = self.pb.Manifest.FromString(offer.envelope.payload)
        outcome = self.pb.OUTCOME_REFUSED if refusal else self.pb.OUTCOME_ACCEPTED
        message = self.pb.RecipientReceipt(
            document_id=manifest.document_id,
            sender=manifest.sender,
            revision=manifest.revision,
            manifest_sha256=hashlib.sha256(offer.envelope.payload).digest(),
            recipient=offer.recipient,
            outcome=outcome,
            reason=refusal,
            received_at_us=now_us(),
            hub_origin=self.terms.origin,
        )
        request = self.pb.AcknowledgeRequest(envelope=self.sign(RECEIPT, message, key))
        receipt = self.call(self.delivery.Acknowledge, request).receipt
        return receipt, self.check(receipt)

    def report(self, document_id, sender, agency, key, code, description="", revision=0):
        """Reports what the agency did with a document (01 to 06, 15, 16); returns the proven (receipt, evidence)."""
        status = self.pb.BusinessStatus(
            document_id=document_id,
            sender=sender,
            revision=revision,
            code=code,
            description=description,
            occurred_at_us=now_us(),
            hub_origin=self.terms.origin,
            nonce=secrets.token_bytes(16),
        )
        setattr(status, "from", agency)
        request = self.pb.ReportRequest(envelope=self.sign(STATUS, status, key))
        receipt = self.call(self.statuses.Report, request).receipt
        return receipt, self.check(receipt)


def now_us():
    return time.time_ns() // 1000


def part_names(parts):
    """File names for attachments. Their names are the sender's words, so none may leave the folder or replace another."""
    names, taken = [], set()
    for part in parts:
        plain = "".join("_" if c in '/\\:*?"<>|' or unicodedata.category(c) == "Cc" else c for c in part.name)
        plain = plain.encode()[:200].decode(errors="ignore")
        plain = "part" if plain in ("", ".", "..") else plain
        stem, dot, ending = plain.rpartition(".")
        if not stem:
            stem, dot, ending = plain, "", ""
        name, number = plain, 2
        while name.lower() in taken:
            name, number = f"{stem}-{number}{dot}{ending}", number + 1
        taken.add(name.lower())
        names.append(name)
    return names


def digest_of_file(path):
    """Size and SHA-256, in constant memory."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        return file.tell(), digest
