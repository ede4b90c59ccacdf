//! Matches detections against workflows and runs their branches.
