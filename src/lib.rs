//! packmule moves datasets that do not fit through the wire: it plans the move, stages files compressed, encrypted
//! and checksummed onto ordinary drives, verifies them anywhere, ingests them into S3 with a checksum the server
//! confirms, and erases the drives once that proof is complete.
//!
//! Layers point down only: `cli` > the verbs (`plan`, `stage`, `verify`, `ingest`, `extract`, `report`) > `census` > `job` >
//! `volume`, `scan` > `sys`, `format`, `crypto`, `digest`, `units`. Verbs never import each other.

pub mod browse;
pub mod census;
pub mod cli;
pub mod crypto;
pub mod digest;
pub mod doctor;
pub mod erase;
pub mod extract;
pub mod format;
pub mod http;
pub mod ingest;
pub mod job;
pub mod keys;
pub mod kms;
pub mod label;
pub mod monitor;
pub mod plan;
pub mod recover;
pub mod report;
pub mod s3d;
pub mod scan;
pub mod stage;
pub mod sys;
pub mod units;
pub mod verify;
pub mod volume;
