//! The senders' watches: here they hear that a document was handed over.

use std::sync::Arc;

use tokio::task::JoinSet;
use tonic::Streaming;

use super::{check::Check, load::Run, world::Office};
use crate::{
    cli::Failure,
    proto::{EventKind, Receipt, WatchRequest, WatchResponse},
};

/// Starts a watch for each sending agency.
pub async fn start(run: &Arc<Run>, offices: &[Arc<Office>], work: &mut JoinSet<()>) -> Result<(), Failure> {
    for office in offices {
        for seat in &office.seats {
            let request = WatchRequest {
                agency: seat.agency.clone(),
                cursor: String::new(),
                once: false,
                from_now: false,
            };
            let entries = office.client.status().watch(request).await?.into_inner();
            work.spawn(follow(Arc::clone(run), entries));
        }
    }
    Ok(())
}

async fn follow(run: Arc<Run>, mut entries: Streaming<WatchResponse>) {
    let mut check = run.check();
    let end = run.end.clone();
    let ended = end.run_until_cancelled(listen(&run, &mut check, &mut entries)).await;
    if let Some(problem) = ended {
        run.broke(format!("a watch: {problem}"));
    }
}

async fn listen(run: &Run, check: &mut Check, entries: &mut Streaming<WatchResponse>) -> String {
    loop {
        match entries.message().await {
            Ok(Some(entry)) => heard(run, check, &entry.receipt.unwrap_or_default()),
            Ok(None) => return "the hub ended it".into(),
            Err(status) => return status.to_string(),
        }
    }
}

fn heard(run: &Run, check: &mut Check, receipt: &Receipt) {
    let evidence = match check.read(receipt) {
        Ok(evidence) => evidence,
        Err(problem) => return run.wrong(format!("an entry of a watch: {problem}")),
    };
    // Documents of other runs are nobody's here.
    let Some(serial) = run.letters.serial(&evidence.document_id) else { return };
    match evidence.event() {
        EventKind::SubmissionAcceptance => {}
        EventKind::ContentHandover => {
            let recipient = evidence.recipients.first().map_or("", |party| &party.agency);
            if let Err(problem) = check.signature(evidence.recipient_receipt.as_ref(), &run.keys, recipient) {
                run.wrong(format!("a recipient's receipt: {problem}"));
            }
            handed_over(run, serial, &evidence.manifest_sha256);
        }
        event => run.wrong(format!("{} in a watch", event.as_str_name())),
    }
}

fn handed_over(run: &Run, serial: u64, manifest_sha256: &[u8]) {
    let Some(moved) = run.ledger.handed_over(serial) else {
        return run.wrong(format!("a handover that nobody waits for: {serial}"));
    };
    if moved.open.manifest_sha256.as_bytes()[..] != *manifest_sha256 {
        run.wrong("a handover of another manifest");
    }
    run.tally.delivered(moved.open.since);
    if moved.done {
        run.pace.arrived();
    }
}
