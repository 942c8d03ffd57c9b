//! Randomness as a function: Philox4x32-10 keyed by (seed, stream), counted by (neuron, time, trial, step).
//!
//! A draw doesn't depend on what was drawn before, on thread count or on how trials are chunked, and it needs no
//! storage: the backward pass asks for the same noise again. Words and uniforms are bit-equal on every device.
//!
//! # Source
//! Salmon, Moraes, Dror, Shaw: Parallel random numbers: as easy as 1, 2, 3. SC 2011.

use crate::elementwise::{ln, sin_cos_turn};
use crate::vector::vectorized;
use rand::TryRng;
use std::convert::Infallible;

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Key of one stream of random numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key([u32; 2]);

impl Key {
    /// The key of stream `stream` (for example `"noise"`, `"init"`) under `seed`: a 64-bit hash of both
    /// (FNV-1a over the seed's bytes and the name, then the finaliser of splitmix64).
    pub fn new(seed: u64, stream: &str) -> Self {
        let mut h: u64 = 0xcbf2_9ce4_8422_2325;
        for byte in seed.to_le_bytes().iter().copied().chain(stream.bytes()) {
            h = (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        h = (h ^ (h >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        h = (h ^ (h >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        h ^= h >> 31;
        Self([h as u32, (h >> 32) as u32])
    }

    /// The two key words.
    pub fn words(self) -> [u32; 2] {
        self.0
    }
}

/// One block of Philox4x32-10: four random words of a counter.
#[inline(always)]
pub fn philox4x32(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for round in 0..10 {
        if round > 0 {
            key[0] = key[0].wrapping_add(WEYL[0]);
            key[1] = key[1].wrapping_add(WEYL[1]);
        }
        let a = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
    }
    counter
}

/// Uniform number in [0, 1) with 24 bits from a random word.
#[inline(always)]
pub fn uniform(word: u32) -> f32 {
    (word >> 8) as f32 * (1.0 / 16_777_216.0)
}

/// Two independent standard normal numbers from two random words (Box and Muller); |value| ≤ 5.77.
#[inline(always)]
pub fn normal_pair(a: u32, b: u32) -> (f32, f32) {
    let u = ((a >> 9) as f32 + 0.5) * (1.0 / 8_388_608.0);
    let r = (-2.0 * ln(u)).sqrt();
    let (s, c) = sin_cos_turn(uniform(b));
    (r * c, r * s)
}

/// Where in a run a row of draws stands; neuron pairs are counted inside the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Time step, warm-up included.
    pub time: u32,
    /// Trial within the whole batch (not within a chunk).
    pub trial: u32,
    /// Training step, or the number of the simulation.
    pub step: u32,
}

const LANES: usize = 16;

/// Random words of `LANES` neuron pairs starting at pair `first`.
///
/// A word lives in the low half of a 64-bit lane and the high half holds leftovers: that is what the vector units'
/// 32-bit multiplication reads and writes, so no lane has to move between rounds.
#[inline(always)]
fn philox_lanes(first: u32, place: Place, key: Key) -> [[u32; LANES]; 4] {
    const LOW: u64 = 0xffff_ffff;
    let mut x0 = [0u64; LANES];
    for (lane, x) in x0.iter_mut().enumerate() {
        *x = u64::from(first.wrapping_add(lane as u32));
    }
    let mut x1 = [u64::from(place.time); LANES];
    let mut x2 = [u64::from(place.trial); LANES];
    let mut x3 = [u64::from(place.step); LANES];
    let mut k = key.0;
    for round in 0..10 {
        if round > 0 {
            k[0] = k[0].wrapping_add(WEYL[0]);
            k[1] = k[1].wrapping_add(WEYL[1]);
        }
        let keys = [u64::from(k[0]), u64::from(k[1])];
        for i in 0..LANES {
            let a = u64::from(MULTIPLIERS[0]) * (x0[i] & LOW);
            let b = u64::from(MULTIPLIERS[1]) * (x2[i] & LOW);
            x0[i] = (b >> 32) ^ x1[i] ^ keys[0];
            x1[i] = b;
            x2[i] = (a >> 32) ^ x3[i] ^ keys[1];
            x3[i] = a;
        }
    }
    // (Methods of arrays are not inlined into functions for a vector unit.)
    let mut words = [[0u32; LANES]; 4];
    for i in 0..LANES {
        words[0][i] = x0[i] as u32;
        words[1][i] = x1[i] as u32;
        words[2][i] = x2[i] as u32;
        words[3][i] = x3[i] as u32;
    }
    words
}

vectorized! {
    /// Fills a row of uniforms in [0, 1): neuron `n` takes word `n % 2` of block `n / 2`.
    pub fn fill_uniforms(key: Key, place: Place, out: &mut [f32]) {
        for (block, chunk) in out.chunks_mut(2 * LANES).enumerate() {
            let [a, b, _, _] = philox_lanes((block * LANES) as u32, place, key);
            let mut row = [0.0f32; 2 * LANES];
            for i in 0..LANES {
                row[2 * i] = uniform(a[i]);
                row[2 * i + 1] = uniform(b[i]);
            }
            chunk.copy_from_slice(&row[..chunk.len()]);
        }
    }
}

vectorized! {
    /// Fills a row of standard normals: neurons `2i`, `2i + 1` take the pair of words 2, 3 of block `i`.
    pub fn fill_normals(key: Key, place: Place, out: &mut [f32]) {
        for (block, chunk) in out.chunks_mut(2 * LANES).enumerate() {
            let [_, _, c, d] = philox_lanes((block * LANES) as u32, place, key);
            let (mut even, mut odd) = ([0.0f32; LANES], [0.0f32; LANES]);
            for i in 0..LANES {
                (even[i], odd[i]) = normal_pair(c[i], d[i]);
            }
            let mut row = [0.0f32; 2 * LANES];
            for i in 0..LANES {
                row[2 * i] = even[i];
                row[2 * i + 1] = odd[i];
            }
            chunk.copy_from_slice(&row[..chunk.len()]);
        }
    }
}

vectorized! {
    /// Fills a row of uniforms and a row of normals of the same length from the same blocks.
    pub fn fill_uniforms_and_normals(key: Key, place: Place, uniforms: &mut [f32], normals: &mut [f32]) {
        for (block, (u_out, g_out)) in uniforms.chunks_mut(2 * LANES).zip(normals.chunks_mut(2 * LANES)).enumerate() {
            let [a, b, c, d] = philox_lanes((block * LANES) as u32, place, key);
            let (mut even, mut odd) = ([0.0f32; LANES], [0.0f32; LANES]);
            for i in 0..LANES {
                (even[i], odd[i]) = normal_pair(c[i], d[i]);
            }
            let (mut u, mut g) = ([0.0f32; 2 * LANES], [0.0f32; 2 * LANES]);
            for i in 0..LANES {
                u[2 * i] = uniform(a[i]);
                u[2 * i + 1] = uniform(b[i]);
                g[2 * i] = even[i];
                g[2 * i + 1] = odd[i];
            }
            u_out.copy_from_slice(&u[..u_out.len()]);
            g_out.copy_from_slice(&g[..g_out.len()]);
        }
    }
}

/// A sequential generator on one stream, for initialisation, shuffles, subsets and artificial data.
///
/// `number` starts an independent sequence (a training step, a session); the state is the position in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRng {
    key: Key,
    number: u64,
    block: u64,
    buffer: [u32; 4],
    used: usize,
}

impl StreamRng {
    /// Sequence `number` of stream `stream` under `seed`.
    pub fn new(seed: u64, stream: &str, number: u64) -> Self {
        Self {
            key: Key::new(seed, stream),
            number,
            block: 0,
            buffer: [0; 4],
            used: 4,
        }
    }

    fn next_word(&mut self) -> u32 {
        if self.used == 4 {
            let counter = [
                self.block as u32,
                (self.block >> 32) as u32,
                self.number as u32,
                (self.number >> 32) as u32,
            ];
            self.buffer = philox4x32(counter, self.key.words());
            self.block = self.block.wrapping_add(1);
            self.used = 0;
        }
        let word = self.buffer[self.used];
        self.used += 1;
        word
    }
}

impl TryRng for StreamRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_word())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let low = u64::from(self.next_word());
        Ok(low | u64::from(self.next_word()) << 32)
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for chunk in dst.chunks_mut(4) {
            let word = self.next_word().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{Rng, RngExt};

    #[test]
    fn philox_gives_the_known_answers_of_random123() {
        assert_eq!(
            philox4x32([0; 4], [0; 2]),
            [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
        );
        assert_eq!(
            philox4x32([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
        assert_eq!(
            philox4x32(pi, [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn rows_are_the_blocks_of_their_counters() {
        let (key, place) = (
            Key::new(7, "noise"),
            Place {
                time: 3,
                trial: 11,
                step: 5,
            },
        );
        let (mut u, mut g) = ([0.0; 77], [0.0; 77]);
        fill_uniforms_and_normals(key, place, &mut u, &mut g);
        for n in 0..77u32 {
            let words = philox4x32([n / 2, place.time, place.trial, place.step], key.words());
            let (even, odd) = normal_pair(words[2], words[3]);
            assert_eq!(u[n as usize], uniform(words[(n % 2) as usize]));
            assert_eq!(g[n as usize], if n % 2 == 0 { even } else { odd });
        }
        let (mut u2, mut g2) = ([0.0; 77], [0.0; 77]);
        fill_uniforms(key, place, &mut u2);
        fill_normals(key, place, &mut g2);
        assert_eq!((u, g), (u2, g2));
    }

    #[test]
    fn normals_have_the_moments_of_a_normal() {
        // 4e5 draws: the standard error of the mean is 0.0016, of the variance 0.0022, of the fourth moment 0.015.
        let mut all = vec![0.0f32; 400_000];
        fill_normals(
            Key::new(1, "noise"),
            Place {
                time: 0,
                trial: 0,
                step: 0,
            },
            &mut all,
        );
        let n = all.len() as f64;
        let moment = |p: i32| all.iter().map(|x| f64::from(*x).powi(p)).sum::<f64>() / n;
        assert!(moment(1).abs() < 0.008);
        assert!((moment(2) - 1.0).abs() < 0.011);
        assert!((moment(4) - 3.0).abs() < 0.08);
        assert!(all.chunks(2).map(|p| f64::from(p[0] * p[1])).sum::<f64>().abs() / (n / 2.0) < 0.012);
    }

    #[test]
    fn streams_and_numbers_differ_and_repeat() {
        let draw = |seed, stream: &str, number| StreamRng::new(seed, stream, number).next_u64();
        assert_eq!(draw(1, "init", 0), draw(1, "init", 0));
        assert_ne!(draw(1, "init", 0), draw(1, "init", 1));
        assert_ne!(draw(1, "init", 0), draw(1, "split", 0));
        assert_ne!(draw(1, "init", 0), draw(2, "init", 0));
        let x: f64 = StreamRng::new(3, "init", 0).random();
        assert!((0.0..1.0).contains(&x));
    }
}
