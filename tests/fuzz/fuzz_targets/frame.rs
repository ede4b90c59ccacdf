//! What the broker does with one frame: header, shape, decoding, handler, answer. A fresh broker now and then.
#![no_main]

use std::cell::RefCell;

use atio_broker::fuzz::{Handled, Target};
use libfuzzer_sys::fuzz_target;

const FRESH_EVERY: u32 = 50_000;

struct Broker {
    target: Target,
    frames: u32,
    _dir: tempfile::TempDir,
}

fn broker() -> Broker {
    let dir = tempfile::tempdir().expect("a directory");
    Broker { target: Target::new(dir.path()).expect("a broker"), frames: 0, _dir: dir }
}

thread_local! {
    static BROKER: RefCell<Broker> = RefCell::new(broker());
}

fuzz_target!(|frame: &[u8]| {
    BROKER.with_borrow_mut(|on| {
        on.frames += 1;
        if on.frames > FRESH_EVERY {
            *on = broker();
        }
        if let Handled::Wrong(what) = on.target.frame(frame) {
            panic!("{what}");
        }
    });
});
