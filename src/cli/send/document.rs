//! The flags that describe a document.

use std::path::PathBuf;

use crate::{
    cli::{Exit, Failure, moment::parse_deadline, signing::Recipients},
    client::Draft,
    domain::time::Timestamp,
    proto::{Operation, Reference, ReferenceKind, SignerInfo},
};

/// What the document is.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Document")]
pub struct Document {
    /// Sending agency.
    #[arg(long, value_name = "AGENCY", required_unless_present = "resume")]
    from: Option<String>,
    #[command(flatten)]
    recipients: Recipients,
    /// Number within the year.
    #[arg(long, required_unless_present = "resume")]
    number: Option<String>,
    /// Notation, such as BC-UBND.
    #[arg(long, default_value = "", hide_default_value = true)]
    notation: String,
    /// Name of the type, such as "Báo cáo".
    #[arg(long = "type", value_name = "NAME", required_unless_present = "resume")]
    type_name: Option<String>,
    /// Trích yếu.
    #[arg(long, required_unless_present = "resume")]
    subject: Option<String>,
    /// Date of promulgation, YYYY-MM-DD [default: today in Vietnam].
    #[arg(long)]
    date: Option<String>,
    /// 0 normal, 1 khẩn, 2 thượng khẩn, 3 hỏa tốc, 4 hỏa tốc hẹn giờ.
    #[arg(long, default_value_t = 0)]
    urgency: u32,
    /// Reply expected by, YYYY-MM-DD.
    #[arg(long, default_value = "", hide_default_value = true, value_name = "DATE")]
    due: String,
    /// To be taken over within (3d, 12h) or by (RFC 3339) [default: the hub's].
    #[arg(long, value_name = "TIME")]
    deadline: Option<String>,
    /// Names the document for ever [default: AGENCY,YEAR,NUMBER/NOTATION].
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// Revision: a new one makes a new document of the same id.
    #[arg(long, default_value_t = 0)]
    revision: u64,
    /// Full name of the person who signed the document.
    #[arg(long, value_name = "NAME")]
    signer_name: Option<String>,
    /// That person's position.
    #[arg(long, value_name = "POSITION")]
    signer_position: Option<String>,
    /// That person's competence: TM., KT., TL., TUQ., Q.
    #[arg(long, value_name = "COMPETENCE")]
    signer_competence: Option<String>,
    /// Paper is sent as well.
    #[arg(long)]
    paper: bool,
    #[command(flatten)]
    about: About,
    /// Attachment; repeat it for more. With --resume: one that has to be uploaded again.
    #[arg(long = "attach", value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

/// Which other document this one is about.
#[derive(Clone, Debug, clap::Args)]
struct About {
    /// Recalls this document; every recipient answers with status 15 or 16.
    #[arg(long, value_name = "ID", group = "about", requires = "reason")]
    recalls: Option<String>,
    /// Updates this document; every recipient answers with status 15 or 16.
    #[arg(long, value_name = "ID", group = "about", requires = "reason")]
    updates: Option<String>,
    /// Replaces this document.
    #[arg(long, value_name = "ID", group = "about", requires = "reason")]
    replaces: Option<String>,
    /// Answers this document.
    #[arg(long, value_name = "ID", group = "about", requires = "of")]
    answers: Option<String>,
    /// Agency that issued that document [default: the sender].
    #[arg(long, value_name = "AGENCY", requires = "about")]
    of: Option<String>,
    /// Why it is recalled, updated or replaced.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Document {
    /// The draft that the flags describe.
    pub fn draft(&self, now: Timestamp) -> Result<Draft, Failure> {
        let deadline = self.deadline.as_deref().map(|text| parse_deadline(text, now)).transpose();
        let deadline =
            deadline.map_err(|problem| Failure::new(Exit::Usage, format!("--deadline: {problem}")))?;
        let sender = self.from.clone().unwrap_or_default();
        let (recipients, groups) = self.recipients.split();
        let (operation, references) = self.about.split(&sender);
        Ok(Draft {
            sender,
            recipients,
            groups,
            document_id: self.id.clone(),
            revision: self.revision,
            number: self.number.clone().unwrap_or_default(),
            notation: self.notation.clone(),
            date: self.date.clone(),
            type_name: self.type_name.clone().unwrap_or_default(),
            subject: self.subject.clone().unwrap_or_default(),
            signer: self.signer(),
            urgency: self.urgency,
            due_date: self.due.clone(),
            deadline,
            paper: self.paper,
            operation,
            operation_reason: self.about.reason.clone().unwrap_or_default(),
            references,
            files: self.files.clone(),
            test: false,
        })
    }

    fn signer(&self) -> Option<SignerInfo> {
        let (name, position, competence) =
            (&self.signer_name, &self.signer_position, &self.signer_competence);
        if name.is_none() && position.is_none() && competence.is_none() {
            return None;
        }
        Some(SignerInfo {
            competence: competence.clone().unwrap_or_default(),
            position: position.clone().unwrap_or_default(),
            full_name: name.clone().unwrap_or_default(),
        })
    }
}

impl About {
    fn split(&self, sender: &str) -> (Operation, Vec<Reference>) {
        let choices = [
            (&self.recalls, Operation::Recall, ReferenceKind::Recalls),
            (&self.updates, Operation::Update, ReferenceKind::Updates),
            (&self.replaces, Operation::Replacement, ReferenceKind::Replaces),
            (&self.answers, Operation::New, ReferenceKind::ResponseFor),
        ];
        let Some((Some(id), operation, kind)) = choices.into_iter().find(|(id, ..)| id.is_some()) else {
            return (Operation::New, Vec::new());
        };
        let reference = Reference {
            kind: kind.into(),
            organ_id: self.of.clone().unwrap_or_else(|| sender.to_owned()),
            document_id: id.clone(),
            ..Reference::default()
        };
        (operation, vec![reference])
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::proto::Level;

    const NOW: Timestamp = Timestamp(1_795_291_200_000_000);

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        document: Document,
        #[arg(long)]
        resume: Option<PathBuf>,
    }

    fn parse(more: &[&str]) -> Result<Draft, String> {
        let plain = ["truc", "--from", "H53", "--number", "17", "--type", "Báo cáo", "--subject", "Kết quả"];
        let flags = Flags::try_parse_from(plain.iter().chain(more)).map_err(|error| error.to_string())?;
        flags.document.draft(NOW).map_err(|failure| failure.message)
    }

    #[test]
    fn flags_become_a_draft() {
        let draft = parse(&[
            "--to",
            "H54",
            "--to",
            "H55",
            "--to-communes-of",
            "H38",
            "--to-all-below",
            "H39",
            "--deadline",
            "3d",
            "--urgency",
            "2",
            "--signer-name",
            "Nguyễn Văn A",
            "--attach",
            "a.pdf",
        ])
        .expect("legal");
        assert_eq!(draft.recipients, ["H54", "H55"]);
        let groups: Vec<_> = draft.groups.iter().map(|group| (group.root.as_str(), group.level())).collect();
        assert_eq!(groups, [("H38", Level::Commune), ("H39", Level::Unspecified)]);
        assert_eq!(draft.deadline, Some(NOW.plus_us(3 * 86_400_000_000)));
        assert_eq!((draft.urgency, draft.operation), (2, Operation::New));
        assert_eq!(draft.signer.expect("there").full_name, "Nguyễn Văn A");
        assert_eq!(parse(&[]).expect("legal").signer, None);
    }

    #[test]
    fn operations_name_their_document_and_reason() {
        let draft = parse(&["--recalls", "old", "--reason", "sai"]).expect("legal");
        assert_eq!((draft.operation, draft.operation_reason.as_str()), (Operation::Recall, "sai"));
        let reference = &draft.references[0];
        assert_eq!((reference.kind(), reference.organ_id.as_str()), (ReferenceKind::Recalls, "H53"));
        let draft = parse(&["--answers", "theirs", "--of", "H54"]).expect("legal");
        assert_eq!((draft.operation, draft.references[0].organ_id.as_str()), (Operation::New, "H54"));

        assert!(parse(&["--recalls", "old"]).is_err(), "no reason");
        assert!(parse(&["--answers", "theirs"]).is_err(), "of whom?");
        assert!(parse(&["--recalls", "a", "--replaces", "b", "--reason", "x"]).is_err(), "two at once");
        assert!(parse(&["--of", "H54"]).is_err(), "of nothing");
        assert!(parse(&["--deadline", "soon"]).is_err());
    }

    #[test]
    fn a_resumed_one_needs_no_description() {
        assert!(Flags::try_parse_from(["truc", "--resume", "file"]).is_ok());
        assert!(Flags::try_parse_from(["truc", "--from", "H53"]).is_err());
    }
}
