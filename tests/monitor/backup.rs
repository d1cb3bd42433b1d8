//! `docs/backup.md`, done as it says, with a hub that has traffic all the time.

use std::{
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use prost::Message as _;
use truc::{
    cli::demo::{
        process::{HubProcess, free_port},
        world::{COMMUNE, DISTRICT},
    },
    client::{Client, ClientOptions},
    domain::envelope,
    proto::*,
};

use crate::rig::{Rig, letter, part, soon};

/// Commands of the guide, by the heading that they stand under.
fn commands(heading: &str) -> Vec<String> {
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/backup.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let section = guide.split("\n## ").find(|section| section.starts_with(heading)).expect(heading);
    let blocks = section.split("```sh\n").skip(1).map(|block| block.split("```").next().unwrap());
    let commands: Vec<_> = blocks.flat_map(str::lines).map(str::to_owned).collect();
    assert!(!commands.is_empty(), "{heading} has no commands");
    commands
}

/// Runs a command of the guide, with its places moved into the test's folder.
fn run(command: &str, places: &[(&str, &Path)]) -> String {
    let moved = places.iter().fold(command.to_owned(), |command, (place, here)| {
        command.replace(place, &here.display().to_string())
    });
    let words: Vec<_> = moved.split(' ').collect();
    let program = if words[0] == "truc" { env!("CARGO_BIN_EXE_truc") } else { words[0] };
    let output = Command::new(program).args(&words[1..]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{moved}: {text}");
    text.into_owned()
}

/// A letter with an attachment, as it goes over the wire.
fn request(rig: &Rig, id: &str) -> SubmitRequest {
    let body = bytes::Bytes::from(format!("attachment of {id} ").repeat(500));
    let mut manifest = letter(id, &[DISTRICT]);
    manifest.parts = vec![part("a.pdf", &body)];
    let envelope = envelope::sign(envelope::MANIFEST, manifest.encode_to_vec().into(), &[rig.seal(COMMUNE)]);
    SubmitRequest { envelope: Some(envelope), inline_parts: vec![body] }
}

async fn send(client: &Client, request: &SubmitRequest) -> Vec<u8> {
    let answer = client.submission().submit(request.clone()).await.unwrap().into_inner();
    answer.receipt.unwrap().encode_to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hub_is_backed_up_while_it_works_and_lives_again() {
    let mut rig = Rig::start().await;
    let away = tempfile::tempdir().unwrap();
    let (backup, config) = (away.path().join("backup"), rig.dir.path().join("truc.toml"));
    let places = [("/etc/truc/truc.toml", config.as_path()), ("/backup/truc", backup.as_path())];
    let client = rig.connect("tavan").await;
    let mut acknowledged = Vec::new();
    let stop = Arc::new(AtomicBool::new(false));
    for round in 0..4 {
        for at in 0..5 {
            let request = request(&rig, &format!("kept-{round}-{at}"));
            let receipt = send(&client, &request).await;
            acknowledged.push((request, receipt));
        }
        // Traffic while the backup runs, of which some may be in it.
        stop.store(false, Ordering::Relaxed);
        let (going, sender) = (Arc::clone(&stop), client.clone());
        let more: Vec<_> = (0..500).map(|at| request(&rig, &format!("more-{round}-{at}"))).collect();
        let traffic = tokio::spawn(async move {
            for request in more.iter().take_while(|_| !going.load(Ordering::Relaxed)) {
                send(&sender, request).await;
            }
        });
        let commands = commands("A backup");
        let told = tokio::task::spawn_blocking({
            let (places, commands) = (places.map(|(from, to)| (from, to.to_owned())), commands);
            move || {
                let places = places.each_ref().map(|(from, to)| (*from, to.as_path()));
                commands.iter().map(|command| run(command, &places)).collect::<Vec<_>>()
            }
        });
        let told = told.await.unwrap();
        stop.store(true, Ordering::Relaxed);
        traffic.await.unwrap();
        assert!(told[0].contains("copied"), "{told:?}");
    }
    rig.hub.kill().await.unwrap();

    // The disk is gone; another machine has keys and configuration.
    let port = free_port().unwrap();
    let (restored, moved) = (away.path().join("restored"), rig.dir.path().join("moved.toml"));
    std::fs::create_dir(&restored).unwrap();
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(&rig.port.to_string(), &port.to_string());
    let text = text.replace("data_dir = \"hub\"", &format!("data_dir = {restored:?}"));
    std::fs::write(&moved, text).unwrap();
    let places = [
        ("/etc/truc/truc.toml", moved.as_path()),
        ("/backup/truc", backup.as_path()),
        ("/var/lib/truc", restored.as_path()),
    ];
    commands("Restore").iter().for_each(|command| drop(run(command, &places)));
    let program = Path::new(env!("CARGO_BIN_EXE_truc"));
    let _hub = HubProcess::start(program, &moved).await.unwrap();
    let certs = rig.certs();
    let options = ClientOptions {
        endpoint: format!("https://localhost:{port}"),
        ca: certs.join("ca.pem"),
        cert: certs.join("tavan.pem"),
        key: certs.join("tavan.key"),
        domain: None,
    };
    let client = soon(Client::connect(&options)).await.unwrap();
    for (request, receipt) in &acknowledged {
        assert!(&send(&client, request).await == receipt, "the same receipt, byte for byte");
    }
}
