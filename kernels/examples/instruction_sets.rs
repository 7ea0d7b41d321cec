//! Prints the instruction sets of this machine, one a line: `make test` runs the suite under each.

use kasoku_kernels::arch::InstructionSet;

fn main() {
    for set in InstructionSet::available() {
        println!("{set}");
    }
}
