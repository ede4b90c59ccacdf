//! Numbers that look random, the same for the same seed.
pub struct Random(u64);

impl Random {
    /// `ATIO_SOAK_SEED`, else one of its own.
    pub fn seeded() -> (u64, Self) {
        let seed = std::env::var("ATIO_SOAK_SEED").map_or_else(
            |_| {
                let now =
                    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
                now.as_millis() as u64 % 1_000_000
            },
            |seed| seed.parse().expect("ATIO_SOAK_SEED is a number"),
        );
        (seed, Self::new(seed))
    }

    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed);
        random.below(2);
        random
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    pub fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            let other = usize::try_from(self.below(last as u64 + 1)).expect("small");
            all.swap(last, other);
        }
    }
}
