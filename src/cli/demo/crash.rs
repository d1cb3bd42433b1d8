//! The chapter of the power switch: the hub is killed while documents are in flight.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use prost::Message;
use tokio::{sync::Semaphore, task::JoinSet};

use super::{
    exchange::draft,
    report::Report,
    stage::Stage,
    world::{COMMUNE, DISTRICT},
};
use crate::{
    cli::Failure,
    client::{
        Client, Draft,
        send::{Package, signed_manifest},
    },
    proto::{Receipt, SubmitRequest},
};

/// Documents of this chapter.
const DOCUMENTS: usize = 120;
/// Calls at the same time.
const AT_ONCE: usize = 16;
/// Of these, so many are acknowledged before the hub is killed.
const BEFORE_KILL: usize = 25;

/// Kills the hub with SIGKILL in mid-flight, starts it again, and looks for what was acknowledged.
pub async fn killed_in_flight(stage: &mut Stage, report: &mut Report) -> Result<(), Failure> {
    report.chapter(&format!("{DOCUMENTS} documents are in flight when the hub is killed (SIGKILL)"));
    let packages = packages(stage).await?;
    let acknowledged = submit_until_killed(stage, &packages).await?;
    report.say(&format!("{} were acknowledged before the kill", acknowledged.len()));
    report.count("acknowledged_before_kill", acknowledged.len());

    let since = Instant::now();
    stage.hub.restart().await?;
    report.time("restart_after_kill", since);
    let mut lost = 0;
    let mut changed = 0;
    for package in &packages {
        let sent = stage.send("tavan", package).await?;
        let id = sent.name.document_id.to_string();
        if let Some((_, before)) = acknowledged.iter().find(|(acknowledged, _)| *acknowledged == id) {
            lost += usize::from(!sent.repeat);
            changed += usize::from(sent.receipt.encode_to_vec() != before.encode_to_vec());
        }
    }
    report.count("documents", packages.len());
    report.count("lost", lost);
    report.check(
        "nothing_acknowledged_was_lost",
        "everything acknowledged before the kill is there",
        lost == 0 && acknowledged.len() >= BEFORE_KILL,
    );
    report.check("receipts_survive_the_kill", "and its receipts are the same bytes", changed == 0);

    let since = Instant::now();
    let taken = stage.receive("sapa", 16).await?;
    report.time("deliver_after_kill", since);
    let mut ids: Vec<_> = taken.iter().map(|taken| taken.name.document_id.to_string()).collect();
    ids.sort();
    ids.dedup();
    let all = packages
        .iter()
        .filter_map(|package| name_of(&package.request))
        .all(|id| ids.binary_search(&id).is_ok());
    report.check(
        "every_document_was_delivered",
        "every document reached the district, none twice",
        all && ids.len() == taken.len(),
    );
    report.count("handovers", taken.len());
    Ok(())
}

async fn packages(stage: &mut Stage) -> Result<Vec<Package>, Failure> {
    let mut packages = Vec::with_capacity(DOCUMENTS);
    for _ in 0..DOCUMENTS {
        let letter = Draft { recipients: vec![DISTRICT.into()], ..draft(stage, COMMUNE) };
        packages.push(stage.pack(&letter, stage.world.seal(COMMUNE)).await?);
    }
    Ok(packages)
}

/// Submits everything, kills the hub when some are acknowledged, returns what was.
async fn submit_until_killed(
    stage: &mut Stage,
    packages: &[Package],
) -> Result<Vec<(String, Receipt)>, Failure> {
    let client = Arc::new(stage.world.connect("tavan").await?);
    let (mut work, turns) = (JoinSet::new(), Arc::new(Semaphore::new(AT_ONCE)));
    for package in packages {
        let (client, request, turns) = (Arc::clone(&client), package.request.clone(), Arc::clone(&turns));
        work.spawn(async move {
            let _turn = turns.acquire().await.ok()?;
            submit(&client, request).await
        });
    }
    let mut acknowledged = Vec::new();
    let mut killed = false;
    while let Ok(Some(done)) = tokio::time::timeout(Duration::from_secs(10), work.join_next()).await {
        acknowledged.extend(done.ok().flatten());
        if acknowledged.len() >= BEFORE_KILL && !killed {
            stage.hub.kill().await?;
            killed = true;
        }
    }
    Ok(acknowledged)
}

/// One try: an answer counts only when it was read whole.
async fn submit(client: &Client, request: SubmitRequest) -> Option<(String, Receipt)> {
    let id = name_of(&request)?;
    let answer = client.submission().submit(request).await.ok()?;
    Some((id, answer.into_inner().receipt?))
}

fn name_of(request: &SubmitRequest) -> Option<String> {
    signed_manifest(request).ok().map(|(manifest, _)| manifest.document_id)
}
