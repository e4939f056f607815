//! Into S3: what the volumes hold becomes objects, and the server itself confirms them against what was read at the
//! source.
//!
//! Owns: everything that speaks to an object store. Does not own: reading volumes, the job database, reports. Invariants:
//! no object counts as arrived before the server compared a checksum taken at the source, or its bytes were read back;
//! nothing that is finished is sent again; an object that is there already is never replaced unless asked. The only verb
//! with asynchronous code inside; what it offers to `cli` blocks.

pub mod remote;
