//! Workflows: the language, its checks, the trigger index, the steps. Pure.
