//! The chapter of the auditor: proofs as files, checked without the hub; a tampered one fails.

use std::{path::Path, time::Instant};

use super::{
    report::Report,
    stage::{Stage, patience},
};
use crate::{
    cli::{Exit, Failure, receipt_files},
    client::timeline,
    proto::{GetConsistencyRequest, GetTimelineRequest, GetTimelineResponse},
    tlog::{checkpoint::Checkpoint, merkle, note::Verifier},
    verify,
};

/// Exports the proofs of the commune's report, kills the hub, and verifies them from the files alone.
pub async fn receipts_verify_offline(stage: &mut Stage, report: &mut Report) -> Result<(), Failure> {
    report.chapter("An auditor takes the proofs home and checks them without the hub");
    let folder = stage.dir.join("receipts");
    let verifier = stage.terms.verifier.clone();
    receipt_files::write_vkey(&folder, &verifier)?;
    let events = events(stage, &stage.report_id.clone()).await?;
    let mut written = Vec::new();
    for event in &events {
        written.push(receipt_files::write(&folder, &event.receipt, &verifier)?);
    }
    report.receipts_dir(&folder);
    report.count("proofs_exported", written.len());

    let since = Instant::now();
    let mut good = 0;
    let mut tampered = 0;
    for pair in &written {
        let (leaf, proof) = (read(&pair.evidence)?, read(&pair.tlog_proof)?);
        let proof = String::from_utf8(proof).map_err(|error| Failure::new(Exit::File, error))?;
        good += usize::from(verify::evidence_with_proof(&leaf, &proof, &verifier).is_ok());
        let mut forged = leaf.clone();
        let middle = forged.len() / 2;
        forged[middle] ^= 1;
        tampered += usize::from(verify::evidence_with_proof(&forged, &proof, &verifier).is_err());
    }
    report.time("verify_offline", since);
    report.check(
        "receipts_verify_offline",
        &format!("{good} proofs verify with the hub's key alone"),
        good == written.len() && good >= 7,
    );
    report.check(
        "tampered_receipt_fails",
        "each of them fails with one flipped bit",
        tampered == written.len(),
    );
    report.check(
        "log_is_consistent",
        "the newest log extends every checkpoint in these proofs",
        consistent(stage, &events, &verifier).await?,
    );
    let overview = stage.world.connect("operator").await?.operator();
    let mut overview = overview;
    let numbers = overview.get_overview(crate::proto::GetOverviewRequest {}).await?.into_inner();
    report.count("leaves", usize::try_from(numbers.leaves).unwrap_or(usize::MAX));
    report.check(
        "nothing_is_forgotten",
        "what still waits is exactly the silent commune's circular",
        numbers.waiting == 1,
    );
    Ok(())
}

/// Everything about one document, as the auditor sees it.
pub async fn timeline(stage: &Stage, document_id: &str) -> Result<GetTimelineResponse, Failure> {
    let client = stage.world.connect("auditor").await?;
    let request = GetTimelineRequest { document_id: document_id.into(), ..GetTimelineRequest::default() };
    Ok(timeline::read(&client, &stage.terms, request, &patience(), |_| true).await?)
}

async fn events(stage: &Stage, document_id: &str) -> Result<Vec<timeline::Event>, Failure> {
    let client = stage.world.connect("auditor").await?;
    let request = GetTimelineRequest { document_id: document_id.into(), ..GetTimelineRequest::default() };
    let mut events = Vec::new();
    timeline::read(&client, &stage.terms, request, &patience(), |event| {
        events.push(event);
        true
    })
    .await?;
    Ok(events)
}

async fn consistent(stage: &Stage, events: &[timeline::Event], verifier: &Verifier) -> Result<bool, Failure> {
    let client = stage.world.connect("auditor").await?;
    let newest = client.audit().get_checkpoint(crate::proto::GetCheckpointRequest {}).await?.into_inner();
    let Ok(newest) = Checkpoint::open(&newest.checkpoint, verifier) else { return Ok(false) };
    for event in events {
        let Ok(old) = Checkpoint::open(&event.receipt.checkpoint, verifier) else { return Ok(false) };
        let request = GetConsistencyRequest { first: old.size, second: newest.size };
        let proof = client.audit().get_consistency(request).await?.into_inner();
        let path: Option<Vec<_>> = proof.path.iter().map(|hash| hash[..].try_into().ok()).collect();
        let holds = path.is_some_and(|path| {
            merkle::verify_consistency(old.size, newest.size, &old.root, &newest.root, &path)
        });
        if !holds {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::new(Exit::File, error))
}
