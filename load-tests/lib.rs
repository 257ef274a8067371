//! Benchmarks of hallpass; the README beside this file says how they are run.
