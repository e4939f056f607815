//! Whether a bucket can be reached and knows us, with one request that changes nothing.

use std::time::Duration;

use crate::ingest::Error;
use crate::ingest::remote::connect::Timeouts;
use crate::ingest::remote::s3::NO_SUCH_KEY;
use crate::ingest::remote::{ObjectStore, RemoteError, Target, connect};

/// Asks for an object that does not exist. A signed request that is answered proves the endpoint, the bucket, the
/// credentials, and that both clocks agree within the quarter of an hour that signatures allow.
///
/// # Errors
/// What stands in the way.
pub fn reach(mut target: Target) -> Result<(), Error> {
    target.timeouts = Timeouts { answer: Duration::from_secs(15), ..target.timeouts };
    let name = format!("s3://{}", target.bucket);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
    let answer = runtime.block_on(async { connect(target).await.get(NO_SUCH_KEY, 0, 1).await });
    match answer {
        Ok(_) => Ok(()),
        Err(RemoteError::Refused { status: 404, .. }) => Ok(()),
        Err(source) => Err(Error::Remote { target: name, source }),
    }
}
