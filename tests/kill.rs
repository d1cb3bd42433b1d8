//! kill -9 at random points under a mixed load. The client keeps its own ledger of what was acknowledged; after each
//! restart everything in it must be there, byte for byte, and nothing may reach a wrong agency.
//!
//! `TRUC_KILLS=200 cargo test --test kill` runs longer; `TRUC_SEED=…` replays the moments of the kills; `TRUC_BIN=…` names
//! another binary.

#![allow(clippy::unwrap_used)]

#[path = "rig/crash/mod.rs"]
mod crash;
mod rig;

use std::time::Duration;

use crash::CrashRig;
use rig::Chance;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost() {
    let kills = number("TRUC_KILLS", 5);
    let mut chance = Chance::new();
    let mut rig = CrashRig::start(None).await;
    let (hub, outside) = (&mut rig.hub, &rig.outside);
    let mut in_recovery = 0;
    for kill in 0..kills {
        let before = outside.deeds();
        let load = outside.load().await;
        outside.deeds_reach(before + usize::try_from(chance.below(150)).unwrap()).await;
        tokio::time::sleep(Duration::from_micros(chance.below(20_000))).await;
        hub.kill().await;
        load.end().await;
        while chance.below(4) == 0 {
            hub.spawn();
            tokio::time::sleep(Duration::from_millis(chance.below(150))).await;
            hub.kill().await;
            in_recovery += 1;
        }
        let ready = hub.start().await;
        println!("kill {kill}: {} leaves, rebuilt {}", ready["leaves"], ready["rebuilt"]);
        outside.check(before, &mut chance).await;
    }
    outside.check_all(&mut chance).await;
    hub.stop().await;
    let (code, said) = hub.run(&["fsck"]).await;
    assert_eq!(code, Some(0), "{said}");
    println!("{kills} kills, {in_recovery} of starts: {}", outside.sum());
    assert!(outside.deeds() as u64 > kills * 10, "the load was no load");
}

/// SIGTERM under load: what was still acknowledged while the hub drained counts as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_clean_stop_under_load_loses_nothing() {
    let mut chance = Chance::new();
    let mut rig = CrashRig::start(None).await;
    for stop in 0..number("TRUC_STOPS", 3) {
        let before = rig.outside.deeds();
        let load = rig.outside.load().await;
        rig.outside.deeds_reach(before + usize::try_from(chance.below(150)).unwrap()).await;
        rig.hub.stop().await;
        load.end().await;
        let ready = rig.hub.start().await;
        println!("stop {stop}: {} leaves, {} replayed", ready["leaves"], ready["replayed_commits"]);
        rig.outside.check(before, &mut chance).await;
    }
    rig.outside.check_all(&mut chance).await;
    println!("{}", rig.outside.sum());
}

/// The control: what an earlier copy of the folder has lost, the checks must miss.
#[tokio::test(flavor = "multi_thread")]
async fn a_loss_is_noticed() {
    let mut rig = CrashRig::start(None).await;
    let (data, copy) = (rig.folder().join("hub"), rig.folder().join("copy"));
    for round in 0..2 {
        let load = rig.outside.load().await;
        rig.outside.deeds_reach((round + 1) * 100).await;
        rig.hub.kill().await;
        load.end().await;
        if round == 0 {
            crash::copy_folder(&data, &copy);
        }
        rig.hub.start().await;
    }
    rig.outside.check(0, &mut Chance(1)).await;
    rig.hub.stop().await;
    std::fs::remove_dir_all(&data).unwrap();
    crash::copy_folder(&copy, &data);
    rig.hub.start().await;
    let outside = std::sync::Arc::clone(&rig.outside);
    let checked = tokio::spawn(async move { outside.check(0, &mut Chance(1)).await }).await;
    assert!(checked.unwrap_err().is_panic(), "a lost hour went unnoticed");
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
