//! The watchers' door, by hand.

use std::time::Duration;

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::rig::{Rig, soon};

/// Status and body.
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }
}

/// `METHOD PATH` on a connection of its own.
pub async fn ask(rig: &Rig, request: &str) -> Answer {
    ask_at(rig.hub.monitor().expect("the door is open"), request).await
}

pub async fn ask_at(address: &str, request: &str) -> Answer {
    ask_for(address, request, "*/*").await
}

pub async fn ask_for(address: &str, request: &str, accept: &str) -> Answer {
    let mut socket = soon(TcpStream::connect(address)).await.unwrap();
    let request = format!("{request} HTTP/1.0\r\nhost: hub\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    soon(socket.read_to_string(&mut text)).await.unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let chunked = head.to_ascii_lowercase().contains("chunked");
    assert!(!chunked, "answers are whole");
    Answer { status, head: head.to_owned(), body: body.to_owned() }
}

/// What `/readyz` tells: ready, and the names of the conditions.
pub async fn readiness(rig: &Rig) -> (bool, Vec<String>) {
    let answer = ask(rig, "GET /readyz").await;
    let told = answer.json();
    let ready = told["ready"].as_bool().unwrap();
    assert_eq!(answer.status, if ready { 200 } else { 503 }, "{told}");
    let name = |condition: &Value| condition["condition"].as_str().unwrap().to_owned();
    (ready, told["conditions"].as_array().unwrap().iter().map(name).collect())
}

/// Waits until `/readyz` tells what is wanted.
pub async fn until(rig: &Rig, wanted: impl Fn(bool, &[String]) -> bool) {
    soon(async {
        loop {
            let (ready, conditions) = readiness(rig).await;
            if wanted(ready, &conditions) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
}
