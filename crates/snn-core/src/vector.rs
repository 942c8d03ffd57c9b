//! Functions compiled for several vector units, the widest one of this CPU chosen at the call.
//!
//! The body is ordinary safe Rust that the compiler vectorises; results are the same for every unit, because the
//! compiler neither reorders nor fuses floating-point operations by itself.
//! (Crate `multiversion` would do, but its AVX-512 target asks for more than many AVX-512 CPUs have.)

/// Defines `fn name(arguments) { body }` with clones for AVX-512 and AVX2 on x86-64.
macro_rules! vectorized {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident : $type:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code)]
        $vis fn $name($($arg: $type),*) {
            #[inline(always)]
            #[allow(clippy::inline_always)]
            fn body($($arg: $type),*) $body

            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn avx512($($arg: $type),*) {
                    body($($arg),*);
                }
                #[target_feature(enable = "avx2")]
                fn avx2($($arg: $type),*) {
                    body($($arg),*);
                }
                if is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
                {
                    // SAFETY: the CPU has these features, just asked.
                    return unsafe { avx512($($arg),*) };
                }
                if is_x86_feature_detected!("avx2") {
                    // SAFETY: the CPU has AVX2, just asked.
                    return unsafe { avx2($($arg),*) };
                }
            }
            body($($arg),*);
        }
    };
}

pub(crate) use vectorized;
