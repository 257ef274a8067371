//! The broker and its disk: a process as operators run it, on a disk that loses power, fails, fills up,
//! or is an older copy of itself.

mod copies;
mod damage;
mod faults;
mod full;
mod order;
mod power_loss;
mod rotation;
