//! The sizes of this machine's caches.

use std::fs;
use std::sync::OnceLock;

/// Bytes of each data cache that one core sees.
#[derive(Debug, Clone, Copy)]
pub(super) struct Caches {
    pub(super) l1: usize,
    pub(super) l2: usize,
    pub(super) l3: usize,
}

impl Caches {
    /// What most cores of the last ten years have at least.
    const TYPICAL: Self = Self { l1: 32 << 10, l2: 256 << 10, l3: 8 << 20 };

    /// What the operating system says, read once; the typical sizes where it says nothing.
    pub(super) fn of_machine() -> Self {
        static FOUND: OnceLock<Caches> = OnceLock::new();
        *FOUND.get_or_init(|| {
            let mut caches = Self::TYPICAL;
            (0..8).filter_map(of_index).for_each(|(level, bytes)| match level {
                1 => caches.l1 = bytes,
                2 => caches.l2 = bytes,
                3 => caches.l3 = bytes,
                _ => {}
            });
            // A machine without L3 has a large L2: blocks for L3 then share it.
            caches.l3 = caches.l3.max(caches.l2);
            caches
        })
    }
}

/// Bytes of a line of the cache, and sets of L1 (64 on every CPU of the last ten years, since a page has 64 lines).
pub(crate) const LINE: usize = 64;
const SETS: usize = 64;

/// How many lines, `stride` elements apart, L1 holds at once; one at least, whatever the operating system says.
pub(super) fn lines_of_l1<T>(stride: isize) -> usize {
    let stride = stride.unsigned_abs() * size_of::<T>();
    let sets = match stride / LINE {
        lines if stride.is_multiple_of(LINE) && lines > 0 => {
            SETS >> lines.trailing_zeros().min(SETS.trailing_zeros())
        }
        _ => SETS,
    };
    sets * (Caches::of_machine().l1 / (LINE * SETS)).max(1)
}

/// Level and bytes of a data cache, as Linux lists them.
fn of_index(index: usize) -> Option<(usize, usize)> {
    let read = |file: &str| {
        let path = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/{file}");
        fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
    };
    if read("type")? == "Instruction" {
        return None;
    }
    Some((read("level")?.parse().ok()?, bytes(&read("size")?)?))
}

/// `"512K"` in bytes.
fn bytes(text: &str) -> Option<usize> {
    let digits = text.trim_end_matches(['K', 'M', 'G']);
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<usize>().ok()?.checked_mul(unit).filter(|&bytes| bytes > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_any_unit() {
        assert_eq!(bytes("512K"), Some(512 << 10));
        assert_eq!(bytes("32M"), Some(32 << 20));
        assert_eq!(bytes("4096"), Some(4096));
        assert_eq!(bytes("much"), None);
        assert_eq!(bytes("0K"), None);
    }

    #[test]
    fn caches_grow_with_their_level() {
        let Caches { l1, l2, l3 } = Caches::of_machine();
        assert!(l1 >= 4 << 10 && l1 <= l2 && l2 <= l3, "{l1} {l2} {l3}");
    }
}
