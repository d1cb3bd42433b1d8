//! The sender's watch, and who sees what of a timeline.

use std::{sync::Arc, time::Duration};

use truc::{
    domain::reason::ReasonCode,
    hub::{query::Viewer, watch::Until},
    proto::*,
};

use crate::common::*;

crate::on_both_stores!(
    a_cursor_survives_everything,
    nothing_is_lost_or_doubled_while_commits_go_on,
    who_does_not_read_is_given_up_with_a_word,
    a_hub_that_stops_says_so,
    a_saved_cursor_is_where_the_watch_goes_on,
    foreign_cursors_are_refused,
    a_watch_ends_with_the_right_to_watch,
    everyone_sees_his_own_part,
    timelines_come_in_pages,
    documents_of_one_id_are_told_apart,
);

async fn a_cursor_survives_everything(mut world: World) {
    for at in 0..5 {
        world.send(&manifest(&format!("d{at}"))).await;
    }
    let all = world.feed_from(PROVINCE, "c0").await;
    assert_eq!(all.len(), 5);
    let cursor = all[1].0.clone();
    world.restart().await;
    let rest = world.feed_from(PROVINCE, &cursor).await;
    let bytes = |entries: &[(String, Proven)]| entries.iter().map(|(_, e)| e.bytes()).collect::<Vec<_>>();
    assert_eq!(bytes(&rest), bytes(&all[2..]));
    assert_eq!(world.feed_from(PROVINCE, &all[4].0).await.len(), 0);
}

async fn nothing_is_lost_or_doubled_while_commits_go_on(world: World) {
    const MANY: usize = 300;
    let mut watch = world.hub().watch(&node("province"), PROVINCE, "", Until::Stopped).unwrap();
    let sending = {
        let (hub, keys) = (Arc::clone(world.hub()), world.keys.clone());
        tokio::spawn(async move {
            for at in 0..MANY {
                let envelope = keys.manifest(&manifest(&format!("d{at}")));
                hub.submit(&node("province"), envelope, Vec::new()).await.unwrap();
            }
        })
    };
    let mut last = None;
    for at in 0..MANY {
        let entry = soon("the next entry", watch.recv()).await.unwrap().unwrap();
        let entry = world.verify(entry.receipt);
        assert_eq!(entry.evidence.document_id, format!("d{at}"));
        assert!(last < Some(entry.receipt.index));
        last = Some(entry.receipt.index);
    }
    sending.await.unwrap();
    let document = world.send(&manifest("last")).await;
    let entry = soon("the last entry", watch.recv()).await.unwrap().unwrap();
    assert_eq!(entry.receipt, document.receipt);
}

async fn who_does_not_read_is_given_up_with_a_word(world: World) {
    for at in 0..80 {
        world.send(&manifest(&format!("d{at}"))).await;
    }
    let (node, patience) = (node("province"), Duration::from_millis(20));
    let mut watch = world.hub().watch_with(&node, PROVINCE, "c0", Until::Stopped, patience).unwrap();
    while watch.len() < 65 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut read = 0;
    let refused = loop {
        match soon("an end", watch.recv()).await.expect("a last word") {
            Ok(_) => read += 1,
            Err(refused) => break refused,
        }
    };
    assert_eq!((refused.code(), read), (ReasonCode::TooSlow, 64));
    assert!(watch.recv().await.is_none());
}

async fn a_hub_that_stops_says_so(world: World) {
    let mut watch = world.hub().watch(&node("province"), PROVINCE, "", Until::Stopped).unwrap();
    world.hub().stop().await;
    let refused = soon("a last word", watch.recv()).await.unwrap().unwrap_err();
    assert_eq!(refused.code(), ReasonCode::ShuttingDown);
}

async fn a_saved_cursor_is_where_the_watch_goes_on(mut world: World) {
    for at in 0..3 {
        world.send(&manifest(&format!("d{at}"))).await;
    }
    let all = world.feed_from(PROVINCE, "").await;
    let size = world.hub().size();
    world.hub().save_cursor(&node("province"), PROVINCE, &all[1].0).await.unwrap();
    assert_eq!(world.hub().size(), size, "no evidence");
    world.restart().await;
    assert_eq!(world.feed_from(PROVINCE, "").await.len(), 1);
    assert_eq!(world.feed_from(PROVINCE, "c0").await.len(), 3);
    world.send(&manifest("d3")).await;
    assert_eq!(world.feed_from(PROVINCE, "").await.len(), 2);
    let other = world.hub().save_cursor(&node("communes"), PROVINCE, "c0").await.unwrap_err();
    assert_eq!(other.code(), ReasonCode::NotAuthorised);
    world.audit().await;
}

async fn foreign_cursors_are_refused(world: World) {
    let beyond = format!("c{:x}", world.hub().size() + 1);
    for cursor in ["x", "c", "c-1", "c+1", "c01", "C1", "cfffffffffffffffff", &beyond] {
        let refused = world.hub().watch(&node("province"), PROVINCE, cursor, Until::Now).unwrap_err();
        assert_eq!(refused.code(), ReasonCode::BadCursor, "{cursor}");
        let refused = world.hub().save_cursor(&node("province"), PROVINCE, cursor).await.unwrap_err();
        assert_eq!(refused.code(), ReasonCode::BadCursor, "{cursor}");
    }
    let stranger = world.hub().watch(&node("communes"), PROVINCE, "", Until::Now).unwrap_err();
    assert_eq!(stranger.code(), ReasonCode::NotAuthorised);
}

async fn a_watch_ends_with_the_right_to_watch(world: World) {
    let mut watch = world.hub().watch(&node("province"), PROVINCE, "", Until::Stopped).unwrap();
    world.send(&manifest("d1")).await;
    soon("the first entry", watch.recv()).await.unwrap().unwrap();
    world.change(put_node("second", &[PROVINCE])).await;
    world.change(put_node("province", &[DISTRICT])).await;
    let envelope = world.keys.manifest(&manifest("d2"));
    world.accepted(world.hub().submit(&node("second"), envelope, Vec::new()).await);
    let end = soon("the end", watch.recv()).await.unwrap().unwrap_err();
    assert_eq!(end.code(), ReasonCode::NotAuthorised);
    assert!(soon("the end", watch.recv()).await.is_none());
}

async fn everyone_sees_his_own_part(world: World) {
    world.change(put_node("binh", &[TAN_BINH])).await;
    let document = world.send(&manifest("d1").with(|m| m.recipients = to(&COMMUNES))).await;
    world.acknowledge(&document, TAN_HOA).await;
    world.report(&status("d1", TAN_BINH, 3)).await;
    let see = async |viewer: Viewer| world.timeline(viewer, &document.evidence).await;

    for viewer in [Viewer::Auditor, Viewer::Node(node("province"))] {
        let all = see(viewer).await.unwrap();
        assert_eq!((all.events.len(), all.recipients.len()), (6, 3));
        assert_eq!((all.recipient_count, all.accepted_at_us), (3, START.0));
    }
    let part = see(Viewer::Node(node("binh"))).await.unwrap();
    let seen: Vec<_> = part.events.into_iter().map(|event| world.verify(event)).collect();
    assert_eq!(
        seen.iter().map(Proven::event).collect::<Vec<_>>(),
        [EventKind::SubmissionAcceptance, EventKind::ContentConsignment, EventKind::ConsignmentAcceptance]
    );
    assert!(seen[1..].iter().all(|event| event.evidence.recipients[0].agency == TAN_BINH));
    assert_eq!(part.recipients.len(), 1);
    let stranger = see(Viewer::Node(node("ministry"))).await.unwrap_err();
    assert_eq!(stranger.code(), ReasonCode::NotAuthorised);
    assert_eq!(see(Viewer::Node(node("nobody"))).await.unwrap_err().code(), ReasonCode::UnknownNode);
    world.change(revoke_node("binh")).await;
    assert_eq!(see(Viewer::Node(node("binh"))).await.unwrap_err().code(), ReasonCode::UnknownNode);
}

async fn timelines_come_in_pages(world: World) {
    let document = world.send(&manifest("d1").with(|m| m.recipients = to(&COMMUNES))).await;
    for _ in 0..30 {
        // Long words: bytes end a page as well.
        let long = status("d1", TAN_BINH, 5).with(|s| s.description = "ấ".repeat(500));
        world.report(&long).await;
    }
    let all = world.events(&document).await;
    let mut request = GetTimelineRequest { document_id: "d1".into(), page_size: 7, ..Default::default() };
    let (mut seen, mut pages) = (Vec::new(), 0);
    loop {
        let page = world.hub().timeline(Viewer::Auditor, request.clone()).await.unwrap();
        assert!(page.events.len() <= 7);
        assert_eq!(page.recipients.is_empty(), pages > 0);
        seen.extend(page.events);
        pages += 1;
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(seen, all.into_iter().map(|event| event.receipt).collect::<Vec<_>>());
    assert_eq!((seen.len(), pages), (34, 5));
    request.page_token = "x".into();
    let bad = world.hub().timeline(Viewer::Auditor, request).await.unwrap_err();
    assert_eq!(bad.code(), ReasonCode::BadCursor);
}

async fn documents_of_one_id_are_told_apart(world: World) {
    let first = world.send(&manifest("d1")).await;
    let revised = world.send(&manifest("d1").with(|m| m.revision = 2)).await;
    let ask = async |sender: &str, revision: u64| {
        let request = GetTimelineRequest {
            document_id: "d1".into(),
            sender: sender.into(),
            revision,
            ..Default::default()
        };
        let answer = world.hub().timeline(Viewer::Auditor, request).await;
        answer.map(|timeline| timeline.manifest_sha256).map_err(|refused| refused.code())
    };
    assert_eq!(ask("", 0).await, Ok(first.evidence.manifest_sha256.clone()));
    assert_eq!(ask("", 2).await, Ok(revised.evidence.manifest_sha256.clone()));
    assert_eq!(ask("", 1).await, Err(ReasonCode::UnknownDocument));
    world.send(&manifest("d1").with(|m| m.sender = DISTRICT.into())).await;
    assert_eq!(ask("", 0).await, Err(ReasonCode::InvalidField), "say whose");
    assert_eq!(ask(PROVINCE, 0).await, Ok(first.evidence.manifest_sha256.clone()));
}
