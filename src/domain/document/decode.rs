//! From payload bytes to a message, within bounds.

use bytes::Bytes;
use prost::{
    Message,
    encoding::{DecodeContext, decode_key, skip_field},
};

use crate::domain::reason::{Reason, ReasonCode};

/// A repeated field of the outer message: tag, name, most entries.
pub(super) type Repeated = (u32, &'static str, usize);

/// Decodes a payload of at most `max_bytes`. Repeated fields are counted before: an entry of two bytes on the wire
/// takes more than a hundred in memory.
pub(super) fn decode<M: Message + Default>(
    payload: &Bytes,
    max_bytes: usize,
    bounds: &[Repeated],
) -> Result<M, Reason> {
    if payload.len() > max_bytes {
        let detail = format!("payload: {} bytes, at most {max_bytes}", payload.len());
        return Err(Reason::new(ReasonCode::TooLarge, detail));
    }
    refuse_crowds(payload, bounds)?;
    M::decode(payload.clone()).map_err(malformed)
}

fn refuse_crowds(payload: &Bytes, bounds: &[Repeated]) -> Result<(), Reason> {
    let mut counts = vec![0; bounds.len()];
    let mut rest = payload.clone();
    while !rest.is_empty() {
        let (tag, wire_type) = decode_key(&mut rest).map_err(malformed)?;
        skip_field(wire_type, tag, &mut rest, DecodeContext::default()).map_err(malformed)?;
        let Some(at) = bounds.iter().position(|bound| bound.0 == tag) else { continue };
        counts[at] += 1;
        let (_, field, most) = bounds[at];
        if counts[at] > most {
            return Err(Reason::new(ReasonCode::TooLarge, format!("{field}: more than {most}")));
        }
    }
    Ok(())
}

fn malformed(error: prost::DecodeError) -> Reason {
    Reason::new(ReasonCode::Malformed, format!("payload: {error}"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::proto::{Manifest, Part};

    const BOUNDS: [Repeated; 1] = [(11, "parts", 3)];

    fn with_parts(count: usize) -> Bytes {
        Manifest { parts: vec![Part::default(); count], ..Default::default() }.encode_to_vec().into()
    }

    #[test]
    fn crowds_are_refused_before_they_take_memory() {
        assert!(decode::<Manifest>(&with_parts(3), 100, &BOUNDS).is_ok());
        let reason = decode::<Manifest>(&with_parts(4), 100, &BOUNDS).expect_err("four");
        assert_eq!(reason, Reason::new(ReasonCode::TooLarge, "parts: more than 3"));
    }

    #[test]
    fn large_payloads_are_not_looked_into() {
        let reason = decode::<Manifest>(&Bytes::from(vec![0xff; 11]), 10, &BOUNDS).expect_err("large");
        assert_eq!(reason.code, ReasonCode::TooLarge);
    }

    #[test]
    fn errors_name_the_field_not_its_content() {
        let not_utf8 = Bytes::from_static(b"\x0a\x03\xff\xfeX");
        let reason = decode::<Manifest>(&not_utf8, 100, &BOUNDS).expect_err("not UTF-8");
        assert_eq!(reason.code, ReasonCode::Malformed);
        assert!(reason.detail.contains("document_id") && !reason.detail.contains('X'), "{reason}");
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode::<Manifest>(&bytes.into(), 200, &BOUNDS);
        }
    }
}
