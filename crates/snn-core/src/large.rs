//! Large arrays of zeros in large pages: a page of 2 MiB is filled by the kernel and found by the processor much faster
//! than 512 of 4 KiB, and these arrays are made anew in every training step.
#![allow(unsafe_code)] // one call that gives the kernel a hint

/// Arrays from this size on are worth the call.
const LARGE: usize = 8 << 20;

/// Asks for large pages under `values`, which should not have been touched yet. Only a hint: nothing depends on it.
pub(crate) fn advise<T>(values: &mut [T]) {
    #[cfg(target_os = "linux")]
    {
        let (bytes, page) = (size_of_val(values), 2 << 20);
        if bytes < LARGE {
            return;
        }
        let start = values.as_mut_ptr() as usize;
        let (first, last) = (start.next_multiple_of(page), (start + bytes) / page * page);
        if first < last {
            // SAFETY: whole pages inside the array; the advice changes how they are mapped, never what they hold.
            unsafe { libc::madvise(first as *mut libc::c_void, last - first, libc::MADV_HUGEPAGE) };
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (values, LARGE);
}

/// `len` zeros, untouched when the array is large.
pub(crate) fn zeros(len: usize) -> Vec<f32> {
    let mut values = vec![0.0f32; len];
    advise(&mut values);
    values
}

#[cfg(test)]
mod tests {
    #[test]
    fn large_arrays_are_zero_and_can_be_written() {
        for len in [0, 1, 3 << 20, (5 << 20) + 17] {
            let mut values = super::zeros(len);
            assert!(values.len() == len && values.iter().all(|x| *x == 0.0));
            values.fill(1.5);
            assert!(values.iter().all(|x| *x == 1.5));
        }
    }
}
