//! Sixteen single-precision lanes, as one AVX-512 register, as two AVX2 registers, or as plain arithmetic.
//!
//! The products of the backward pass are written once over [`Lanes`] and compiled for each; [`Unit`] says which one
//! this CPU has. (Left to itself the compiler vectorises some of these loops along the wrong axis, with gathers.)
#![allow(unsafe_code)] // intrinsics; every caller proves that the CPU has the unit and that pointers are in bounds

/// Lanes of one value.
pub(super) const LANES: usize = 16;

/// Sixteen lanes.
///
/// # Safety
/// Every function may be called only on a CPU that has the unit; pointers must be valid for sixteen values.
pub(super) trait Lanes: Copy {
    /// All zero.
    unsafe fn zero() -> Self;
    /// Sixteen values, unaligned.
    unsafe fn load(from: *const f32) -> Self;
    /// The same value in every lane.
    unsafe fn splat(value: f32) -> Self;
    /// `a b + self`, fused where the unit can.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    /// Lane by lane.
    unsafe fn plus(self, other: Self) -> Self;
    /// Sixteen values, unaligned.
    unsafe fn store(self, to: *mut f32);

    /// Brings the line of `at`, which may lie beyond the array, into the cache.
    #[inline(always)]
    unsafe fn fetch(at: *const f32) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch never faults.
        unsafe {
            std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = at;
    }
    /// How many sums a loop may keep at a time, each in two accumulators.
    const SUMS: usize;

    /// Sums of the lanes of each: halves are added until one lane is left, the same on every unit.
    #[inline(always)]
    unsafe fn sums(all: &[Self; 8]) -> [f32; 8] {
        all.map(|one| {
            let mut lanes = [0.0f32; LANES];
            // SAFETY: room for sixteen values; the unit is the caller's promise.
            unsafe { one.store(lanes.as_mut_ptr()) };
            let mut width = LANES / 2;
            while width > 0 {
                for i in 0..width {
                    lanes[i] += lanes[i + width];
                }
                width /= 2;
            }
            lanes[0]
        })
    }
}

/// Plain arithmetic.
#[derive(Clone, Copy)]
pub(super) struct Portable([f32; LANES]);

impl Lanes for Portable {
    const SUMS: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0.0; LANES])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: valid for sixteen values, says the caller.
        Self(unsafe { from.cast::<[f32; LANES]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; LANES])
    }
    #[inline(always)]
    unsafe fn add_product(mut self, a: Self, b: Self) -> Self {
        for i in 0..LANES {
            // Fused where that is what the compiler's target does in hardware.
            self.0[i] = if cfg!(target_arch = "aarch64") {
                a.0[i].mul_add(b.0[i], self.0[i])
            } else {
                a.0[i] * b.0[i] + self.0[i]
            };
        }
        self
    }
    #[inline(always)]
    unsafe fn plus(mut self, other: Self) -> Self {
        for i in 0..LANES {
            self.0[i] += other.0[i];
        }
        self
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: valid for sixteen values, says the caller.
        unsafe { to.cast::<[f32; LANES]>().write_unaligned(self.0) };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Lanes;
    use std::arch::x86_64::{
        __m256, __m512, _mm256_add_ps, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_set1_ps, _mm256_setzero_ps,
        _mm256_storeu_ps, _mm512_add_ps, _mm512_fmadd_ps, _mm512_loadu_ps, _mm512_permute_ps, _mm512_set1_ps,
        _mm512_setzero_ps, _mm512_shuffle_f32x4, _mm512_shuffle_ps, _mm512_storeu_ps,
    };

    // SAFETY (all blocks): the unit and the pointers are the caller's promise, see the trait.
    impl Lanes for __m512 {
        const SUMS: usize = 8;

        #[inline(always)]
        unsafe fn sums(all: &[Self; 8]) -> [f32; 8] {
            let [a, b, c, d, e, f, g, h] = *all;
            unsafe {
                // Two vectors become one of half-sums; the numbers name the blocks of four lanes, then the lanes.
                let eight =
                    |x, y| _mm512_add_ps(_mm512_shuffle_f32x4::<0x44>(x, y), _mm512_shuffle_f32x4::<0xEE>(x, y));
                let four = |x, y| _mm512_add_ps(_mm512_shuffle_f32x4::<0x88>(x, y), _mm512_shuffle_f32x4::<0xDD>(x, y));
                let (abcd, efgh) = (four(eight(a, b), eight(c, d)), four(eight(e, f), eight(g, h)));
                let two = _mm512_add_ps(
                    _mm512_shuffle_ps::<0x44>(abcd, efgh),
                    _mm512_shuffle_ps::<0xEE>(abcd, efgh),
                );
                let one = _mm512_add_ps(two, _mm512_permute_ps::<0xB1>(two));
                let mut lanes = [0.0f32; 16];
                one.store(lanes.as_mut_ptr());
                let l = &lanes;
                [l[0], l[4], l[8], l[12], l[2], l[6], l[10], l[14]]
            }
        }

        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            unsafe { _mm512_fmadd_ps(a, b, self) }
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            unsafe { _mm512_add_ps(self, other) }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self) }
        }
    }

    impl Lanes for [__m256; 2] {
        const SUMS: usize = 2;

        #[inline(always)]
        unsafe fn zero() -> Self {
            unsafe { [_mm256_setzero_ps(); 2] }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { [_mm256_loadu_ps(from), _mm256_loadu_ps(from.add(8))] }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> Self {
            unsafe { [_mm256_set1_ps(value); 2] }
        }
        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            unsafe {
                [
                    _mm256_fmadd_ps(a[0], b[0], self[0]),
                    _mm256_fmadd_ps(a[1], b[1], self[1]),
                ]
            }
        }
        #[inline(always)]
        unsafe fn plus(self, other: Self) -> Self {
            unsafe { [_mm256_add_ps(self[0], other[0]), _mm256_add_ps(self[1], other[1])] }
        }
        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe {
                _mm256_storeu_ps(to, self[0]);
                _mm256_storeu_ps(to.add(8), self[1]);
            }
        }
    }
}

/// Vector units that the products are compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unit {
    /// AVX-512F.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 with FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// Plain arithmetic.
    Portable,
}

impl Unit {
    /// The widest one of this CPU.
    pub(super) fn of_this_cpu() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                return Self::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Self::Avx2;
            }
        }
        Self::Portable
    }

    /// Every one that this CPU has.
    #[cfg(test)]
    pub(super) fn all_of_this_cpu() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f") {
                all.push(Self::Avx512);
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                all.push(Self::Avx2);
            }
        }
        all
    }
}

/// Defines `fn $name(unit, arguments)` that calls the generic `$body::<L>` compiled for the unit.
macro_rules! for_unit {
    ($(#[$meta:meta])* $vis:vis unsafe fn $name:ident $(<const $c:ident : usize>)? ($($arg:ident : $type:ty),* $(,)?) = $body:ident) => {
        $(#[$meta])*
        ///
        /// # Safety
        /// The CPU must have `unit`; the rest as the body says.
        #[inline]
        #[allow(unsafe_code)]
        $vis unsafe fn $name $(<const $c: usize>)? (unit: $crate::rollout::native::lanes::Unit, $($arg: $type),*) {
            use $crate::rollout::native::lanes::{Portable, Unit};
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            unsafe fn avx512 $(<const $c: usize>)? ($($arg: $type),*) {
                // SAFETY: the caller's promise.
                unsafe { $body::<std::arch::x86_64::__m512 $(, $c)?>($($arg),*) }
            }
            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            unsafe fn avx2 $(<const $c: usize>)? ($($arg: $type),*) {
                // SAFETY: the caller's promise.
                unsafe { $body::<[std::arch::x86_64::__m256; 2] $(, $c)?>($($arg),*) }
            }
            // SAFETY: the caller's promise.
            unsafe {
                match unit {
                    #[cfg(target_arch = "x86_64")]
                    Unit::Avx512 => avx512 $(::<$c>)? ($($arg),*),
                    #[cfg(target_arch = "x86_64")]
                    Unit::Avx2 => avx2 $(::<$c>)? ($($arg),*),
                    Unit::Portable => $body::<Portable $(, $c)?>($($arg),*),
                }
            }
        }
    };
}

pub(super) use for_unit;
