//! Power cuts: the real binary on ext4 on a disk whose cache forgets. The ledger of acknowledgements is kept outside of
//! that disk; after each cut everything in it must be there, byte for byte.
//!
//! `TRUC_CUTS=100 cargo test --test power_cut` runs longer; `TRUC_SEED=…` replays moments and policies. Needs root,
//! /dev/fuse and loop devices, and says so where they are missing.

#![allow(clippy::unwrap_used)]

#[path = "rig/crash/mod.rs"]
mod crash;
#[path = "power_cut/disk.rs"]
mod disk;
#[path = "power_cut/machine.rs"]
mod machine;
mod rig;

use std::{fs, io::Write as _, time::Duration};

use crash::CrashRig;
use disk::{Disk, POLICIES, Policy};
use machine::Machine;
use rig::Chance;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_acknowledged_is_lost() {
    if skipped() {
        return;
    }
    let cuts = number("TRUC_CUTS", 4);
    let mut chance = Chance::new();
    let dir = tempfile::tempdir().unwrap();
    let mut machine = Machine::new(dir.path());
    machine.power_on();
    let small = "[store]\nsegment_size = \"16 MiB\"\n";
    let mut rig = CrashRig::start_with(Some(&machine.folder().join("hub")), small).await;
    let (hub, outside) = (&mut rig.hub, &rig.outside);
    for cut in 0..cuts {
        let before = outside.deeds();
        let load = outside.load().await;
        outside.deeds_reach(before + usize::try_from(chance.below(150)).unwrap()).await;
        if chance.below(4) > 0 {
            in_the_middle(machine.disk(), &mut chance).await;
        }
        let policy = POLICIES[usize::try_from(cut % 4).unwrap()];
        let tally = machine.disk().cut(policy, &mut chance);
        // It runs on without its disk for a moment: what it still acknowledges counts.
        tokio::time::sleep(Duration::from_millis(chance.below(100))).await;
        hub.kill().await;
        load.end().await;
        machine.power_off();
        machine.power_on();
        let ready = hub.start().await;
        println!("cut {cut} {policy:?}: {tally:?}, rebuilt {}", ready["rebuilt"]);
        outside.check(before, &mut chance).await;
    }
    outside.check_all(&mut chance).await;
    hub.stop().await;
    let (code, said) = hub.run(&["fsck"]).await;
    assert_eq!(code, Some(0), "{said}");
    println!("{cuts} power cuts: {}", outside.sum());
    assert!(outside.deeds() as u64 > cuts * 10, "the load was no load");
}

/// Waits until the power goes between two writes that belong together; an idle disk is cut as it is.
async fn in_the_middle(disk: &Disk, chance: &mut Chance) {
    disk.arm(1 + chance.below(60));
    for _ in 0..300 {
        if disk.is_frozen() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The control: what nobody synced must be lost, or the disk forgets nothing and the rig proves nothing.
#[test]
fn a_writer_without_fsync_loses() {
    if skipped() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut machine = Machine::new(dir.path());
    let word = b"acknowledged";
    machine.power_on();
    let path = |name: &str| machine.folder().join(name);
    let (careless, careful) = (path("careless"), path("careful"));
    fs::write(&careful, word).unwrap();
    fs::File::open(&careful).unwrap().sync_all().unwrap();
    fs::File::open(machine.folder()).unwrap().sync_all().unwrap();
    let mut file = fs::File::create(&careless).unwrap();
    file.write_all(word).unwrap();
    drop(file);
    machine.disk().cut(Policy::None, &mut Chance(1));
    machine.power_off();
    machine.power_on();
    assert_eq!(fs::read(&careful).unwrap(), word, "what was synced stays");
    assert_ne!(fs::read(&careless).unwrap_or_default(), word, "this disk forgets nothing");
}

fn skipped() -> bool {
    !crash::able("power cuts", &["losetup", "mkfs.ext4", "mount", "umount"])
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}
