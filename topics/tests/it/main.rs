//! The crate from outside: what users write, what it derives, what is planned.
mod declarations;
mod derived;
mod docs;
mod planned;
