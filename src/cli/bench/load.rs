//! One run: warm up, measure, finish what is on its way.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use indicatif::ProgressBar;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{
    check::{Check, Checkpoints, Keys},
    circular::{self, Circulars},
    ledger::Ledger,
    letter::Letters,
    meter::{Meter, Reading},
    options::Load,
    pace::Pace,
    receive, send,
    site::Site,
    tally::Tally,
    watch,
    world::{Crowd, World},
};
use crate::{
    cli::{Exit, Failure},
    client::Terms,
    proto::GetOverviewResponse,
};

/// How often the run is looked at.
const LOOK: Duration = Duration::from_millis(100);
/// After the load, this long without any progress ends the waiting for what is on its way.
const PATIENCE: Duration = Duration::from_secs(20);

/// What all tasks of a run share.
pub struct Run {
    /// What load.
    pub load: Load,
    /// What the hub announces.
    pub terms: Terms,
    /// Documents.
    pub letters: Letters,
    /// Keys of all who sign.
    pub keys: Keys,
    checkpoints: Arc<Checkpoints>,
    /// What is on its way.
    pub ledger: Ledger,
    /// What was counted.
    pub tally: Tally,
    /// When the next document goes.
    pub pace: Arc<Pace>,
    /// Ends receiving and watching.
    pub end: CancellationToken,
    broken: AtomicBool,
}

/// What came of a run.
pub struct Outcome {
    /// The run.
    pub run: Arc<Run>,
    /// Readings from the begin to the end of what is measured.
    pub readings: Vec<Reading>,
    /// Circulars that went meanwhile.
    pub circulars: Option<Circulars>,
    /// Acknowledged documents that did not reach everybody, and documents without an answer.
    pub left: (u64, u64),
    /// What the hub says about itself at the end.
    pub overview: Option<GetOverviewResponse>,
    /// Size of the own hub's folder at the end.
    pub disk_bytes: Option<u64>,
}

impl Run {
    /// A check of receipts.
    pub fn check(&self) -> Check {
        Check::new(&self.terms, self.load.sample, &self.checkpoints, &self.tally.sampled)
    }

    /// Something is not what it should be.
    pub fn wrong(&self, what: impl Into<String>) {
        self.tally.wrong.fetch_add(1, Relaxed);
        self.tally.problem(what);
    }

    /// A connection broke: the run ends.
    pub fn broke(&self, what: impl Into<String>) {
        self.broken.store(true, Relaxed);
        self.tally.problem(what);
        self.pace.stop.cancel();
    }
}

/// Runs the load.
pub async fn run(site: &Site, world: Arc<World>, load: &Load) -> Result<Outcome, Failure> {
    let tag = hex::encode(getrandom::u64().unwrap_or_default().to_le_bytes());
    let letters = Letters::new(load, &world.terms, Arc::clone(&world.addresses), tag[..6].to_owned());
    let run = Arc::new(Run {
        load: load.clone(),
        terms: world.terms.clone(),
        letters,
        keys: world.keys(),
        checkpoints: Arc::default(),
        ledger: Ledger::new(),
        tally: Tally::new(),
        pace: Pace::start(load),
        end: CancellationToken::new(),
        broken: AtomicBool::new(false),
    });
    let (mut listeners, mut senders) = (JoinSet::new(), JoinSet::new());
    if !load.no_receive {
        receive::start(&run, &world.recipients, &mut listeners).await?;
        watch::start(&run, &world.senders, &mut listeners).await?;
    }
    send::start(&run, &world.senders, &mut senders).await?;
    let meter = Meter::new(site.hub(), site.folder(), world.operator.clone(), Arc::clone(&run));
    let measured = measure(&run, &meter, world.crowd.as_ref(), &mut senders).await;
    run.pace.stop.cancel();
    let left = finish(&run, &mut senders).await;
    run.end.cancel();
    while listeners.join_next().await.is_some() {}
    let (readings, circulars) = measured?;
    let (overview, disk_bytes) = (meter.overview().await, site.disk_bytes().ok());
    Ok(Outcome { run, readings, circulars, left, overview, disk_bytes })
}

/// Reads the meters until the time is over, everything was handed in, or the connection broke.
async fn measure(
    run: &Arc<Run>,
    meter: &Meter,
    crowd: Option<&Crowd>,
    senders: &mut JoinSet<()>,
) -> Result<(Vec<Reading>, Option<Circulars>), Failure> {
    tokio::time::sleep(run.load.warm_up()).await;
    let begin = Instant::now();
    run.tally.begin(begin);
    let bar = bar(&run.load);
    let mut readings = vec![meter.read_all().await];
    let circulars = async {
        match crowd {
            Some(crowd) => circular::send(run, meter, crowd, begin + run.load.duration).await.map(Some),
            None => Ok(None),
        }
    };
    tokio::pin!(circulars);
    let mut sent = None;
    loop {
        let over = match run.load.documents {
            Some(documents) => done(run) >= documents,
            None => begin.elapsed() >= run.load.duration,
        };
        if (over && sent.is_some()) || run.pace.stop.is_cancelled() {
            break;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            Some(_) = senders.join_next() => continue,
            done = &mut circulars, if sent.is_none() => sent = Some(done?),
        }
        readings.push(meter.read());
        show(&bar, run, begin);
    }
    readings.push(meter.read_all().await);
    bar.finish_and_clear();
    Ok((readings, sent.flatten()))
}

/// Waits for what is on its way; tells what did not come.
async fn finish(run: &Run, senders: &mut JoinSet<()>) -> (u64, u64) {
    let (mut left, mut since) = (run.ledger.left(), Instant::now());
    while since.elapsed() < PATIENCE && left != (0, 0) {
        tokio::time::sleep(LOOK / 4).await;
        let now = run.ledger.left();
        if now != left {
            (left, since) = (now, Instant::now());
        }
    }
    senders.abort_all();
    while senders.join_next().await.is_some() {}
    left
}

fn done(run: &Run) -> u64 {
    run.tally.acknowledged.load(Relaxed) + run.tally.refused.load(Relaxed)
}

fn bar(load: &Load) -> ProgressBar {
    ProgressBar::new(load.documents.unwrap_or_else(|| load.duration.as_secs() * 1000))
}

fn show(bar: &ProgressBar, run: &Run, begin: Instant) {
    match run.load.documents {
        Some(_) => bar.set_position(done(run)),
        None => bar.set_position(u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX)),
    }
}

impl Outcome {
    /// Documents that were acknowledged.
    pub fn documents(&self) -> u64 {
        self.run.tally.acknowledged.load(Relaxed)
    }

    /// What the document of this number is called.
    pub fn document_id(&self, serial: u64) -> String {
        self.run.letters.document_id(serial)
    }

    /// Acknowledgements a second, over all that was measured.
    pub fn acks_per_second(&self) -> f64 {
        let (Some(first), Some(last)) = (self.readings.first(), self.readings.last()) else { return 0.0 };
        let seconds = last.at.duration_since(first.at).as_secs_f64().max(1e-9);
        (last.acknowledged - first.acknowledged) as f64 / seconds
    }

    /// Fails when what was acknowledged did not verify or did not arrive, or the run broke off.
    pub fn verdict(&self) -> Result<(), Failure> {
        let run = &self.run;
        let problems = run.tally.problems();
        let list = problems.iter().map(|(what, times)| format!("{what} ({times} times)"));
        let list = list.collect::<Vec<_>>().join("; ");
        if run.broken.load(Relaxed) {
            return Err(Failure::new(Exit::Unreachable, format!("the run broke off: {list}")));
        }
        if run.tally.wrong.load(Relaxed) > 0 {
            return Err(Failure::new(Exit::Refused, format!("not everything verified: {list}")));
        }
        if self.left != (0, 0) {
            let (unanswered, awaited) = self.left;
            let text =
                format!("{unanswered} documents had no answer, {awaited} handovers did not come: {list}");
            return Err(Failure::new(Exit::Refused, text));
        }
        Ok(())
    }
}
