//! Dropout: the very masks of its naive twin, whatever the length, key and number of threads.

use super::common::*;
use kasoku_kernels::dropout::*;
use kasoku_kernels::{Element, Error, reference::dropout as twin};
use proptest::prelude::*;

#[test]
fn philox_gives_the_published_numbers() {
    // The known answers of Random123: counter and key all zeros, all ones, digits of π.
    let ones = u32::MAX;
    let pi = [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344];
    for (counter, key, words) in [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([ones; 4], [ones; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (pi, [0xa409_3822, 0x299f_31d0], [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]),
    ] {
        assert_eq!(twin::philox(counter, key), words);
    }
}

fn agrees<T: Element>(key: DropoutKey, ratio: f64, len: usize) {
    let mut mask = vec![false; len + 1];
    let mut expected = vec![false; len];
    dropout_mask(key, ratio, &mut mask[1..]).unwrap();
    twin::dropout_mask(key, ratio, &mut expected);
    assert_eq!(mask[1..], expected, "{key:?} {ratio} {len}");

    let scale = T::of(1.25);
    let x: Vec<T> = specials().into_iter().chain(random(len + 1, 1)).take(len + 1).collect();
    let (mut y, mut expected) = (vec![T::nan(); len + 1], vec![T::nan(); len]);
    dropout(key, ratio, scale, &x[1..], &mut y[1..]).unwrap();
    twin::dropout(key, ratio, scale, &x[1..], &mut expected);
    assert_same(&y[1..], &expected, "dropout");
    let mut whole = x.clone();
    dropout_in_place(key, ratio, scale, &mut whole[1..]).unwrap();
    assert_same(&whole[1..], &expected, "dropout in place");
    let mut x = x;
    for (part, x) in x[1..].chunks_mut(77).enumerate() {
        dropout_part(key, ratio, scale, part * 77, x).unwrap();
    }
    assert_same(&x[1..], &expected, "dropout of parts");
}

proptest! {
    #[test]
    fn they_agree_with_their_twins(
        seed: u64, step: u64, layer: u32, ratio in 0.0..=1.0, len in 0usize..300,
    ) {
        agrees::<f32>(DropoutKey { seed, step, layer }, ratio, len);
        agrees::<f64>(DropoutKey { seed, step, layer }, ratio, len);
    }
}

#[test]
fn they_agree_at_every_length_and_over_many_tasks() {
    let key = DropoutKey { seed: 5, step: 1 << 40, layer: 3 };
    for len in LENGTHS.into_iter().chain([1023, 2047, 2048, 2049, 4100, 16_385, 40_000]) {
        // A bit an element, and a word.
        agrees::<f32>(key, 0.5, len);
        agrees::<f64>(key, 0.5, len);
        agrees::<f64>(key, 0.1, len);
    }
}

#[test]
fn the_ends_of_the_ratio_keep_all_and_none() {
    let key = DropoutKey { seed: 1, step: 2, layer: 3 };
    for (ratio, all) in [(0.0, true), (1.0, false), (2f64.powi(-34), true)] {
        let mut mask = vec![!all; 10_000];
        dropout_mask(key, ratio, &mut mask).unwrap();
        assert!(mask.iter().all(|&kept| kept == all), "{ratio}");
    }
}

#[test]
fn the_words_below_the_ratio_drop() {
    let word = f64::from(twin::philox([0, 3, 2, 0], [1, 0])[0]);
    // A ratio counts whole words, rounded; the word itself is kept until it is among them.
    for (dropped, kept) in
        [(word, true), (word + 1.0, false), (word + 0.4, true), (word + 0.6, false)]
    {
        let mut mask = [!kept];
        let key = DropoutKey { seed: 1, step: 2, layer: 3 };
        dropout_mask(key, dropped / 2f64.powi(32), &mut mask).unwrap();
        assert_eq!(mask, [kept], "{dropped}");
    }
}

#[test]
fn the_share_dropped_is_the_ratio_and_keys_differ() {
    let masks: Vec<Vec<bool>> = [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1)]
        .into_iter()
        .flat_map(|(seed, step, layer)| {
            [0.3, 0.5].map(|ratio| {
                let mut mask = vec![false; 100_000];
                dropout_mask(DropoutKey { seed, step, layer }, ratio, &mut mask).unwrap();
                mask
            })
        })
        .collect();
    for (i, mask) in masks.iter().enumerate() {
        // Five standard deviations of a binomial of 100,000.
        let (mean, five) = if i % 2 == 0 { (30_000, 725) } else { (50_000, 791) };
        let dropped = mask.iter().filter(|&&kept| !kept).count();
        assert!(dropped.abs_diff(mean) < five, "{dropped}");
        assert!(masks[..i].iter().all(|other| other != mask));
    }
}

#[test]
fn threads_do_not_change_the_bits() {
    let x = random::<f32>(200_000, 1);
    on_any_threads(|| {
        let mut y = x.clone();
        dropout_in_place(DropoutKey { seed: 1, step: 2, layer: 3 }, 0.5, 2.0, &mut y).unwrap();
        y
    });
}

#[test]
fn what_does_not_fit_is_an_error_and_nothing_is_written() {
    let key = DropoutKey { seed: 1, step: 2, layer: 3 };
    let mut y = [7f32; 3];
    for ratio in [-0.1, 1.1, f64::NAN] {
        let error = dropout_in_place(key, ratio, 1.0, &mut y).unwrap_err();
        assert!(matches!(error, Error::Argument { name: "ratio", .. }), "{error}");
        assert!(dropout_mask(key, ratio, &mut [true]).is_err());
        assert!(dropout(key, ratio, 1.0, &[1.0; 3], &mut y).is_err());
    }
    let error = dropout(key, 0.5, 1.0, &[1.0; 4], &mut y).unwrap_err();
    assert_eq!(error.to_string(), "dropout: y has 3 elements, expected 4");
    assert_eq!(y, [7.0; 3]);
}
