//! A copy served by any web server, and everything that can be changed in it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::stage::{Outcome, Stage, copy, mirror};

/// What is served instead of a file; `None` for 404.
pub type Change = Arc<dyn Fn(&str, Vec<u8>) -> Option<Vec<u8>> + Send + Sync>;

/// A folder behind a web server of a few lines. Ends with its value.
pub struct Web {
    pub url: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Web {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Web {
    pub async fn serve(dir: &Path, change: Change) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let dir = dir.to_owned();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(answer(socket, dir.clone(), Arc::clone(&change)));
            }
        });
        Self { url, task }
    }
}

async fn answer(mut socket: TcpStream, dir: PathBuf, change: Change) {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        match socket.read_u8().await {
            Ok(byte) => request.push(byte),
            Err(_) => return,
        }
    }
    let path =
        String::from_utf8(request).unwrap().split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
    let found = std::fs::read(dir.join(&path)).ok().and_then(|bytes| change(&path, bytes));
    let status = if found.is_some() { "200 OK" } else { "404 Not Found" };
    let body = found.unwrap_or_default();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let _ = socket.write_all(&[head.as_bytes(), &body].concat()).await;
}

fn unchanged() -> Change {
    Arc::new(|_, bytes| Some(bytes))
}

/// `change` for one file only.
fn only(path: &'static str, change: impl Fn(Vec<u8>) -> Option<Vec<u8>> + Send + Sync + 'static) -> Change {
    Arc::new(move |asked, bytes| if asked == path { change(bytes) } else { Some(bytes) })
}

fn flip(path: &'static str, at: usize) -> Change {
    only(path, move |mut bytes| {
        bytes[at] ^= 1;
        Some(bytes)
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_served_again_and_every_change_in_it_is_noticed() {
    let stage = Stage::open().await;
    stage.grow(0..20).await;
    stage.mirror("old").await.good();
    stage.grow(20..600).await;
    let size = stage.mirror("copy").await.good()["size"].clone();
    let look = async |dir: &str, change: Change| -> Outcome {
        let web = Web::serve(&stage.path("copy"), change).await;
        mirror(&stage.path(dir), &web.url, &stage.trust(), &[]).await
    };

    assert_eq!(look("second", unchanged()).await.good()["size"], size, "a mirror of the mirror");
    for (change, fault) in [
        (flip("tile/0/000", 0), "WRONG_TILE"),
        (flip("tile/0/001", 8191), "WRONG_TILE"),
        (flip("tile/1/000.p/2", 40), "WRONG_TILE"),
        (
            only("tile/0/000", |mut bytes| {
                bytes.truncate(8160);
                Some(bytes)
            }),
            "WRONG_TILE",
        ),
        (only("tile/0/001", |_| None), "MISSING"),
        (flip("tile/entries/000", 100), "WRONG_ENTRY"),
        (flip("tile/entries/001", 1), "WRONG_BUNDLE"),
        (only("tile/entries/001", without_first_entry), "WRONG_BUNDLE"),
        (only("tile/entries/000", with_first_entry_twice), "WRONG_BUNDLE"),
        (flip("checkpoint", 30), "NOT_SIGNED"),
    ] {
        // What knows nothing yet, and what knows an older checkpoint.
        copy(&stage.path("old"), &stage.path("known"));
        for dir in ["fresh", "known"] {
            let evidence = look(dir, Arc::clone(&change)).await.fault(fault);
            assert!(evidence.join("checkpoint-seen").exists());
            assert_eq!(evidence.join("checkpoint-kept").exists(), dir == "known");
            assert_eq!(look(dir, unchanged()).await.good()["size"], size, "{dir} goes on once it is mended");
            std::fs::remove_dir_all(stage.path(dir)).unwrap();
        }
    }

    let replayed = std::fs::read(stage.path("old/checkpoint")).unwrap();
    look("second", only("checkpoint", move |_| Some(replayed.clone()))).await.fault("WENT_BACK");
    a_mirror_that_was_stopped_goes_on(&stage).await;
}

/// The site goes away after some files; what was verified is not fetched again, and what is damaged here is.
async fn a_mirror_that_was_stopped_goes_on(stage: &Stage) {
    let dir = stage.path("stopped");
    let bundles_gone: Change = Arc::new(|path, bytes| (!path.starts_with("tile/entries")).then_some(bytes));
    let web = Web::serve(&stage.path("copy"), bundles_gone).await;
    mirror(&dir, &web.url, &stage.trust(), &[]).await.fault("MISSING");
    assert!(dir.join("tile/0/000").exists() && dir.join("checkpoint.pending").exists());
    assert!(!dir.join("checkpoint").exists(), "not before everything is there");

    let mut damaged = std::fs::read(dir.join("tile/0/001")).unwrap();
    damaged[5] ^= 1;
    std::fs::write(dir.join("tile/0/001"), damaged).unwrap();
    let fetched_0 = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counter = Arc::clone(&fetched_0);
    let counting: Change = Arc::new(move |path, bytes| {
        counter.fetch_add(u32::from(path == "tile/0/000"), std::sync::atomic::Ordering::Relaxed);
        Some(bytes)
    });
    let web = Web::serve(&stage.path("copy"), counting).await;
    mirror(&dir, &web.url, &stage.trust(), &[]).await.good();
    assert_eq!(fetched_0.load(std::sync::atomic::Ordering::Relaxed), 0);
    let same = |path: &str| {
        std::fs::read(dir.join(path)).unwrap() == std::fs::read(stage.path("copy").join(path)).unwrap()
    };
    assert!(same("tile/0/000") && same("tile/0/001") && same("tile/entries/000") && same("checkpoint"));
    assert!(!dir.join("checkpoint.pending").exists());
}

fn first_entry(bundle: &[u8]) -> usize {
    2 + usize::from(u16::from_be_bytes([bundle[0], bundle[1]]))
}

fn without_first_entry(bundle: Vec<u8>) -> Option<Vec<u8>> {
    Some(bundle[first_entry(&bundle)..].to_vec())
}

fn with_first_entry_twice(bundle: Vec<u8>) -> Option<Vec<u8>> {
    Some([&bundle[..first_entry(&bundle)], &bundle].concat())
}
