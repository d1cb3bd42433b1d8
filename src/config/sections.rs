//! Every key with its meaning and its default, once.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::{human, retention::RetentionRule};
use crate::edge::{
    bounds::{Bounds, DRAIN},
    monitor::HealthLimits,
    tls::{TlsLimits, TlsSource},
};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(super) type Docs = &'static [(&'static str, &'static [&'static str])];

/// Defines a section once: struct, defaults, and the comments of the sample file.
macro_rules! section {
    (
        $(#[doc = $about:literal])*
        $name:ident {
            $( $(#[doc = $doc:literal])* $(#[serde($($serde:tt)*)])? $field:ident: $type:ty = $default:expr; )*
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields, default)]
        pub struct $name {
            $( $(#[doc = $doc])* $(#[serde($($serde)*)])? pub $field: $type, )*
        }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )* }
            }
        }

        impl $name {
            pub(super) const DOCS: Docs = &[ $( (stringify!($field), &[$($doc),*]), )* ];
        }
    };
}

section! {
    /// Everything that the hub is told from outside.
    Config {
        /// Name of this hub's log, for ever: it stands in every checkpoint, and senders sign it.
        /// A host name that you own and a path, such as "hub.example.gov.vn/log".
        origin: String = String::new();
        /// Folder of journal, bodies and index. Relative paths start at this file's folder.
        data_dir: PathBuf = "data".into();
        /// The gRPC port.
        listen: Listen = Listen::default();
        /// Who the hub is and whom it lets in. The files are read again when they change.
        tls: Tls = Tls::default();
        /// The Merkle log.
        log: Log = Log::default();
        /// The log for tools that nobody here wrote: C2SP tlog-tiles over HTTPS, read-only, without client certificates.
        log_http: LogHttp = LogHttp::default();
        /// The web console for operators and auditors.
        console: Console = Console::default();
        /// This hub as a witness of other logs (C2SP tlog-witness): it cosigns their heads, as long as each continues the last.
        witness: Witness = Witness::default();
        /// How much of the hub one caller, and all together, may use.
        limits: Limits = Limits::default();
        /// Limits of what senders hand in.
        submission: Submission = Submission::default();
        /// How documents go out.
        delivery: Delivery = Delivery::default();
        /// What operators may do about deliveries.
        operator: Operator = Operator::default();
        /// The embedded store.
        store: Store = Store::default();
        /// How long contents are kept. Evidence is never erased.
        retention: Retention = Retention::default();
        /// Reading everything that is stored again, beside all traffic, to find what a disk has lost.
        scrub: Scrub = Scrub::default();
        /// What the hub tells on standard error.
        logging: Logging = Logging::default();
        /// Health and metrics over plain HTTP, and from where on something is not as it should be.
        monitor: Monitor = Monitor::default();
        /// Traces that follow single documents through all steps.
        telemetry: Telemetry = Telemetry::default();
    }
}

section! {
    /// `[listen]`
    Listen {
        /// Address and port.
        address: SocketAddr = (Ipv4Addr::UNSPECIFIED, 7443).into();
    }
}

section! {
    /// `[tls]`
    Tls {
        /// The hub's certificate, with intermediates after it if there are any (PEM).
        certificate: PathBuf = "certs/hub.pem".into();
        /// Private key of the certificate (PEM).
        key: PathBuf = "certs/hub.key".into();
        /// CAs whose clients may connect (PEM, one or several).
        client_ca: PathBuf = "certs/ca.pem".into();
        /// Revocation lists, one of each of these CAs (PEM). "" switches revocation off.
        crl: PathBuf = "certs/crl.pem".into();
        /// How often the files are looked at.
        #[serde(with = "human::duration")]
        reload_every: Duration = TlsLimits::default().reload_every;
        /// A handshake that takes longer is dropped.
        #[serde(with = "human::duration")]
        handshake_timeout: Duration = TlsLimits::default().handshake_timeout;
        /// Handshakes at a time. When there are more, the oldest makes room after a second.
        max_handshakes: usize = TlsLimits::default().max_handshakes;
        /// Connections at a time.
        max_connections: usize = TlsLimits::default().max_connections;
        /// Connections of one certificate's name at a time; never more than are left for all others.
        max_connections_of_caller: usize = TlsLimits::default().max_connections_of_caller;
        /// Connections of one address at a time, before any handshake; never more than are left for all others.
        max_connections_of_address: usize = TlsLimits::default().max_connections_of_address;
    }
}

section! {
    /// `[log]`
    Log {
        /// Ed25519 key that signs the checkpoints (PKCS#8 PEM). Losing it ends the log: keep a copy offline.
        key: PathBuf = "certs/log.key".into();
        /// Witnesses that cosign this log's heads, each as "URL name+hash+key": where it takes add-checkpoint, and its
        /// verifier key. Nobody waits for them.
        witnesses: Vec<String> = Vec::new();
        /// CAs of the witnesses' certificates (PEM). "" takes those of tls.client_ca.
        witness_ca: PathBuf = PathBuf::new();
        /// Pause between two heads that are sent to the witnesses.
        #[serde(with = "human::duration")]
        witness_every: Duration = Duration::from_secs(3);
        /// A witness that has not cosigned for so long raises an alarm.
        #[serde(with = "human::duration")]
        witness_alarm: Duration = Duration::from_secs(15 * 60);
        /// A head counts as cosigned with so many cosignatures.
        witness_quorum: usize = 1;
    }
}

section! {
    /// `[witness]`
    Witness {
        /// Name of this witness, such as "hub.example.gov.vn/witness". "" when this hub is none.
        name: String = String::new();
        /// Ed25519 key that cosigns, of its own (PKCS#8 PEM); `truc log witness-key` makes one. It dies with the folder
        /// data_dir/witness: a witness that forgot what it cosigned needs a new key.
        key: PathBuf = "certs/witness.key".into();
        /// Verifier keys of the logs that it follows, each "origin+hash+key". A log whose key was changed has two.
        logs: Vec<String> = Vec::new();
        /// Address and port for add-checkpoint, secured as log_http is. "" takes it at the log_http address.
        #[serde(with = "human::address")]
        address: Option<SocketAddr> = None;
    }
}

section! {
    /// `[log_http]`
    LogHttp {
        /// Address and port, such as "0.0.0.0:7444". "" keeps this door closed. Whoever reaches it can read the log:
        /// choose where it listens.
        #[serde(with = "human::address")]
        address: Option<SocketAddr> = None;
        /// Serves the entries too: the evidence, which is metadata of documents (who sent what to whom, and when).
        /// false serves checkpoints and hashes only; proofs can still be checked.
        entries: bool = true;
        /// HTTP without TLS, for a reverse proxy on this machine: on a loopback address only.
        plain: bool = false;
        /// Connections at a time; one address never has more than are left for all others.
        max_connections: usize = 512;
    }
}

section! {
    /// `[console]`
    Console {
        /// Address and port, such as "0.0.0.0:7445". "" keeps the console closed. It has the hub's certificate, and asks
        /// browsers for a client certificate that they need not have: `truc console login` prints a link instead.
        #[serde(with = "human::address")]
        address: Option<SocketAddr> = None;
        /// Where people reach it, such as "https://truc.example.gov.vn"; "" where that is the hub's host and this port.
        url: String = String::new();
        /// A session that is not used for so long ends.
        #[serde(with = "human::duration")]
        session_idle: Duration = HOUR / 2;
        /// Every session ends after this time.
        #[serde(with = "human::duration")]
        session_life: Duration = 12 * HOUR;
        /// Connections at a time; one address never has more than are left for all others.
        max_connections: usize = 256;
    }
}

section! {
    /// `[limits]`
    Limits {
        /// Signed messages (documents, receipts, statuses) of one node in a second.
        node_messages: u32 = Bounds::default().node_messages;
        /// Bytes of these, and of uploads, of one node in a second.
        #[serde(with = "human::size")]
        node_bytes: u64 = Bounds::default().node_bytes;
        /// Signed messages in the name of one agency in a second, whichever node hands them in.
        agency_messages: u32 = Bounds::default().agency_messages;
        /// Bytes of these in a second.
        #[serde(with = "human::size")]
        agency_bytes: u64 = Bounds::default().agency_bytes;
        /// Refusals of one node in a second: each becomes evidence. A node with more has to pause.
        node_refusals: u32 = Bounds::default().node_refusals;
        /// Calls of one caller at a time; never more than are left for all others.
        calls_of_caller: usize = Bounds::default().calls_of_caller;
        /// Calls at a time.
        calls: usize = Bounds::default().calls;
        /// Sessions of one node at a time; never more than are left for all others.
        sessions_of_node: usize = Bounds::default().sessions_of_node;
        /// Sessions at a time.
        sessions: usize = Bounds::default().sessions;
        /// Memory for messages in work, those that have not arrived wholly included. What has no room is refused.
        #[serde(with = "human::size")]
        message_memory: u64 = Bounds::default().message_memory;
        /// A caller that does not go on with a message, or does not read, for so long is given up.
        #[serde(with = "human::duration")]
        patience: Duration = Bounds::default().patience;
        /// A connection is asked to come again after this time.
        #[serde(with = "human::duration")]
        connection_age: Duration = Bounds::default().connection_age;
        /// Time that it then has to end its calls.
        #[serde(with = "human::duration")]
        connection_grace: Duration = Bounds::default().connection_grace;
        /// Time that running calls have when the hub is told to stop.
        #[serde(with = "human::duration")]
        drain: Duration = DRAIN;
    }
}

section! {
    /// `[submission]`
    Submission {
        /// Largest attachment.
        #[serde(with = "human::size")]
        max_attachment: u64 = 2 * GIB;
        /// Largest sum of attachments inside one Submit call; larger ones are uploaded before.
        #[serde(with = "human::size")]
        max_inline: u64 = 4 * MIB;
        /// Largest manifest, its list of recipients included.
        #[serde(with = "human::size")]
        max_manifest: u64 = 2 * MIB;
        /// Most recipients of one document.
        max_recipients: u32 = 20_000;
        /// Farthest that a message's issue time may be from the hub's clock.
        #[serde(with = "human::duration")]
        clock_skew: Duration = DAY;
        /// Time for delivery when the sender names none.
        #[serde(with = "human::duration")]
        default_deadline: Duration = 7 * DAY;
        /// An upload that no document uses is removed after this time.
        #[serde(with = "human::duration")]
        upload_retention: Duration = DAY;
    }
}

section! {
    /// `[delivery]`
    Delivery {
        /// How long a recipient's system may hold an offer before it is offered again.
        #[serde(with = "human::duration")]
        lease: Duration = Duration::from_secs(120);
        /// Pause after the first offer that was not answered; doubles each time.
        #[serde(with = "human::duration")]
        retry_first: Duration = Duration::from_secs(30);
        /// Longest pause between offers.
        #[serde(with = "human::duration")]
        retry_max: Duration = HOUR;
        /// Most unanswered offers of one session.
        session_max_credit: u32 = 256;
    }
}

section! {
    /// `[operator]`
    Operator {
        /// An action that touches more deliveries than this waits for the approval of a second operator.
        four_eyes_above: u64 = 100;
        /// Cancel, expire and redirect hold the deliveries and take effect after this time; until then they can be undone.
        #[serde(with = "human::duration")]
        undo_window: Duration = Duration::from_secs(10 * 60);
        /// An action that nobody approved lapses after this time.
        #[serde(with = "human::duration")]
        approval_window: Duration = DAY;
        /// Actions of one operator in a minute.
        actions_per_minute: u32 = 30;
    }
}

section! {
    /// `[store]`
    Store {
        /// Size of a journal segment.
        #[serde(with = "human::size")]
        segment_size: u64 = 64 * MIB;
        /// What keeps the history index: "fjall" or "sled". After a change the next start makes the index again.
        index: IndexEngine = IndexEngine::Fjall;
        /// Most entries by which sled may lag behind before commits wait for it.
        index_lag: usize = 1_000_000;
        /// Most requests in one commit.
        batch_max: usize = 1024;
        /// Memory for documents and proofs that were committed lately.
        #[serde(with = "human::size")]
        recent: u64 = 32 * MIB;
    }
}

section! {
    /// `[retention]`
    Retention {
        /// Rules, the first that fits a document decides; without one its contents are kept for ever. Age counts from
        /// acceptance, and nothing goes while a delivery is open or a legal hold is in force. In place of this line:
        ///   [[retention.rules]]
        ///   name="invitations"        # stands in the evidence
        ///   types=["Giấy mời"]        # types, urgencies (0 to 4), operations (new, recall, update, replacement):
        ///   urgencies=[0]             # what is left out, or empty, fits all
        ///   after="730d"
        ///   bodies="attachments"      # or "all": the signed envelope with its subject as well
        rules: Vec<RetentionRule> = Vec::new();
        /// How often all documents are looked at.
        #[serde(with = "human::duration")]
        every: Duration = DAY;
        /// Documents looked at in a second.
        documents_per_second: u32 = 5_000;
        /// What is removed from the disk, and looked through for copies, in a second.
        #[serde(with = "human::size")]
        rate: u64 = 32 * MIB;
    }
}

section! {
    /// `[scrub]`
    Scrub {
        /// Most bytes read again in a second. Everything is read in rounds: 100 GiB take seven hours at 4 MiB.
        /// "0 B" switches it off.
        #[serde(with = "human::size")]
        rate: u64 = 4 * MIB;
    }
}

section! {
    /// `[logging]`
    Logging {
        /// Levels as in "info" or "info,truc::edge=debug".
        filter: String = "info".into();
        /// "text" or "json".
        format: LogFormat = LogFormat::Text;
    }
}

section! {
    /// `[monitor]`
    Monitor {
        /// Address and port of /healthz, /readyz and /metrics; "" keeps this door closed. Plain HTTP: whoever reaches it
        /// sees how the hub does (numbers and names of conditions, no documents), so choose where it listens.
        #[serde(with = "human::address")]
        address: Option<SocketAddr> = Some((Ipv4Addr::LOCALHOST, 7446).into());
        /// Connections at a time; one address never has more than are left for all others.
        max_connections: usize = 64;
        /// How often the hub looks after its own health.
        #[serde(with = "human::duration")]
        look_every: Duration = Duration::from_secs(5);
        /// Free room on the disk below which the condition disk-nearly-full begins.
        #[serde(with = "human::size")]
        disk_warning: u64 = 10 * GIB;
        /// Free room below which the hub says that it is not ready (disk-full).
        #[serde(with = "human::size")]
        disk_reserve: u64 = GIB;
        /// A document that waits for its recipient for so long begins the condition queue-age.
        #[serde(with = "human::duration")]
        queue_age: Duration = 2 * DAY;
        /// Time before the end of a certificate in which the condition certificate-expires stands.
        #[serde(with = "human::duration")]
        certificate_warning: Duration = 30 * DAY;
        /// Leaves by which the search index may be behind the log before search-behind begins.
        search_lag: u64 = 100_000;
    }
}

section! {
    /// `[telemetry]`
    Telemetry {
        /// OpenTelemetry collector (OTLP over gRPC), such as "http://127.0.0.1:4317"; "" sends no traces. Without TLS: on
        /// this machine, or a network of its own. What the collector does not take is dropped and counted.
        otlp_endpoint: String = String::new();
        /// Of a hundred documents, so many are followed: all steps of a document, or none.
        sample_percent: u32 = 100;
    }
}

/// What keeps the history index.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IndexEngine {
    /// fjall's LSM tree.
    #[default]
    Fjall,
    /// sled 0.34.
    Sled,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The sections in the order of the sample file.
pub(super) const SECTIONS: &[(&str, Docs)] = &[
    ("listen", Listen::DOCS),
    ("tls", Tls::DOCS),
    ("log", Log::DOCS),
    ("log_http", LogHttp::DOCS),
    ("console", Console::DOCS),
    ("witness", Witness::DOCS),
    ("limits", Limits::DOCS),
    ("submission", Submission::DOCS),
    ("delivery", Delivery::DOCS),
    ("operator", Operator::DOCS),
    ("store", Store::DOCS),
    ("retention", Retention::DOCS),
    ("scrub", Scrub::DOCS),
    ("logging", Logging::DOCS),
    ("monitor", Monitor::DOCS),
    ("telemetry", Telemetry::DOCS),
];

impl Tls {
    /// The files for the acceptor.
    #[must_use]
    pub fn source(&self) -> TlsSource {
        TlsSource {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            client_ca: self.client_ca.clone(),
            crl: (!self.crl.as_os_str().is_empty()).then(|| self.crl.clone()),
        }
    }

    /// The bounds for the acceptor.
    #[must_use]
    pub fn limits(&self) -> TlsLimits {
        TlsLimits {
            max_connections: self.max_connections,
            max_handshakes: self.max_handshakes,
            handshake_timeout: self.handshake_timeout,
            reload_every: self.reload_every,
            max_connections_of_caller: self.max_connections_of_caller,
            max_connections_of_address: self.max_connections_of_address,
        }
    }
}

impl Monitor {
    /// From where on the hub's conditions begin.
    #[must_use]
    pub fn health_limits(&self) -> HealthLimits {
        HealthLimits {
            every: self.look_every,
            disk_warning: self.disk_warning,
            disk_reserve: self.disk_reserve,
            queue_age: self.queue_age,
            search_lag: self.search_lag,
        }
    }
}

impl Limits {
    /// The bounds for the server.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        Bounds {
            node_messages: self.node_messages,
            node_bytes: self.node_bytes,
            agency_messages: self.agency_messages,
            agency_bytes: self.agency_bytes,
            node_refusals: self.node_refusals,
            calls_of_caller: self.calls_of_caller,
            calls: self.calls,
            sessions_of_node: self.sessions_of_node,
            sessions: self.sessions,
            message_memory: self.message_memory,
            patience: self.patience,
            connection_age: self.connection_age,
            connection_grace: self.connection_grace,
        }
    }
}
