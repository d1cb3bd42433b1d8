//! Sessions that break the rules of the two-way stream.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use truc::{
    cli::demo::world::{COMMUNE, DISTRICT, PROVINCE},
    client::{Client, refusal::Refusal},
    domain::{envelope, reason::ReasonCode},
    proto::{deliver_request::Step as Say, deliver_response::Step as Hear, *},
};

use crate::rig::{Rig, acknowledge, letter, reason, receipt_for, soon, submit};

/// Both directions of a session.
struct Talk {
    steps: mpsc::Sender<DeliverRequest>,
    answers: Streaming<DeliverResponse>,
}

impl Talk {
    async fn open(client: &Client, first: Option<Say>) -> Result<Self, Status> {
        let (steps, receiver) = mpsc::channel(300);
        steps.send(DeliverRequest { step: first }).await.unwrap();
        let answers = soon(client.delivery().deliver(ReceiverStream::new(receiver))).await?.into_inner();
        Ok(Self { steps, answers })
    }

    /// Past the welcome.
    async fn begin(client: &Client) -> Self {
        let mut talk = Self::open(client, Some(Say::Hello(Hello::default()))).await.unwrap();
        assert!(matches!(talk.hear().await, Hear::Welcome(_)));
        talk
    }

    async fn say(&self, step: Say) {
        self.steps.send(DeliverRequest { step: Some(step) }).await.unwrap();
    }

    async fn hear(&mut self) -> Hear {
        soon(self.answers.message()).await.unwrap().expect("the stream goes on").step.unwrap()
    }

    async fn hear_refusal(&mut self) -> ReasonCode {
        match self.hear().await {
            Hear::Refused(refused) => Refusal::of_stream(&refused.refusal.unwrap()).code().unwrap(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_begins_with_a_hello_of_ones_own() {
    let rig = Rig::start().await;
    let client = rig.connect("sapa").await;
    let hello = |agencies: &[&str]| {
        Some(Say::Hello(Hello { agencies: agencies.iter().map(ToString::to_string).collect() }))
    };
    for (first, code) in [
        (None, ReasonCode::Malformed),
        (Some(Say::Credit(9)), ReasonCode::Malformed),
        (Some(Say::Acknowledge(AcknowledgeRequest::default())), ReasonCode::Malformed),
        (hello(&[PROVINCE]), ReasonCode::NotAuthorised),
        (hello(&[DISTRICT, ""]), ReasonCode::BadIdentifier),
        (hello(&["H99"]), ReasonCode::UnknownAgency),
        (hello(&vec![PROVINCE; 50_000]), ReasonCode::NotAuthorised),
    ] {
        let status = Talk::open(&client, first).await.map(drop).unwrap_err();
        assert_eq!(reason(&status), code, "{status:?}");
    }
    let status = soon(client.delivery().deliver(tokio_stream::empty())).await.map(drop).unwrap_err();
    assert_eq!(reason(&status), ReasonCode::Malformed);
    // The same agency many times is one agency.
    let mut talk = Talk::open(&client, hello(&vec![DISTRICT; 50_000])).await.unwrap();
    assert!(matches!(talk.hear().await, Hear::Welcome(welcome) if welcome.agencies == [DISTRICT]));
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_survives_wrong_steps() {
    let rig = Rig::start().await;
    let sender = rig.connect("tavan").await;
    for number in 0..3 {
        let request = submit(&letter(&format!("t-{number}"), &[DISTRICT]), rig.seal(COMMUNE), &[]);
        sender.submission().submit(request).await.unwrap();
    }
    let client = rig.connect("sapa").await;
    let mut other = Talk::begin(&client).await;
    other.say(Say::Credit(1)).await;
    let Hear::Offer(theirs) = other.hear().await else { panic!("no offer") };

    let mut talk = Talk::begin(&client).await;
    talk.say(Say::Hello(Hello { agencies: vec![PROVINCE.into()] })).await;
    talk.steps.send(DeliverRequest { step: None }).await.unwrap();
    for credit in [0, 0, 1, u32::MAX, u32::MAX] {
        talk.say(Say::Credit(credit)).await;
    }
    let mut mine = Vec::new();
    for _ in 0..2 {
        let Hear::Offer(offer) = talk.hear().await else { panic!("no offer") };
        assert_eq!(offer.recipient, DISTRICT, "the second hello changes nothing");
        mine.push(offer);
    }

    let garbage = [
        (None, ReasonCode::WrongPayloadType),
        (Some(envelope::sign(envelope::RECEIPT, vec![0xff; 99].into(), &[])), ReasonCode::InvalidField),
        (
            Some(envelope::sign(envelope::RECEIPT, vec![0xff; 99].into(), &[rig.seal(DISTRICT)])),
            ReasonCode::Malformed,
        ),
        (
            Some(envelope::sign(envelope::RECEIPT, vec![7; 900_000].into(), &[rig.seal(DISTRICT)])),
            ReasonCode::TooLarge,
        ),
        (
            Some(envelope::sign(envelope::STATUS, vec![7; 99].into(), &[rig.seal(DISTRICT)])),
            ReasonCode::WrongPayloadType,
        ),
    ];
    for (envelope, code) in garbage {
        talk.say(Say::Acknowledge(AcknowledgeRequest { envelope })).await;
        assert_eq!(talk.hear_refusal().await, code);
    }

    let lease = |offer: &Offer, lease_id| (offer.delivery_id.clone(), lease_id);
    let foreign = (theirs.delivery_id.replace(DISTRICT, PROVINCE), theirs.lease_id);
    for ((delivery_id, lease_id), code) in [
        (lease(&theirs, theirs.lease_id + 1_000), ReasonCode::LeaseLost),
        (lease(&mine[0], theirs.lease_id), ReasonCode::LeaseLost),
        (lease(&mine[0], mine[1].lease_id), ReasonCode::LeaseLost),
        (foreign, ReasonCode::NotAuthorised),
        ((String::new(), 0), ReasonCode::InvalidField),
        (("x".repeat(100_000), u64::MAX), ReasonCode::InvalidField),
    ] {
        talk.say(Say::Release(ReleaseRequest { delivery_id: delivery_id.clone(), lease_id })).await;
        assert_eq!(talk.hear_refusal().await, code);
        talk.say(Say::Extend(ExtendLeaseRequest { delivery_id, lease_id })).await;
        assert_eq!(talk.hear_refusal().await, code);
    }

    // After all that the session does its work, and so does the one whose lease was asked for.
    for (talk, offer) in [(&mut talk, &mine[0]), (&mut other, &theirs)] {
        let receipt = receipt_for(&offer.envelope.as_ref().unwrap().payload, DISTRICT);
        talk.say(Say::Acknowledge(acknowledge(&receipt, rig.seal(DISTRICT)))).await;
        assert!(matches!(talk.hear().await, Hear::Acknowledged(_)));
    }
    drop(talk);
    drop(other);
    rig.unharmed().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_come_and_go() {
    let rig = Rig::start_with("[limits]\nsessions_of_node = 64\n").await;
    let operator = rig.connect("operator").await;
    let client = rig.connect("sapa").await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(Talk::begin(&client).await);
    }
    let status = Talk::open(&client, Some(Say::Hello(Hello::default()))).await.map(drop).unwrap_err();
    assert_eq!(reason(&status), ReasonCode::Busy);
    rig.connect("laocai").await.delivery().fetch(FetchRequest::default()).await.expect("others are not full");
    drop(open);
    let mut sessions = 64;
    while sessions > 0 {
        let overview = operator.operator().get_overview(GetOverviewRequest {}).await.unwrap();
        sessions = overview.into_inner().sessions;
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Talk::begin(&client).await;
    rig.unharmed().await;
}
