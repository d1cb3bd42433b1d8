"""Sends, receives, reports and verifies, step by step. `python example.py --help`"""

import argparse
import json
import mimetypes
import sys
import uuid
from datetime import datetime, timedelta, timezone
from pathlib import Path

from google.protobuf.message import DecodeError

import truc_client as truc

VIETNAM = timezone(timedelta(hours=7))


def send(args, client):
    """Signs a document and hands it in."""
    key = truc.read_key(args.agency_key)
    parts, inline = [], []
    for path in args.file:
        parts.append(client.part(path, mimetypes.guess_type(path)[0] or "application/octet-stream"))
        if args.upload or parts[-1].size > client.terms.max_inline_bytes:
            client.upload(path)
        else:
            inline.append(Path(path).read_bytes())
    document = client.pb.DocumentInfo(
        number=args.number,
        notation=args.notation,
        promulgation_date=datetime.now(VIETNAM).strftime("%Y-%m-%d"),
        type_name=args.type,
        subject=args.subject,
    )
    document_id = args.id or f"{args.agency},{datetime.now(VIETNAM).year},{uuid.uuid4()}"
    manifest = client.manifest(args.agency, args.to, document_id, document, parts)
    receipt, evidence = client.submit(manifest, key, inline)
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        save(args.out, client, acceptance=receipt)
    return {
        "document_id": document_id,
        "leaf": receipt.index,
        "event": client.pb.EventKind.Name(evidence.event),
        "warnings": [client.pb.ReasonCode.Name(reason.code) for reason in evidence.reasons],
    }


def receive(args, client):
    """Takes over what waits: checks, saves, signs, acknowledges. The folders are those of `truc receive`."""
    key = truc.read_key(args.agency_key)
    sender_key = truc.read_public_key(args.sender_key) if args.sender_key else None
    taken = []
    for offer in client.fetch([args.agency], args.max, args.wait):
        manifest = client.open_offer(offer)
        if sender_key:
            truc.verify_envelope(offer.envelope, truc.MANIFEST, sender_key)
        if manifest.test:
            # That it came is all there is to it: signed for, and not kept.
            client.acknowledge(offer, key)
            continue
        folder = args.out / f"{offer.acceptance.index:06}"
        (folder / "parts").mkdir(parents=True, exist_ok=True)
        for part, name in zip(manifest.parts, truc.part_names(manifest.parts)):
            client.download(offer, part, folder / "parts" / name)
        (folder / "envelope.pb").write_bytes(offer.envelope.SerializeToString())
        receipt, evidence = client.acknowledge(offer, key)
        save(folder, client, acceptance=offer.acceptance, handover=receipt)
        taken.append(
            {
                "document_id": manifest.document_id,
                "sender": manifest.sender,
                "subject": manifest.document.subject,
                "folder": str(folder),
                "event": client.pb.EventKind.Name(evidence.event),
            }
        )
    return {"received": taken}


def status(args, client):
    """Reports what the agency did with a document."""
    key = truc.read_key(args.agency_key)
    receipt, evidence = client.report(
        args.id, args.sender, args.agency, key, args.code, args.description
    )
    if args.out:
        args.out.mkdir(parents=True, exist_ok=True)
        save(args.out, client, **{f"status-{args.code:02}": receipt})
    return {"leaf": receipt.index, "event": client.pb.EventKind.Name(evidence.event)}


def verify(args):
    """Verifies a receipt with the hub's key, without any network."""
    pb = truc.Protocol(args.proto).pb
    text = Path(args.vkey).read_text() if Path(args.vkey).exists() else args.vkey
    receipt = pb.Receipt.FromString(args.receipt.read_bytes())
    evidence = truc.verify_receipt(pb, receipt, truc.Verifier.parse(text))
    return {
        "ok": True,
        "event": pb.EventKind.Name(evidence.event),
        "document_id": evidence.document_id,
        "sender": evidence.sender.agency,
        "recipients": [party.agency for party in evidence.recipients],
        "time_us": evidence.event_time_us,
        "leaf": receipt.index,
    }


def save(folder, client, **receipts):
    """Keeps proofs beside the key that they verify with."""
    (folder / "hub.vkey").write_text(client.terms.verifier_key + "\n")
    for name, receipt in receipts.items():
        (folder / f"{name}.receipt").write_bytes(receipt.SerializeToString())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--proto", type=Path, default=truc.PROTO_DIR, help="folder of the .proto files")
    steps = parser.add_subparsers(dest="step", required=True)

    hub = argparse.ArgumentParser(add_help=False)
    hub.add_argument("--endpoint", default="localhost:7443", help="host:port of the hub")
    hub.add_argument("--ca", required=True, help="CA of the hub's certificate (PEM)")
    hub.add_argument("--cert", required=True, help="our node's certificate (PEM)")
    hub.add_argument("--key", required=True, help="its private key (PEM)")
    hub.add_argument("--agency", required=True, help="the agency that we act for")
    hub.add_argument("--agency-key", required=True, help="its Ed25519 signing key (PKCS#8 PEM)")

    step = steps.add_parser("send", parents=[hub], help=send.__doc__)
    step.add_argument("--to", required=True, action="append", help="recipient agency, may be repeated")
    step.add_argument("--file", default=[], action="append", help="attachment, may be repeated")
    step.add_argument("--upload", action="store_true", help="upload attachments in chunks, also small ones")
    step.add_argument("--id", help="document id; the same again is a repeat, not a second document")
    step.add_argument("--number", default="1")
    step.add_argument("--notation", default="CV-VP")
    step.add_argument("--type", default="Công văn")
    step.add_argument("--subject", required=True)
    step.add_argument("--out", type=Path, help="folder for the acceptance's proof")

    step = steps.add_parser("receive", parents=[hub], help=receive.__doc__)
    step.add_argument("--out", type=Path, required=True, help="a folder in it for each document")
    step.add_argument("--max", type=int, default=10)
    step.add_argument("--wait", type=float, default=0, help="seconds to wait for the first document")
    step.add_argument("--sender-key", help="public key (PEM) to verify the sender's signature anew")

    step = steps.add_parser("status", parents=[hub], help=status.__doc__)
    step.add_argument("--id", required=True)
    step.add_argument("--sender", required=True)
    step.add_argument("--code", type=int, required=True)
    step.add_argument("--description", default="", help="required for 2, 13 and 16")
    step.add_argument("--out", type=Path, help="folder for the proof")

    step = steps.add_parser("verify", help=verify.__doc__)
    step.add_argument("receipt", type=Path)
    step.add_argument("--vkey", required=True, help="the hub's verifier key, a file or its text")
    return parser.parse_args()


def main():
    args = arguments()
    try:
        if args.step == "verify":
            answer = verify(args)
        else:
            client = truc.Client(truc.Protocol(args.proto), args.endpoint, args.ca, args.cert, args.key)
            answer = {"send": send, "receive": receive, "status": status}[args.step](args, client)
            client.close()
    except (truc.Refused, truc.NotProven, DecodeError) as error:
        print(error, file=sys.stderr)
        return 1
    print(json.dumps(answer, ensure_ascii=False))
    return 0


if __name__ == "__main__":
    sys.exit(main())
