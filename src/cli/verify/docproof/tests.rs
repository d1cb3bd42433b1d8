//! What a lawyer reads.

use super::*;
use crate::{
    proto::{Outcome, SignerKind},
    verify::docproof::{
        encode,
        testing::{Log, trusted},
    },
};

/// A document to a hundred communes: two refuse, one is silent.
fn circular() -> Log {
    let mut log = Log::new();
    let communes: Vec<String> = (0..100).map(|number| format!("{number:03}.77.31.H53")).collect();
    for (seed, commune) in (100..).zip(&communes) {
        log.put_agency(commune, &format!("UBND xã {seed}"));
        log.put_key(commune, seed, SignerKind::Agency);
    }
    let names: Vec<&str> = communes.iter().map(String::as_str).collect();
    let accepted = log.accept(&names);
    let consigned: Vec<u64> = names.iter().map(|name| log.consign(accepted, name)).collect();
    for ((seed, name), leaf) in (100..).zip(&names).zip(&consigned).take(99) {
        match seed {
            110 | 120 => log.receipt(*leaf, name, seed, Outcome::Refused, "Không thuộc thẩm quyền"),
            _ => log.receipt(*leaf, name, seed, Outcome::Accepted, ""),
        };
    }
    log.expire(consigned[99], names[99]);
    log
}

fn answer(log: &Log, language: Language) -> Answer {
    Answer::of(docproof::docproof(&encode(&log.file()).into(), &trusted()), language)
}

#[test]
fn a_hundred_recipients_are_summed_up_right_in_both_languages() {
    let log = circular();
    let english = answer(&log, Language::En);
    assert_eq!(english.verdict, Verdict::Proven);
    assert_eq!(
        english.sentence,
        "PROVEN. The document \"Báo cáo\" No. 17/BC-UBND of UBND thị xã Sơn Tây (000.00.31.H53) (id \
         000.00.31.H53,2026,17) was accepted for 100 recipients: 97 took it over, 2 refused it, 1 did not take it over \
         in time."
    );
    let vietnamese = answer(&log, Language::Vi);
    assert_eq!(
        vietnamese.sentence,
        "ĐÃ CHỨNG MINH. Văn bản \"Báo cáo\" số 17/BC-UBND của UBND thị xã Sơn Tây (000.00.31.H53) (mã định danh \
         000.00.31.H53,2026,17) đã được Trục tiếp nhận để gửi tới 100 cơ quan nhận: 97 đã nhận, 2 từ chối, 1 quá hạn \
         không nhận."
    );
    for (said, words) in [(&english, "REFUSED"), (&vietnamese, "TỪ CHỐI")] {
        let text = said.to_text();
        let rows: Vec<&str> = text.lines().filter(|line| line.contains("Không thuộc thẩm quyền")).collect();
        assert_eq!(rows.len(), 2, "{text}");
        assert!(rows[0].contains("UBND xã 110 (010.77.31.H53)") && rows[0].contains(words), "{text}");
        assert!(said.not_proven.len() >= 7, "{text}");
    }
    assert_eq!(english.proven.len(), vietnamese.proven.len());
    assert_eq!(english.not_proven.len(), vietnamese.not_proven.len());
}

#[test]
fn what_is_missing_or_wrong_is_said_first() {
    let mut log = Log::story();
    let last = *log.told.last().unwrap();
    let consigned =
        (0..last).find(|leaf| log.leaf(*leaf).event() == crate::proto::EventKind::ContentConsignment);
    let who = log.leaf(consigned.unwrap()).recipients[0].agency.clone();
    let about: Vec<u64> = log
        .told
        .iter()
        .copied()
        .filter(|leaf| log.leaf(*leaf).recipients.iter().any(|party| party.agency == who))
        .collect();
    about.iter().for_each(|leaf| _ = log.told.remove(leaf));
    let incomplete = answer(&log, Language::En);
    assert_eq!((incomplete.verdict, incomplete.ok), (Verdict::Incomplete, false));
    assert!(incomplete.sentence.starts_with("NOT COMPLETE."), "{}", incomplete.sentence);
    assert!(answer(&log, Language::Vi).sentence.starts_with("CHƯA ĐẦY ĐỦ."));

    let file = bytes::Bytes::from(encode(&Log::story().file()));
    for (language, words) in [(Language::En, "NOT PROVEN."), (Language::Vi, "KHÔNG CHỨNG MINH ĐƯỢC.")]
    {
        let damaged = Answer::of(docproof::docproof(&file.slice(..200), &trusted()), language);
        assert!(damaged.sentence.starts_with(words) && damaged.proven.is_empty());
        let stranger = Answer::of(docproof::docproof(&file, &[]), language);
        assert_eq!(stranger.problem.as_ref().unwrap().place, "hub_key");
        assert_ne!(stranger.sentence, damaged.sentence);
    }
}

#[test]
fn trusted_keys_stand_one_a_line() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys");
    let [key] = trusted();
    std::fs::write(&path, format!("# ours\n\n{key}\n  {key}\n")).unwrap();
    assert_eq!(read_trust(&path).unwrap(), [key.clone(), key]);
    for wrong in ["", "# none\n", "hub.test/log+00000000+AQ==\n"] {
        std::fs::write(&path, wrong).unwrap();
        assert!(read_trust(&path).is_err(), "{wrong:?}");
    }
}

/// Pages as the printed certificate has them; written for a look where `TRUC_SHOW` names a folder.
#[test]
fn a_certificate_is_printed_in_both_languages() {
    let log = circular();
    let proven = docproof::docproof(&encode(&log.file()).into(), &trusted()).unwrap();
    for (language, name) in [(Language::Vi, "vi.pdf"), (Language::En, "en.pdf")] {
        let words = Words(language);
        let print = || words.certificate(&proven, &words.verdict(&proven), "bao-cao.docproof").unwrap();
        let pdf = print();
        assert!(pdf.starts_with(b"%PDF-1.") && pdf == print(), "the same bytes each time");
        assert!(pdf.len() < 500_000, "{} bytes", pdf.len());
        if let Some(folder) = std::env::var_os("TRUC_SHOW") {
            std::fs::write(Path::new(&folder).join(name), pdf).unwrap();
        }
    }
}

#[test]
fn the_code_holds_what_the_paper_speaks_of() {
    let log = circular();
    let proven = docproof::docproof(&encode(&log.file()).into(), &trusted()).unwrap();
    let text = certificate::code_text(&proven);
    let (head, note) = text.split_once("\n\n").unwrap();
    let [mark, index, hash] = head.lines().collect::<Vec<_>>()[..] else { panic!("{head}") };
    assert_eq!((mark, index), (certificate::CODE_MARK, &proven.acceptance.index().to_string()[..]));
    use base64::Engine;
    let hash = base64::engine::general_purpose::STANDARD.decode(hash).unwrap();
    assert_eq!(hash, proven.acceptance.leaf_hash());
    let opened = crate::tlog::checkpoint::Checkpoint::open(note, &trusted()[0]).unwrap();
    assert_eq!(opened, proven.checkpoint);
    assert!(crate::cli::paper::Code::of(&text).is_some());
}
