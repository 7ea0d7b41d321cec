//! Twins of [`mod@crate::dropout`].

use crate::dropout::DropoutKey;
use crate::element::Element;

/// Philox4x32-10: four words from a counter of four and a key of two.
pub fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..10 {
        let a = u64::from(counter[0]) * 0xD251_1F53;
        let b = u64::from(counter[2]) * 0xCD9E_8D57;
        counter = [
            (b >> 32) as u32 ^ counter[1] ^ key[0],
            b as u32,
            (a >> 32) as u32 ^ counter[3] ^ key[1],
            a as u32,
        ];
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    counter
}

/// [`crate::dropout::dropout_mask`] by the definition, one block of four words at a time.
pub fn dropout_mask(key: DropoutKey, ratio: f64, mask: &mut [bool]) {
    let dropped_below = (ratio * 2f64.powi(32)).round() as u64;
    let word = |index: usize| {
        let counter = [(index / 4) as u32, key.layer, key.step as u32, (key.step >> 32) as u32];
        philox(counter, [key.seed as u32, (key.seed >> 32) as u32])[index % 4]
    };
    for (index, kept) in mask.iter_mut().enumerate() {
        *kept = match dropped_below {
            0x8000_0000 => word(index / 32) >> (index % 32) & 1 == 1,
            _ => u64::from(word(index)) >= dropped_below,
        };
    }
}

/// [`crate::dropout::dropout`] by the definition.
pub fn dropout<T: Element>(key: DropoutKey, ratio: f64, scale: T, x: &[T], y: &mut [T]) {
    let mut mask = vec![false; x.len()];
    dropout_mask(key, ratio, &mut mask);
    for ((y, &x), kept) in y.iter_mut().zip(x).zip(mask) {
        *y = if kept { x * scale } else { T::zero() };
    }
}
