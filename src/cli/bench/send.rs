//! The senders.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use tokio::task::JoinSet;

use super::{
    check::Check,
    ledger::Open,
    load::Run,
    options::Mode,
    world::{Office, Seat},
};
use crate::{
    cli::Failure,
    client::{
        refusal::Refusal,
        stream::{Answer, Answers, Requests},
    },
    proto::{EventKind, Receipt, SubmitRequest},
};

/// Starts everything that hands in documents.
pub async fn start(run: &Arc<Run>, offices: &[Arc<Office>], work: &mut JoinSet<()>) -> Result<(), Failure> {
    for office in offices {
        match run.load.mode {
            Mode::Stream => streams(run, office, offices.len(), work).await?,
            Mode::Unary => calls(run, office, offices.len(), work),
        }
    }
    Ok(())
}

/// One stream, and as many tasks that sign as keep all cores busy.
async fn streams(
    run: &Arc<Run>,
    office: &Arc<Office>,
    offices: usize,
    work: &mut JoinSet<()>,
) -> Result<(), Failure> {
    let (requests, answers) = office.client.submit_stream(run.load.in_flight).await?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    for _ in 0..cores.div_ceil(offices) {
        work.spawn(hand_in(Arc::clone(run), Arc::clone(office), requests.clone()));
    }
    work.spawn(hear(Arc::clone(run), answers));
    Ok(())
}

async fn hand_in(run: Arc<Run>, office: Arc<Office>, requests: Requests) {
    while let Some((serial, request)) = next(&run, &office).await {
        if !requests.send(serial, request).await {
            return;
        }
    }
}

async fn hear(run: Arc<Run>, mut answers: Answers) {
    let mut check = run.check();
    loop {
        match answers.next().await {
            Ok(Some((serial, Answer::Accepted(receipt)))) => accepted(&run, &mut check, serial, &receipt),
            Ok(Some((serial, Answer::Refused(refused)))) => {
                refuse(&run, serial, &Refusal::of_stream(&refused), &refused.message);
            }
            Ok(None) => break,
            Err(error) => {
                run.broke(format!("a stream of submissions: {error}"));
                break;
            }
        }
    }
}

/// As many tasks as documents may be in flight, each with one call at a time.
fn calls(run: &Arc<Run>, office: &Arc<Office>, offices: usize, work: &mut JoinSet<()>) {
    for _ in 0..run.load.in_flight.div_ceil(offices) {
        work.spawn(call(Arc::clone(run), Arc::clone(office)));
    }
}

async fn call(run: Arc<Run>, office: Arc<Office>) {
    let mut check = run.check();
    let mut service = office.client.submission();
    while let Some((serial, request)) = next(&run, &office).await {
        match service.submit(request).await {
            Ok(answer) => {
                let receipt = answer.into_inner().receipt.unwrap_or_default();
                accepted(&run, &mut check, serial, &receipt);
            }
            Err(status) => {
                let refusal = Refusal::of(&status);
                if refusal.reasons.is_empty() {
                    run.broke(format!("a submission: {status}"));
                    return;
                }
                refuse(&run, serial, &refusal, status.message());
            }
        }
    }
}

/// Signs the next document and waits until it may go.
async fn next(run: &Run, office: &Office) -> Option<(u64, SubmitRequest)> {
    let serial = run.pace.next()?;
    let letter = run.letters.write(seat(office, serial), serial);
    let since = run.pace.turn().await?;
    let awaited = if run.load.no_receive { 0 } else { run.load.fan_out };
    let open = Open { since, manifest_sha256: letter.manifest_sha256, awaited, answered: false };
    run.ledger.open(serial, open);
    Some((serial, letter.request))
}

fn seat(office: &Office, serial: u64) -> &Seat {
    &office.seats[usize::try_from(serial).unwrap_or(0) % office.seats.len()]
}

fn accepted(run: &Run, check: &mut Check, serial: u64, receipt: &Receipt) {
    let Some(moved) = run.ledger.acknowledged(serial) else {
        return run.wrong(format!("an answer that nobody waits for: {serial}"));
    };
    let proven = check.proves(receipt, EventKind::SubmissionAcceptance, &moved.open.manifest_sha256);
    if let Err(problem) = proven {
        run.wrong(format!("an acknowledgement: {problem}"));
    }
    run.tally.acknowledged(moved.open.since);
    run.pace.answered();
    if moved.done {
        run.pace.arrived();
    }
}

fn refuse(run: &Run, serial: u64, refusal: &Refusal, message: &str) {
    let code = refusal.code().map_or("UNSPECIFIED", |code| code.as_str_name());
    run.tally.refused.fetch_add(1, Relaxed);
    run.tally.problem(format!("refused with {code}: {message}"));
    if run.ledger.close(serial).is_some() {
        run.pace.answered();
        run.pace.arrived();
    }
}
