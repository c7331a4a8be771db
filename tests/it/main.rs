//! End-to-end tests of Tautline.
