//! The hub's own knowledge, with a clock by hand.

use std::time::Duration;

use truc::{
    domain::id::AgencyId,
    hub::session::Command,
    proto::{AgencyContact, ListAgencyContactsRequest, ListNodeContactsRequest, ListSessionsRequest},
};

use crate::common::*;

fn contact(world: &World, agency: &str) -> AgencyContact {
    world.hub().agency_contact(&AgencyId::parse(agency).unwrap()).unwrap()
}

/// The node `communes` as the operators see it.
fn communes(world: &World) -> truc::proto::NodeContact {
    let told = world.hub().list_node_contacts(&ListNodeContactsRequest::default()).unwrap();
    assert_eq!(told.nodes.len(), NODES.len());
    told.nodes.into_iter().find(|node| node.node == "communes").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_is_there_while_it_stands_and_leaves_its_end_behind() {
    let world = World::in_memory().await;
    let before = contact(&world, TAN_BINH);
    assert_eq!((before.receiving.len(), before.last_receiving_us, before.nodes), (0, 0, to(&["communes"])));

    world.clock.advance_us(SECOND);
    let opened = START.plus_us(SECOND).0;
    let mut session = world.hub().open_session(&node("communes"), &to(&[TAN_BINH, TAN_HOA])).unwrap();
    let now = contact(&world, TAN_BINH);
    assert_eq!((now.receiving, now.receiving_since_us), (to(&["communes"]), opened));
    assert!(contact(&world, TAN_LAP).receiving.is_empty(), "the session is not for this one");

    world.send(&manifest("1")).await;
    session.commands.send(Command::Credit(5)).await.unwrap();
    let offer = soon("the offer", session.events.recv()).await;
    assert!(offer.is_some());
    world.clock.advance_us(SECOND);
    let sessions = world.hub().list_sessions(&ListSessionsRequest::default()).unwrap();
    let [told] = &sessions.sessions[..] else { panic!("{sessions:?}") };
    assert_eq!((told.node.as_str(), told.since_us, told.last_offer_us), ("communes", opened, opened));
    assert_eq!((told.agency_count, told.credit, told.in_flight), (2, 4, 1));
    assert_eq!(told.offered.unwrap().documents, 1);
    let told = communes(&world);
    assert_eq!((told.sessions, told.in_flight, told.connected_since_us), (1, 1, opened));
    let filter = |agency: &str| {
        let request = ListSessionsRequest { agency: agency.into(), ..Default::default() };
        world.hub().list_sessions(&request).unwrap().sessions.len()
    };
    assert_eq!((filter(TAN_HOA), filter(TAN_LAP)), (1, 0));

    drop(session);
    eventually("the session ends", async || contact(&world, TAN_BINH).receiving.is_empty()).await;
    let left = START.plus_us(2 * SECOND).0;
    assert_eq!(contact(&world, TAN_BINH).last_receiving_us, left);
    assert_eq!(contact(&world, TAN_BINH).waiting, 1);
    assert_eq!(contact(&world, TAN_LAP).last_receiving_us, 0);
    let told = communes(&world);
    assert_eq!((told.sessions, told.in_flight, told.connected_since_us, told.left_us), (0, 0, 0, left));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_is_a_contact_for_all_whom_it_asks_for() {
    let mut world = World::in_memory().await;
    let hub = std::sync::Arc::clone(world.hub());
    let waiting =
        tokio::spawn(async move { hub.fetch(&node("communes"), &[], 5, Duration::from_secs(60)).await });
    eventually("the fetch waits", async || contact(&world, TAN_LAP).receiving == ["communes"]).await;
    assert_eq!((communes(&world).sessions, communes(&world).fetches), (0, 1));
    world.clock.advance_us(SECOND);
    let document = world.send(&manifest("1")).await;
    assert_eq!(soon("the offer", waiting).await.unwrap().unwrap().len(), 1);
    assert_eq!(contact(&world, TAN_LAP).last_receiving_us, START.plus_us(SECOND).0);
    let told = communes(&world);
    assert_eq!((told.fetches, told.in_flight, told.last_fetch_us), (0, 1, START.0));
    assert_eq!(told.offered.unwrap().documents, 1);

    world.clock.advance_us(SECOND);
    world.acknowledge(&document, TAN_BINH).await;
    let answered = START.plus_us(2 * SECOND).0;
    let told = communes(&world);
    assert_eq!((told.in_flight, told.last_receipt_us, told.answered.unwrap().documents), (0, answered, 1));
    assert_eq!(contact(&world, TAN_BINH).last_signed_us, answered);
    assert_eq!(contact(&world, PROVINCE).last_signed_us, START.plus_us(SECOND).0);

    world.restart().await;
    let told = contact(&world, TAN_BINH);
    assert_eq!(told.last_receiving_us, 0, "of what was before the start nothing is claimed");
    assert_eq!(communes(&world).left_us, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_agencies_are_found_page_by_page() {
    let world = World::in_memory().await;
    let _session = world.hub().open_session(&node("communes"), &to(&[TAN_HOA])).unwrap();
    world.clock.advance_us(HOUR);
    let mut request = ListAgencyContactsRequest { silent_for_us: HOUR, page_size: 2, ..Default::default() };
    let mut found = Vec::new();
    loop {
        let page = world.hub().list_agency_contacts(&request).unwrap();
        assert!(page.agencies.len() <= 2);
        found.extend(page.agencies.into_iter().map(|contact| contact.organ_id));
        request.page_token = page.next_page_token;
        if request.page_token.is_empty() {
            break;
        }
    }
    let mut expected = to(&[MINISTRY, PROVINCE, DISTRICT, TAN_BINH, TAN_LAP]);
    expected.sort();
    assert_eq!(found, expected);
    let request = ListAgencyContactsRequest { silent_for_us: HOUR + 1, ..Default::default() };
    assert!(world.hub().list_agency_contacts(&request).unwrap().agencies.is_empty());
    let bad = ListAgencyContactsRequest { page_token: "?".into(), ..Default::default() };
    assert!(world.hub().list_agency_contacts(&bad).is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_the_directory_does_not_know_leaves_no_trace() {
    let world = World::in_memory().await;
    let hub = world.hub();
    hub.presence().heard(&hub.directory(), &node("stranger"), Default::default());
    let told = hub.list_node_contacts(&ListNodeContactsRequest::default()).unwrap();
    assert_eq!(told.nodes.len(), NODES.len());
    assert!(hub.fetch(&node("stranger"), &[], 1, Duration::ZERO).await.is_err());
}
