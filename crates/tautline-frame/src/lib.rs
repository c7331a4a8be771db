//! tautline-frame
