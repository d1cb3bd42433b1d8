//! Connections that are no TLS, or never become it.

use std::{io::ErrorKind, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::rig::{Chance, Rig, soon};

/// More than the hub shakes hands with at a time.
const IDLE: usize = 300;

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_tls_are_dropped() {
    let rig = Rig::start().await;
    let mut chance = Chance::new();
    let mut words: Vec<Vec<u8>> = (0..20).map(|n| chance.bytes(1 + n * 300)).collect();
    words.push(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec());
    words.push(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec());
    words.push(b"\x16\x03\x01\xff\xff".to_vec());
    words.push(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00".to_vec());
    for words in words {
        let mut socket = TcpStream::connect(("127.0.0.1", rig.port)).await.unwrap();
        socket.write_all(&words).await.unwrap();
        let _ = socket.shutdown().await;
        let mut answer = Vec::new();
        // A TLS alert, or nothing.
        match soon(socket.read_to_end(&mut answer)).await {
            Ok(_) => assert!(answer.len() < 100, "{answer:?}"),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_keep_nobody_out() {
    // Nobody may have to wait until the hub gives up on them.
    let rig = Rig::start_with("[tls]\nhandshake_timeout = \"1h\"\n").await;
    let mut idle = Vec::new();
    for number in 0..IDLE {
        let mut socket = TcpStream::connect(("127.0.0.1", rig.port)).await.unwrap();
        if number % 2 == 0 {
            // Half a hello of TLS, then silence.
            socket.write_all(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03").await.unwrap();
        }
        idle.push(socket);
    }
    rig.unharmed().await;
    drop(idle);

    let mut rush = JoinSet::new();
    for _ in 0..IDLE {
        let port = rig.port;
        rush.spawn(async move {
            let socket = TcpStream::connect(("127.0.0.1", port)).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
            drop(socket);
        });
    }
    rig.serves().await;
    rush.join_all().await;
    rig.unharmed().await;
}
