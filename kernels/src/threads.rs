//! How many threads kernels may use.

use std::env;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::error::{Error, Result};

/// What [`set_num_threads`] chose, or 0 for the default.
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// Uses `threads` threads from the next kernel on; 0 goes back to the default.
pub fn set_num_threads(threads: usize) {
    CHOSEN.store(threads, Ordering::Relaxed);
}

/// The number of threads kernels may use: what [`set_num_threads`] chose, else the environment
/// variables `KASOKU_NUM_THREADS`, `RAYON_NUM_THREADS` and `OMP_NUM_THREADS` in this order, else one for each CPU.
///
/// # Errors
/// [`Error::Threads`] where `KASOKU_NUM_THREADS` is not a positive number.
pub fn num_threads() -> Result<usize> {
    static DEFAULT: OnceLock<Result<usize>> = OnceLock::new();
    match CHOSEN.load(Ordering::Relaxed) {
        0 => DEFAULT.get_or_init(|| default_threads(|name| env::var(name).ok())).clone(),
        threads => Ok(threads),
    }
}

fn default_threads(variable: impl Fn(&str) -> Option<String>) -> Result<usize> {
    let positive = |text: &str| text.trim().parse().ok().filter(|&threads: &usize| threads > 0);
    if let Some(text) = variable("KASOKU_NUM_THREADS").filter(|text| !text.is_empty()) {
        return positive(&text).ok_or_else(|| {
            Error::Threads(format!("KASOKU_NUM_THREADS is {text:?}, expected a positive number"))
        });
    }
    // Other programs' variables: what does not parse is theirs to complain about. OpenMP allows a
    // list, one number for each level of nesting.
    let others = ["RAYON_NUM_THREADS", "OMP_NUM_THREADS"];
    let from_others = others
        .iter()
        .find_map(|name| positive(variable(name)?.split(',').next().unwrap_or_default()));
    Ok(from_others.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_variable_that_is_set_decides() {
        let with = |variables: &'static [(&str, &str)]| {
            default_threads(|name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_string())
            })
        };
        assert_eq!(with(&[("KASOKU_NUM_THREADS", "3"), ("OMP_NUM_THREADS", "5")]), Ok(3));
        assert_eq!(with(&[("RAYON_NUM_THREADS", "4"), ("OMP_NUM_THREADS", "5")]), Ok(4));
        assert_eq!(with(&[("RAYON_NUM_THREADS", "x"), ("OMP_NUM_THREADS", "5,2")]), Ok(5));
        assert!(with(&[]).unwrap() >= 1);
        for bad in ["0", "-1", "many"] {
            let error = default_threads(|name| (name == "KASOKU_NUM_THREADS").then(|| bad.into()));
            assert!(error.unwrap_err().to_string().contains(bad));
        }
    }
}
