//! A point that is multiplied often: a table of its multiples, so that a product needs a few dozen additions and next to
//! no doublings. Its look-ups take the time they take: for public scalars only, as those of a verification are.

use curve25519_dalek::{EdwardsPoint, Scalar, traits::Identity};

/// Scalars below the order of the group have so many bits.
const BITS: usize = 253;

/// Multiples `1..=2^(W-1)` of `2^(W·SPREAD·i)` times the point, for each row `i`. A larger `SPREAD` saves memory and
/// costs `W·(SPREAD-1)` doublings.
pub struct Comb<const W: usize, const SPREAD: usize>(Box<[EdwardsPoint]>);

impl<const W: usize, const SPREAD: usize> Comb<W, SPREAD> {
    /// Digits of a scalar, with room for the last carry.
    const DIGITS: usize = (BITS + 1).div_ceil(W);
    const ROWS: usize = Self::DIGITS.div_ceil(SPREAD);
    const MULTIPLES: usize = 1 << (W - 1);

    /// The table of a point.
    pub fn new(point: &EdwardsPoint) -> Self {
        let mut multiples = Vec::with_capacity(Self::ROWS * Self::MULTIPLES);
        let mut first = *point;
        for _ in 0..Self::ROWS {
            let row = std::iter::successors(Some(first), |last| Some(last + first));
            multiples.extend(row.take(Self::MULTIPLES));
            first = doubled(first, W * SPREAD);
        }
        Self(multiples.into())
    }

    /// The point times `scalar`, plus `sum` where nothing has to be doubled.
    pub fn times(&self, scalar: &Scalar, sum: EdwardsPoint) -> EdwardsPoint {
        let digits = digits::<W>(scalar);
        let mut product = EdwardsPoint::identity();
        for phase in (1..SPREAD).rev() {
            product = doubled(self.row_sum(&digits, phase, product), W);
        }
        self.row_sum(&digits, 0, if SPREAD == 1 { sum } else { product + sum })
    }

    fn row_sum(&self, digits: &[i16; BITS], phase: usize, mut sum: EdwardsPoint) -> EdwardsPoint {
        let of_phase = digits[..Self::DIGITS].iter().skip(phase).step_by(SPREAD);
        for (digit, row) in of_phase.zip(self.0.chunks_exact(Self::MULTIPLES)) {
            // By reference: copies of points would take a seventh of the time.
            match usize::from(digit.unsigned_abs()) {
                0 => {}
                size if *digit > 0 => sum += &row[size - 1],
                size => sum -= &row[size - 1],
            }
        }
        sum
    }
}

/// `scalar = Σ digit[i]·2^(W·i)` with digits from `-2^(W-1)` below `2^(W-1)`.
fn digits<const W: usize>(scalar: &Scalar) -> [i16; BITS] {
    let bytes = scalar.as_bytes();
    let byte = |at: usize| u16::from(bytes.get(at).copied().unwrap_or(0));
    let mut digits = [0; BITS];
    let mut carry = 0;
    for (i, digit) in digits.iter_mut().take((BITS + 1).div_ceil(W)).enumerate() {
        let (at, shift) = (i * W / 8, i * W % 8);
        let window = ((byte(at) | byte(at + 1) << 8) >> shift) & ((1 << W) - 1);
        let value = window.cast_signed() + carry;
        carry = (value + (1 << (W - 1))) >> W;
        *digit = value - (carry << W);
    }
    digits
}

fn doubled(point: EdwardsPoint, times: usize) -> EdwardsPoint {
    (0..times).fold(point, |point, _| point + point)
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::ED25519_BASEPOINT_POINT as B;
    use proptest::prelude::*;

    use super::*;

    fn agrees(scalar: Scalar) {
        let point = B * Scalar::from(7u64);
        let expected = point * scalar;
        assert_eq!(Comb::<8, 1>::new(&point).times(&scalar, B), expected + B);
        assert_eq!(Comb::<5, 2>::new(&point).times(&scalar, B), expected + B);
        assert_eq!(Comb::<4, 3>::new(&point).times(&scalar, B), expected + B);
    }

    #[test]
    fn ends_of_the_range() {
        let largest = -Scalar::ONE;
        for scalar in [Scalar::ZERO, Scalar::ONE, largest, Scalar::from(128u64), Scalar::from(u64::MAX)] {
            agrees(scalar);
        }
        for bit in 0..252 {
            let power = (0..bit).fold(Scalar::ONE, |power, _| power + power);
            let sum: Scalar = std::iter::zip(digits::<8>(&power), 0..)
                .map(|(digit, at)| {
                    let place = (0..8 * at).fold(Scalar::ONE, |place, _| place + place);
                    let size = place * Scalar::from(digit.unsigned_abs());
                    if digit < 0 { -size } else { size }
                })
                .sum();
            assert_eq!(sum, power, "bit {bit}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_scalar(wide: [u8; 32]) {
            agrees(Scalar::from_bytes_mod_order(wide));
        }
    }
}
