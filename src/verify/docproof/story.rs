//! From proven leaves to the story of the document: what was accepted, and the course of each recipient.

use std::collections::BTreeMap;

use prost::Message;

use super::{
    DocProofError, Listed, Place,
    course::{Course, Speech, only_recipient, status_of},
    erased::{self, Erased},
};
use crate::{
    domain::{envelope, evidence::recipients_digest, id::AgencyId},
    proto::{Addressing, EventKind, Manifest, SignedEnvelope},
    tlog::Hash,
    verify::{self, Facts},
};

/// A story whose signatures are still to be judged.
pub struct Story<'f> {
    /// What the sender signed; of an envelope that was erased, the names alone.
    pub manifest: Manifest,
    /// Contents that were erased.
    pub erased: Vec<Erased>,
    /// The document's own acceptance.
    pub acceptance: &'f Facts,
    /// The acceptances, the document's own first.
    pub lists: Vec<Listed>,
    /// In the order of identifiers.
    pub recipients: Vec<Course>,
    /// Every event that answers a signed message, with that message.
    pub speeches: Vec<(&'f Facts, Speech<'f>)>,
}

/// Reads the story. Every leaf has to be a part of it, or of the directory.
pub fn read<'f>(
    envelope: Option<&'f SignedEnvelope>,
    facts: &'f [Facts],
) -> Result<Story<'f>, DocProofError> {
    let acceptance = facts.iter().find(|facts| is_first_acceptance(facts));
    let acceptance =
        acceptance.ok_or_else(|| Place::Envelope.problem("its acceptance is not in the file"))?;
    let manifest = manifest(envelope, acceptance, facts)?;
    let sender = AgencyId::parse(acceptance.sender())
        .map_err(|reason| Place::Leaf(acceptance.index()).problem(reason.to_string()))?;
    let speech = envelope.map(|envelope| Speech { envelope, kind: envelope::MANIFEST, agency: sender });
    let mut reader = Reader {
        acceptance,
        envelope,
        manifest: &manifest,
        lists: Vec::new(),
        courses: BTreeMap::new(),
        speeches: speech.into_iter().map(|speech| (acceptance, speech)).collect(),
        erased: Vec::new(),
        redirects: BTreeMap::new(),
    };
    for event in facts {
        reader.take(event).map_err(|problem| Place::Leaf(event.index()).problem(problem))?;
    }
    let Reader { lists, courses, speeches, erased, .. } = reader;
    let recipients: Vec<_> = courses.into_values().collect();
    let lists = lists.iter().map(|list| listed(list, &recipients)).collect::<Result<_, _>>()?;
    Ok(Story { manifest, erased, acceptance, lists, recipients, speeches })
}

/// What the sender signed. Without the envelope the log has to say that it was erased.
fn manifest(
    envelope: Option<&SignedEnvelope>,
    acceptance: &Facts,
    facts: &[Facts],
) -> Result<Manifest, DocProofError> {
    if let Some(envelope) = envelope {
        return verify::manifest(envelope, acceptance)
            .map_err(|error| Place::Envelope.problem(error.to_string()));
    }
    let erasures = facts.iter().filter(|event| event.event() == EventKind::PayloadErased);
    let mut whole = erasures.filter_map(|event| Erased::read(event, acceptance).ok());
    let whole = whole.find(|erased| erased.envelope.is_some());
    let missing = || Place::Envelope.problem("is missing, and no evidence here says that it was erased");
    Ok(whole.ok_or_else(missing)?.manifest(acceptance))
}

fn is_first_acceptance(facts: &Facts) -> bool {
    facts.event() == EventKind::SubmissionAcceptance && facts.message().is_none()
}

struct Reader<'f, 'm> {
    acceptance: &'f Facts,
    envelope: Option<&'f SignedEnvelope>,
    manifest: &'m Manifest,
    lists: Vec<&'f Facts>,
    courses: BTreeMap<AgencyId, Course>,
    /// Leaves that sent the document to another agency, and to which.
    redirects: BTreeMap<Hash, String>,
    speeches: Vec<(&'f Facts, Speech<'f>)>,
    erased: Vec<Erased>,
}

impl<'f> Reader<'f, '_> {
    fn take(&mut self, event: &'f Facts) -> Result<(), String> {
        if event.event() == EventKind::DirectoryChange {
            return Ok(());
        }
        self.is_about_the_document(event)?;
        match event.event() {
            EventKind::SubmissionAcceptance => self.list(event),
            EventKind::ContentConsignment => self.begin(event),
            EventKind::StatusParked => self.parked(event),
            EventKind::PayloadErased => self.erased(event),
            EventKind::LegalHold => erased::hold(event, self.acceptance),
            _ => self.go_on(event),
        }
    }

    fn is_about_the_document(&self, event: &Facts) -> Result<(), String> {
        if event.document() != self.acceptance.document() {
            return Err("is about another document".into());
        }
        // A status that was parked came before anyone knew the manifest.
        let parked = event.event() == EventKind::StatusParked && event.manifest_sha256().is_none();
        if event.manifest_sha256() != self.acceptance.manifest_sha256() && !parked {
            return Err("is about another manifest".into());
        }
        Ok(())
    }

    fn list(&mut self, event: &'f Facts) -> Result<(), String> {
        self.lists.push(event);
        if event.index() == self.acceptance.index() {
            return Ok(());
        }
        let envelope = event.message().ok_or("is a second acceptance of the document")?;
        if envelope.payload_type != envelope::ADDRESSING {
            return Err("is an acceptance of something else than more recipients".into());
        }
        let said = Addressing::decode(envelope.payload.clone()).map_err(|error| error.to_string())?;
        let evidence = event.evidence();
        let agrees = said.document_id == evidence.document_id
            && said.revision == evidence.revision
            && said.sender == event.sender()
            && said.manifest_sha256 == evidence.manifest_sha256
            && said.hub_origin == event.checkpoint().origin;
        if !agrees {
            return Err("the signed addressing inside says something else than the event".into());
        }
        let agency = AgencyId::parse(event.sender()).map_err(|reason| reason.to_string())?;
        self.speeches.push((event, Speech { envelope, kind: envelope::ADDRESSING, agency }));
        Ok(())
    }

    fn begin(&mut self, event: &Facts) -> Result<(), String> {
        let course = Course::begin(event, self.manifest)?;
        let listed = self.lists.iter().any(|list| list.leaf_hash() == course.list);
        let redirected = self.redirects.get(&course.list).is_some_and(|to| to == course.recipient.as_str());
        if !listed && !redirected {
            return Err("the acceptance or redirection that it follows is not in the file".into());
        }
        match self.courses.insert(course.recipient.clone(), course) {
            None => Ok(()),
            Some(twice) => Err(format!("is the second consignment to {}", twice.recipient)),
        }
    }

    fn go_on(&mut self, event: &'f Facts) -> Result<(), String> {
        let recipient = only_recipient(event)?;
        let course = self.courses.get_mut(&recipient);
        let course = course.ok_or_else(|| format!("the consignment to {recipient} is not in the file"))?;
        let speech = course.go_on(event, self.acceptance)?;
        if event.event() == EventKind::DeliveryCancelled {
            self.redirects.insert(event.leaf_hash(), event.evidence().redirected_to.clone());
        }
        self.speeches.extend(speech.map(|speech| (event, speech)));
        Ok(())
    }

    fn erased(&mut self, event: &'f Facts) -> Result<(), String> {
        let erased = Erased::read(event, self.acceptance)?;
        if let Some(envelope) = self.envelope {
            erased.fits(self.manifest, envelope)?;
        }
        self.erased.push(erased);
        Ok(())
    }

    /// Judged as part of the event that it became: it only has to be what it says.
    fn parked(&mut self, event: &Facts) -> Result<(), String> {
        let message = event.message().ok_or("holds no signed status")?;
        status_of(event, message).map(drop)
    }
}

/// Compares the recipients of one acceptance with what the hub signed about them: their number, and the digest over
/// their identifiers.
fn listed(acceptance: &Facts, recipients: &[Course]) -> Result<Listed, DocProofError> {
    let hash: Hash = acceptance.leaf_hash();
    let named =
        recipients.iter().filter(|course| course.list == hash).map(|course| course.recipient.as_str());
    let (found, count) = (named.clone().count() as u64, acceptance.evidence().recipient_count);
    let digest = recipients_digest(named);
    if found > count || found == count && digest.as_bytes()[..] != acceptance.evidence().recipients_sha256 {
        let problem = "the recipients in the file are not those that the document was accepted for";
        return Err(Place::Leaf(acceptance.index()).problem(problem));
    }
    Ok(Listed { leaf: acceptance.index(), count, found })
}
