//! The only randomness of a run: one seed, one history.

/// SplitMix64.
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, sides: i64) -> i64 {
        (self.next() % sides.unsigned_abs()) as i64
    }

    pub fn between(&mut self, least: i64, most: i64) -> i64 {
        least + self.below(most - least + 1)
    }

    pub fn percent(&mut self, chance: i64) -> bool {
        self.below(100) < chance
    }

    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as i64) as usize]
    }

    /// Some of them, at least one, in their order.
    pub fn some<T: Copy>(&mut self, of: &[T]) -> Vec<T> {
        let certain = self.below(of.len() as i64) as usize;
        (0..of.len()).filter(|at| *at == certain || self.percent(35)).map(|at| of[at]).collect()
    }
}
