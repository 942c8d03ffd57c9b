//! Memory of large arrays, which are made anew in every training step: in large pages, because a page of 2 MiB is filled by
//! the kernel and found by the processor much faster than 512 of 4 KiB; and kept from one step to the next.
#![allow(unsafe_code)] // calls that give the kernel and the allocator a hint

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

/// Tells the allocator to keep what is freed: by default glibc gives arrays of a MiB and more back, and the kernel clears
/// every page again when the next step asks for them, a third of the processor's time in some fits. For programs that run
/// many steps; to be called once, before. Only a hint, without effect on other allocators.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const MOST: libc::c_int = 1 << 30;
        // SAFETY: both options are documented in mallopt(3) and take any number; a refusal changes nothing.
        unsafe {
            if libc::mallopt(libc::M_MMAP_THRESHOLD, MOST) == 0 {
                // Older versions refuse a threshold above 32 MiB, but not that nothing is mapped.
                libc::mallopt(libc::M_MMAP_MAX, 0);
            }
            libc::mallopt(libc::M_TRIM_THRESHOLD, libc::c_int::MAX);
        }
    }
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
