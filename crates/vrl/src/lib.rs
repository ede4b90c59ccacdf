//! VRL expressions: compiled and type-checked against the detection, then run.
